#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs the benchmark on a machine that has the module loaded, and prints its lines of
# JSON, the first of which says what machine that is; or, with a peer to profile, the
# functions of the kernel that its works spend their time in.
# Usage: run.sh DIR ROUNDS [REGEX [PEER]]      (DIR: where make put the programs)

programs=${1:?usage: run.sh DIR ROUNDS [REGEX [PEER]]} rounds=$2 works=${3:-} profiled=${4:-}

if [ -n "$profiled" ]; then
	# By a timer: an emulated processor has no counters.
	perf record --quiet --event cpu-clock --freq 2000 --all-cpus --output /tmp/perf.data -- \
		"$programs/bench" -r "$rounds" -w "$works" -p "$profiled" >/dev/null &&
		perf report --input /tmp/perf.data --stdio --no-children --comm bench \
			--sort symbol --percentage relative --percent-limit 0.7 2>/dev/null |
		sed -nE '/^ +[0-9]/ s/( +-)+ *$//p' | c++filt --format rust
	exit
fi

model=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
memory=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)
printf '{"machine": {"kernel": "%s", "cpus": %d, "cpu": "%s", "memory": %d, "rounds": %d, "date": "%s"}}\n' \
	"$(uname -r)" "$(nproc)" "$model" "$((memory / 1024))" "$rounds" "$(date +%F)"
export PYTHONDONTWRITEBYTECODE=1
status=0
if "$programs/bench" -l -w "$works" >/dev/null 2>&1; then
	"$programs/bench" -r "$rounds" -w "$works" || status=$?
	measured=1
fi
# QEMU's rounds are long: half as many.
case $works in
'' | *qemu*)
	"$(dirname -- "$0")/qemu.py" "$(((rounds + 1) / 2))" "$works" || status=$?
	measured=1
	;;
esac
if [ -z "${measured:-}" ]; then
	echo "error: no work's name matches '$works': see $programs/bench -l" >&2
	status=2
fi
exit "$status"
