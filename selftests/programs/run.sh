#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs the tests with real programs, on a machine that has the module loaded,
# with marks that scripts/tap.py understands.
# Usage: run.sh DIR [NAME]...     (where make put the guests; default: all)

guests=${1:?usage: run.sh DIR [NAME]...}
shift
cd "$(dirname -- "$0")" || exit
export PYTHONDONTWRITEBYTECODE=1

[ $# -gt 0 ] || set -- move_256m typed_header live_migration by_path guest_ram guest_disk libvirt ctl ctl_qemu ctl_fork ctl_diff vmm remote remote_store
failed=0
for program; do
	case $program in
	typed_header | by_path | guest_ram | libvirt | ctl* | remote*) guest=counter.img ;;
	live_migration) guest=dirty.img ;;
	guest_disk) guest=disk.img ;;
	*) guest= ;;
	esac
	# Where the tool and the VMM are: check.d/lib.sh has put them beside the guests.
	export PROGRAMS="$guests"
	echo "@begin programs/$program"
	status=0
	timeout -k 10 400 "./$program.py" ${guest:+"$guests/$guest"} 2>&1 || status=$?
	echo "@end programs/$program $status"
	[ "$status" -eq 0 ] || failed=1
done
exit "$failed"
