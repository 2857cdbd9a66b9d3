#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs the benchmark on a machine that has the module loaded, and prints its lines of
# JSON, the first of which says what machine that is.
# Usage: run.sh DIR ROUNDS [REGEX]      (DIR: where make put the programs)

programs=${1:?usage: run.sh DIR ROUNDS [REGEX]} rounds=$2 works=${3:-}

model=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
memory=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)
printf '{"machine": {"kernel": "%s", "cpus": %d, "cpu": "%s", "memory": %d, "rounds": %d}}\n' \
	"$(uname -r)" "$(nproc)" "$model" "$((memory / 1024))" "$rounds"
"$programs/bench" -r "$rounds" ${works:+-w "$works"}
