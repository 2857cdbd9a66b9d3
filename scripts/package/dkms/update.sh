#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Run by dpkg when headers or sources of kernels come, change or go, and after each installation of
# qemufile-dkms. DKMS itself builds when the headers of a new kernel come. This script does the rest:
# - builds what was skipped, now that the source may be there;
# - builds again for a kernel whose package has a new version and the same name;
# - prunes what build.sh has kept for kernels that are gone;
# - says in one sentence why a kernel has no module.
# It has nothing to do most of the time, and never fails.
set -u

state=/var/lib/qemufile-dkms
[ -d "$state" ] || exit 0
# shellcheck disable=SC2016
module=qemufile/$(dpkg-query -Wf '${source:Upstream-Version}' qemufile-dkms)

# shellcheck disable=SC2016
versions=$(dpkg-query -Wf '${db:Status-Status} ${Package} ${source:Version}\n' \
	'linux-headers-[0-9]*' 2>/dev/null | sed -n 's/^installed linux-headers-//p')

for file in "$state"/*.version "$state"/*.skipped; do
	[ -e "$file" ] || continue
	kernel=${file##*/} kernel=${kernel%.*}
	if [ ! -d "/lib/modules/$kernel/build/include" ]; then
		rm -f "$state/$kernel.version" "$state/$kernel.skipped" "$state/$kernel.log"
		continue
	fi
	case $file in
	*.version)
		version=$(echo "$versions" | sed -n "s/^$kernel //p")
		[ "$version" != "$(cat "$file")" ] || continue
		echo "qemufile: the headers of $kernel are of version $version now"
		;;
	*.skipped)
		# A failed build would fail again.
		[ ! -e "$state/$kernel.log" ] || continue
		;;
	esac
	if output=$(dkms build --force "$module" -k "$kernel" 2>&1 &&
		dkms install --force "$module" -k "$kernel" 2>&1); then
		echo "$output"
	fi
done

for subset in "$state"/linux-rust_*.tar.xz; do
	version=${subset##*/linux-rust_} version=${version%.tar.xz}
	echo "$versions" | grep -q " $version\$" || rm -f "$subset"
done

for file in "$state"/*.skipped; do
	[ ! -e "$file" ] || echo "qemufile: no module for $(basename "$file" .skipped): $(cat "$file")"
done
exit 0
