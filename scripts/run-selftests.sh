#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the guest: every test program of the directories, one after the
# other, with marks that tap.py understands. Usage: run-selftests.sh DIR...

for dir; do
	for program in "$dir"/*_test; do
		name=${dir##*/selftests-}/${program##*/}
		echo "@begin $name"
		timeout -k 10 240 "$program" 2>&1
		echo "@end $name $?"
	done
done
