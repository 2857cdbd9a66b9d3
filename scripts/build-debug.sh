#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the trixie root: builds the debug kernel from the Debian source with
# clang, which Rust with KASAN needs, after debug.config; for the module, for
# C and for Rust alike. An interrupted build goes on where it was.
# Usage: build-debug.sh OUT SOURCE     (makes OUT/build, OUT/vmlinuz, OUT/lib)
set -euo pipefail

out=$1 source=$2
fragment=$(dirname -- "${BASH_SOURCE[0]}")/debug.config
stop() { echo "error: $*"; exit 1; }

mkdir -p "$out/build" "$out/lib/modules"
make=(make -j"$(nproc)" -C "$source" O="$out/build" LLVM=-19)

KCONFIG_ALLCONFIG=$fragment "${make[@]}" alldefconfig

# Kconfig drops in silence what it cannot satisfy: see that all of it is there.
missing=
while read -r line; do
	case $line in
	CONFIG_*) grep -qxF "$line" "$out/build/.config" || missing+=" ${line}" ;;
	'# CONFIG_'*' is not set')
		name=${line#'# '}
		! grep -q "^${name%% *}=[ym]" "$out/build/.config" || missing+=" ${name%% *}=n"
		;;
	esac
done <"$fragment"
[ -z "$missing" ] || stop "the kernel's configuration did not take:$missing"

"${make[@]}" bzImage modules
cp "$out/build/arch/x86/boot/bzImage" "$out/vmlinuz.tmp"
mv "$out/vmlinuz.tmp" "$out/vmlinuz"
