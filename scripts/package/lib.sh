# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What the scripts for the packages share: roots of their own, in $CACHE/packages, so that they never
# touch the root of the set-up. Sourced, never run.
#
#   builder/     trixie with debhelper, DKMS, lintian and cargo: builds the packages
#   base/        trixie with systemd, and nothing else: what the packages are installed into
#   firmware/    trixie with OVMF, shim and GRUB as Debian signs them: what boots with Secure Boot
#   archives/    what apt has downloaded for it
#   stamps/      by what text of these scripts the roots were made

# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

PACKAGES=$CACHE/packages
LOG=$PACKAGES/packages.log
SUITE=trixie

# Where this machine's own apt has Debian from.
apt_mirror() {
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)' \
		'Created-By: Packages' |
		awk '/^Debian Debian main / && !seen++ { sub("/$", "", $4); print $4 }'
}

# make_root NAME PACKAGE,...: a root of $SUITE, unless it is there.
make_root() {
	local name=$1 packages=$2 root=$PACKAGES/$1 stamp mirror pocket sources=()
	stamp="$packages $(declare -f make_root | sha256sum)"
	[ "$(cat "$PACKAGES/stamps/$name" 2>/dev/null)" != "$stamp" ] || return 0
	command -v mmdebstrap >/dev/null || die "the package mmdebstrap is missing"
	mirror=$(apt_mirror)
	[ -n "$mirror" ] || die "apt of this machine has no mirror of Debian in its sources: apt-get update"
	for pocket in "$SUITE" "$SUITE-updates" "$SUITE-backports"; do
		sources+=("deb $mirror $pocket main")
	done
	rm -rf "$root" "$PACKAGES/stamps/$name"
	# shellcheck disable=SC2016
	step "root: $name, $SUITE with ${packages//,/, }" \
		setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc \
		mmdebstrap --mode=root --variant=minbase \
		--aptopt='APT::Install-Recommends "false"' \
		--aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
		--include="$packages" --customize-hook='rm "$1"/etc/apt/apt.conf.d/99mmdebstrap' \
		"$SUITE" "$root" "${sources[@]}" || return
	mkdir -p "$PACKAGES/stamps"
	echo "$stamp" >"$PACKAGES/stamps/$name"
}

# in_package_root ROOT [OPTION OF in_root]... -- COMMAND...: in_root, in another root.
in_package_root() {
	local ROOT=$1
	shift
	in_root "$@"
}

# make_firmware: what boot.sh --secure-boot takes.
make_firmware() {
	make_root firmware ovmf,shim-signed,grub-efi-amd64-signed,python3-virt-firmware,mtools,openssl
}
