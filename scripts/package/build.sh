#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds the Debian packages qemufile-dkms and qemufile-tools, in a root of its own, and has lintian
# look at them. They land in build/.
# Usage: build.sh [--version VERSION]     (default: that of debian/changelog)

# shellcheck source=scripts/package/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

args=("$@")
version=$(sed -n '1s/.*(\(.*\)).*/\1/p' "$TOP/scripts/package/debian/changelog")
[ "${1:-}" != --version ] || { version=$2; shift 2; }
[ $# -eq 0 ] || die "usage: build.sh [--version VERSION]"
as_root "${args[@]}"
start=$SECONDS
make_root builder build-essential,fakeroot,debhelper,dh-sequence-dkms,lintian,cargo,ca-certificates

work=$TOP/build/package
tree=$work/qemufile-$version
rm -rf "$work"
mkdir -p "$tree" "$CACHE/cargo"
tar -C "$TOP" -c --exclude=target --exclude='*.o' --exclude='.*.cmd' \
	COPYING Kbuild include rust scripts/package | tar -C "$tree" -x --no-same-owner
mv "$tree/scripts/package/debian" "$tree/debian"
sed -i "1s/(.*)/($version)/" "$tree/debian/changelog"

# shellcheck disable=SC2016
step "packages: dpkg-buildpackage" in_package_root "$PACKAGES/builder" \
	--mount "$CACHE/cargo:/cargo" -- env CARGO_HOME=/cargo \
	sh -c 'cd "$0" && dpkg-buildpackage --build=binary --unsigned-changes' "$tree"
# shellcheck disable=SC2016
in_package_root "$PACKAGES/builder" -- sh -c \
	'cd "$0" && lintian --allow-root --info --fail-on error,warning ./*.changes' "$work"
mv "$work"/*.deb "$TOP/build/"
give_back "$CACHE/cargo" "$TOP/build"
for deb in "$TOP/build/"qemufile-{dkms_"$version"_all,tools_"$version"_*}.deb; do
	say "packages: build/${deb##*/}, $(stat -c %s "$deb") bytes"
done
say "packages: finished in $((SECONDS - start)) s"
