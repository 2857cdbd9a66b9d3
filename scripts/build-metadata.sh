#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the trixie root: rebuilds for Debian's kernel what its header package
# lacks (the Rust metadata, the proc macros) and proves that the result belongs
# to that kernel. No kernel is compiled.
# Usage: build-metadata.sh STOCK SOURCE RELEASE VARIABLE=VALUE...
#   STOCK has headers/, and gets build/. The variables name the compiler to make.
set -euo pipefail

stock=$1 source=$2 release=$3
shift 3
headers=$stock/headers out=$stock/build

stop() { echo "error: $*"; exit 1; }

# The compiler decides every symbol's hash: another one is no use.
wanted=$(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT="\(.*\)"$/\1/p' "$headers/.config")
[ "$wanted" = "$(rustc --version)" ] ||
	stop "the kernel was built with '$wanted', the root has '$(rustc --version)'"
grep -q '^CONFIG_RUST=y' "$headers/.config" || stop "this kernel has no CONFIG_RUST"

rm -rf "$out"
mkdir "$out"
cp "$headers/.config" "$headers/Module.symvers" "$out/"
[ ! -e "$headers/vmlinux" ] || cp "$headers/vmlinux" "$out/"
localversion=${release#"${release%%[+-]*}"}	# 7.3.4+deb13-cloud: +deb13-cloud
make=(make -j"$(nproc)" -C "$source" O="$out" "$@" HOSTCC=gcc
	LOCALVERSION="$localversion")

"${make[@]}" olddefconfig
# What this root cannot do, Kconfig drops in silence: nothing may change but the
# version numbers of tools that make no code of a module differ. Across architectures,
# two more: there is no C library to link programs with, and no compiler for arm64's
# vDSO of 32-bit programs. No header that modules include asks for either.
changes=$(diff "$headers/.config" "$out/.config" | grep '^[<>].*CONFIG_' || true)
echo "$changes"
other='CC_VERSION_TEXT|AS_VERSION|LD_VERSION|PAHOLE_VERSION|CC_CAN_LINK|(THUMB2_)?COMPAT_VDSO'
! grep -vE "^$|CONFIG_($other)=" <<<"$changes" ||
	stop "this root's tools would configure the kernel differently (above)"
"${make[@]}" prepare modules_prepare

made=$(cat "$out/include/config/kernel.release")
[ "$made" = "$release" ] || stop "the metadata is for '$made', the kernel is '$release'"

# Debian's kernel and the metadata must agree on every Rust symbol by its hash.
awk '$2 ~ /^_R/ { print $2 }' "$headers/Module.symvers" | sort -u >"$out/debian.symbols"
sed -n 's/.*(\(_R[A-Za-z0-9_]*\)).*/\1/p' "$out"/rust/exports_*_generated.h |
	sort -u >"$out/rebuilt.symbols"
missing=$(comm -23 "$out/debian.symbols" "$out/rebuilt.symbols")
[ -s "$out/debian.symbols" ] || stop "Module.symvers has no Rust symbols"
[ -z "$missing" ] || stop "the rebuilt metadata lacks these symbols of Debian's kernel:
$missing"
wc -l <"$out/debian.symbols" >"$stock/rust-symbols"
echo "all $(cat "$stock/rust-symbols") Rust symbols of $release are among the rebuilt ones"
