#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the guest: the test programs of the directories, one after the other,
# with marks that tap.py understands.
# Usage: run-selftests.sh [--only "NAME..." | --but "NAME..."] DIR...
#   NAME_test is one program; the default are all.

choice=--but names=
case ${1:-} in --only | --but) choice=$1 names=$2; shift 2 ;; esac

for dir; do
	# What races is the same, whoever asks for it.
	case $dir in *-m32) export QEMUFILE_RACE_MS=200 ;; esac
	for program in "$dir"/*_test; do
		name=${program##*/}
		case "$choice $names " in
		*" ${name%_test} "*) [ "$choice" = --only ] || continue ;;
		*) [ "$choice" = --but ] || continue ;;
		esac
		name=${dir##*/selftests-}/$name
		echo "@begin $name"
		timeout -k 10 240 "$program" 2>&1
		echo "@end $name $?"
	done
done
