#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds the module for a kernel of the set-up, in the trixie root, through
# kbuild. What is made lands in build/KERNEL/, or in build/NAME/ with --out.
#
# Usage: build.sh [--out NAME] stock|debug|arm64|uml TARGET [VARIABLE=VALUE]...
#   TARGET is one of kbuild's for external modules: modules, modules_install,
#   clean, rust-analyzer. Warnings are errors, unless KRUSTFLAGS= or KCFLAGS= say otherwise.

# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

args=("$@")
out=
if [ "$1" = --out ]; then
	out=$TOP/build/$2
	shift 2
fi
kernel=$1 target=$2
shift 2
out=${out:-$TOP/build/$kernel}

"$TOP/scripts/setup.sh" "$kernel"
as_root "${args[@]}"
load_kernel_env "$kernel"
mkdir -p "$out"
give_back "$TOP/build"
exec 6>"$out.lock"	# kbuild cannot share a directory
flock 6

flags=(KCFLAGS=-Werror KRUSTFLAGS=-Dwarnings)
case $kernel in
debug) compiler=(LLVM=-19) ;;
arm64) compiler=("${ARM64_COMPILER[@]}" HOSTCC=gcc) ;;
*) compiler=("${STOCK_COMPILER[@]}" HOSTCC=gcc) ;;
esac
# The loader of modules of User-Mode Linux knows no relocations for a GOT, and none of 32 bits
# that reach the kernel, which is far from its modules.
[ "$kernel" != uml ] || flags=(ARCH=um KCFLAGS=-mcmodel=large
	KRUSTFLAGS="-Ccode-model=large -Crelocation-model=static")
make=(make --silent --no-print-directory -j"$(nproc)" -C "/kernel/$kernel/build"
	M="$TOP" MO="$out" "${compiler[@]}" "${flags[@]}" "$@")

case $target in
modules_install)
	# To INSTALL_MOD_PATH, or to this machine if it has that kernel.
	prefix=
	for variable; do
		[[ $variable != INSTALL_MOD_PATH=* ]] || prefix=${variable#*=}
	done
	modules=${prefix%/}/lib/modules
	[ -n "$prefix" ] || [ -d "$modules/$KERNEL_RELEASE" ] ||
		die "this machine has no kernel $KERNEL_RELEASE: say where with INSTALL_MOD_PATH=DIR"
	mkdir -p "$modules"
	in_root --mount "$(realpath "$modules"):/install/lib/modules" -- \
		"${make[@]}" INSTALL_MOD_PATH=/install CONFIG_MODULE_SIG_ALL= \
		modules_install 2> >(grep -v 'System.map' >&2)
	if [ -n "$prefix" ]; then
		give_back "$modules"
	else
		depmod "$KERNEL_RELEASE"
	fi
	;;
rust-analyzer)
	in_root --user -- "${make[@]}" rust-analyzer
	# The paths in it are the root's: for an editor they are the cache's.
	sed -e "s|\"/kernel/|\"$CACHE/kernel/|g" -e "s|\"/usr/|\"$ROOT/usr/|g" \
		"$out/rust-project.json" >"$TOP/rust-project.json"
	give_back "$TOP/rust-project.json"
	say "rust-project.json is written"
	;;
*)
	in_root --user -- "${make[@]}" "$target"
	;;
esac
