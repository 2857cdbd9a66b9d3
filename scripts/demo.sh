#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The main job, end to end: on Debian's unmodified kernel, a real QEMU parks the
# state of its running guest in /dev/qemufile, and another one takes it up. See
# demo/park.py for what is done, demo/counter.S for the guest.
# Usage: demo.sh [ARGUMENT OF park.py]...

# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

"$TOP/scripts/setup.sh"
as_root "$@"
start=$SECONDS
out=$TOP/build/demo
mkdir -p "$out"
give_back "$TOP/build"
# shellcheck disable=SC2016
in_root --user -- sh -euc 'cd "$1"
	gcc -m32 -c -o counter.o "$0"
	ld -m elf_i386 -Ttext=0x7c00 --oformat=binary -o counter.img counter.o' \
	"$TOP/scripts/demo/counter.S" "$out"

say "demo: booting the kernel in QEMU"
"$TOP/scripts/vm.sh" --timeout 300 -- \
	python3 "$TOP/scripts/demo/park.py" --image "$out/counter.img" "$@"
say "demo: finished in $((SECONDS - start)) s"
