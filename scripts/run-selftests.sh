#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the guest: every test program of the directories, one after the
# other, with marks that tap.py understands. Usage: run-selftests.sh DIR...

for dir; do
	# What races is the same, whoever asks for it.
	case $dir in *-m32) export QEMUFILE_RACE_MS=200 ;; esac
	for program in "$dir"/*_test; do
		name=${dir##*/selftests-}/${program##*/}
		echo "@begin $name"
		timeout -k 10 240 "$program" 2>&1
		echo "@end $name $?"
	done
done
