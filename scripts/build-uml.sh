#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the trixie root: builds User-Mode Linux from the Debian source, with the
# compiler that Debian's kernel has, for the benchmark. An interrupted build goes on
# where it was.
# Usage: build-uml.sh OUT SOURCE     (makes OUT/build, and the program OUT/linux)
set -euo pipefail

out=$1 source=$2
stop() { echo "error: $*"; exit 1; }

mkdir -p "$out/build"
make=(make -j"$(nproc)" -C "$source" O="$out/build" ARCH=um CC=x86_64-linux-gnu-gcc-14 HOSTCC=gcc)

"${make[@]}" defconfig
# What the module uses, and zeroed pages, which Debian's kernel allocates. No debug information: it
# doubles the time.
"$source/scripts/config" --file "$out/build/.config" \
	--enable MODULES --enable RUST --disable MODVERSIONS --enable MEMCG --enable HOSTFS \
	--enable USER_NS --enable TMPFS --enable TMPFS_POSIX_ACL --enable TMPFS_XATTR \
	--enable MEMFD_CREATE --enable INIT_ON_ALLOC_DEFAULT_ON \
	--disable DEBUG_INFO --disable DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT \
	--enable DEBUG_INFO_NONE
"${make[@]}" olddefconfig
for option in MODULES RUST MEMCG HOSTFS USER_NS TMPFS_POSIX_ACL INIT_ON_ALLOC_DEFAULT_ON; do
	grep -q "^CONFIG_$option=y" "$out/build/.config" ||
		stop "the kernel's configuration did not take CONFIG_$option"
done
"${make[@]}" linux modules
cp "$out/build/linux" "$out/linux.tmp"
mv "$out/linux.tmp" "$out/linux"
