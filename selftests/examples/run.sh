#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs the examples, on a machine that has the module loaded, and prints TAP. An
# example has passed if it ends with status 0.
# Usage: run.sh DIR     (where make put the programs)

dir=${1:?usage: run.sh DIR}
count=0
failed=0
for program in "$dir"/*; do
	[ ! -x "$program" ] || count=$((count + 1))
done
echo "TAP version 13"
echo "1..$count"

number=0
for program in "$dir"/*; do
	[ -x "$program" ] || continue
	number=$((number + 1))
	result=ok
	output=$(timeout 30 "$program" 2>&1) || {
		result='not ok'
		failed=1
		printf '%s\n' "$output" | sed 's/^/# /'
	}
	echo "$result $number examples.${program##*/}"
done
exit "$failed"
