#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Says in one sentence why a kernel build tree cannot build a Rust module, if
# it cannot. Usage: kdir-check.sh KDIR
set -eu

kdir=$1
stop() { echo "error: KDIR=$kdir: $*" >&2; exit 1; }

[ -d "$kdir" ] || stop "there is no such directory"
if ! [ -e "$kdir/Makefile" ] || ! [ -e "$kdir/.config" ]; then
	stop "this is no configured kernel build tree (it lacks Makefile or .config)"
fi
grep -q '^CONFIG_RUST=y' "$kdir/.config" ||
	stop "this kernel is configured without CONFIG_RUST=y, so it cannot load Rust modules"
for file in rust/libkernel.rmeta rust/libcore.rmeta rust/libmacros.so; do
	[ -e "$kdir/$file" ] || stop "the kernel's Rust metadata is missing" \
		"($file): build the tree with 'make prepare modules_prepare', or use plain" \
		"'make', which rebuilds the metadata of Debian's kernel"
done
