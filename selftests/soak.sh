#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs the tests of races again and again, each race for longer than in a plain
# run. As root, with the module loaded. Ends with the first failure.
# Usage: soak.sh SECONDS DIR (of the programs, see Makefile)

[ $# -eq 2 ] || { echo "Usage: soak.sh SECONDS DIR" >&2; exit 2; }
end=$(($(date +%s) + $1))
# The harness ends a test after 30 s.
export QEMUFILE_RACE_MS=${QEMUFILE_RACE_MS:-8000}
round=0
while [ "$(date +%s)" -lt "$end" ]; do
	round=$((round + 1))
	for name in race fault atomic mmap splice poll block ioctl_clone handle fasync fdinfo \
		ioctl_rate; do
		[ "$(date +%s)" -lt "$end" ] || break
		echo "# round $round: $name"
		"$2/${name}_test" >/tmp/soak.log 2>&1 || {
			cat /tmp/soak.log
			echo "# round $round: $name failed"
			exit 1
		}
	done
done
echo "# $round rounds"
