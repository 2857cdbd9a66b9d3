#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the trixie root: takes the newest IMAGE of SUITE with its modules,
# its headers and its source, all of one version, and unpacks them below OUT.
# Nothing is installed; apt has checked the signatures. Writes OUT/kernel.env.
# With VERSION, takes that version instead of the newest, and no source. For
# another architecture, APT_CONFIG names a file that tells apt so.
# Usage: fetch-kernel.sh IMAGE SUITE OUT [VERSION]
set -eu

image=$1 suite=$2 out=$3 only=${4:-}

apt-get -qq update
version=$(apt-cache madison "$image" |
	awk -F'|' -v suite="$suite/" -v only="$only" '{ gsub(/ /, "", $2) }
		index($3, suite) && (only == "" || $2 == only) { print $2; exit }')
[ -n "$version" ] || { echo "error: no $image${only:+ of version $only} in $suite"; exit 1; }
release=$(apt-cache show "$image=$version" |
	sed -n 's/^Depends:.* *linux-image-\([0-9][^ ,]*\).*/\1/p')
[ -n "$release" ] || { echo "error: $image $version names no kernel"; exit 1; }
series=$(echo "$release" | sed 's/^\([0-9]*\.[0-9]*\).*/\1/')

mkdir -p "$out/deb" "$out/unpacked"
cd "$out/deb"
set -- "linux-image-$release=$version" "linux-headers-$release=$version"
[ -n "$only" ] || set -- "$@" "linux-source-$series=$version"
# The image is one package up to 7.2, and three from 7.3 on.
for part in binary modules base; do
	if apt-cache show "linux-$part-$release=$version" >/dev/null 2>&1; then
		set -- "$@" "linux-$part-$release=$version"
	fi
done
echo "downloading $*"
apt-get -o APT::Sandbox::User=root -o Acquire::Retries=3 download "$@" || {
	echo "error: not all of these are to be had in version $version;" \
		"a mirror may be in the middle of an update: try again later"
	exit 1
}
for deb in *.deb; do
	dpkg-deb -x "$deb" "$out/unpacked"
done

# One layout, whatever the packages' was.
cd "$out/unpacked"
for dir in lib/modules usr/lib/modules; do
	[ ! -d "$dir/$release" ] || modules=$dir/$release
done
for file in "$modules/vmlinuz" "boot/vmlinuz-$release"; do
	[ ! -f "$file" ] || cp "$file" "$out/vmlinuz"
done
[ -s "$out/vmlinuz" ] || { echo "error: no vmlinuz in the packages"; exit 1; }
mkdir -p "$out/lib/modules" "$out/headers"
mv "$modules" "$out/lib/modules/$release"
for file in .config Module.symvers vmlinux; do
	cp "usr/src/linux-headers-$release/$file" "$out/headers/" || [ "$file" = vmlinux ]
done
[ -n "$only" ] || mv "usr/src/linux-source-$series.tar.xz" "$out/source.tar.xz"
depmod -b "$out" "$release"
cd "$out"
rm -rf deb unpacked

cat >kernel.env <<END
# What the set-up took; written by scripts/fetch-kernel.sh.
KERNEL_PACKAGE=$image
KERNEL_SUITE=$suite
KERNEL_VERSION='$version'
KERNEL_RELEASE='$release'
KERNEL_SERIES=$series
KERNEL_RUSTC='$(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT="\(.*\)"$/\1/p' headers/.config)'
END
