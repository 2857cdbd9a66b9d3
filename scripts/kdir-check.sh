#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Says in one sentence why a kernel build tree cannot build a Rust module, if
# it cannot. Without KDIR, it is about the tree of the running kernel.
# Usage: kdir-check.sh [KDIR]
set -eu

kdir=${1:-/lib/modules/$(uname -r)/build}
stop() { echo "error: KDIR=$kdir: $*" >&2; exit 1; }

if [ ! -d "$kdir" ]; then
	[ $# -eq 0 ] || stop "there is no such directory"
	stop "there is no build tree of the running kernel: install its headers (on Debian the package" \
		"linux-headers-$(uname -r)), or try without installing: 'make demo'"
fi
if ! [ -e "$kdir/Makefile" ] || ! [ -e "$kdir/.config" ]; then
	stop "this is no configured kernel build tree (it lacks Makefile or .config)"
fi
grep -q '^CONFIG_RUST=y' "$kdir/.config" ||
	stop "this kernel is configured without CONFIG_RUST=y, so it cannot load Rust modules"
for file in rust/libkernel.rmeta rust/libcore.rmeta rust/libmacros.so; do
	[ -e "$kdir/$file" ] || stop "the kernel's Rust metadata is missing" \
		"($file): build the tree with 'make prepare modules_prepare', or on Debian" \
		"install qemufile-dkms ('make deb' builds it), or try without installing: 'make demo'"
done
