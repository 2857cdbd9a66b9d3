#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Prints how many lines of rust/sized_buffer, rust/qemu_file and rust/user/qemufile the tests on the
# host run, those of the tests themselves not counted, and each line that they do not. Fails below
# 95 %.
#
# Usage: coverage.sh [CARGO-OPTION]...
#   Uses the LLVM tools of the version that rustc was built with.

set -eu -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

version=$(rustc --version --verbose | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
target=${CARGO_TARGET_DIR:-target}/coverage
rm -rf -- "$target"/profiles
export CARGO_TARGET_DIR=$target
export CARGO_INCREMENTAL=0
export LLVM_PROFILE_FILE=$PWD/$target/profiles/%p-%m.profraw
case $target in /*) LLVM_PROFILE_FILE=$target/profiles/%p-%m.profraw ;; esac
export RUSTFLAGS="${RUSTFLAGS-} -C instrument-coverage"
export PROPTEST_CASES=${PROPTEST_CASES:-100}

binaries=()
for manifest in Cargo.toml ../user/Cargo.toml; do
	cargo test "$@" --manifest-path "$manifest" --release --tests >&2
	mapfile -t -O "${#binaries[@]}" binaries < <(cargo test "$@" --manifest-path "$manifest" \
		--release --tests --no-run --message-format=json |
		sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
done

"llvm-profdata-$version" merge --sparse -o "$target/profile" "$target"/profiles/*.profraw
objects=()
for binary in "${binaries[@]:1}"; do
	objects+=(--object "$binary")
done
"llvm-cov-$version" export --format=lcov --instr-profile "$target/profile" \
	"${binaries[0]}" "${objects[@]}" |
	awk -F '[:,]' '
	/^SF:/ {
		path = substr($0, 4)
		file = path
		# The same file may be there by several paths, and in several binaries.
		sub(/.*\/rust\/((host|user\/qemufile)\/src\/(\.\.\/)+)?/, "", file)
		wanted = file ~ /^(sized_buffer|qemu_file|user\/qemufile\/src)\// && file !~ /\/testing\.rs$/
		tests = 0
		for (number = 1; wanted && (getline line < path) > 0; number++) {
			text[file, number] = line
			if (line ~ /^#\[(kunit_tests|cfg\(test\))/)
				tests = number
		}
		close(path)
	}
	/^DA:/ && wanted && (!tests || $2 < tests) {
		runs[file, $2] += $3
	}
	END {
		for (place in runs) {
			split(place, at, SUBSEP)
			lines[at[1]]++
			if (runs[place] > 0)
				run[at[1]]++
			else
				missed = missed sprintf("%s:%d:%s\n", at[1], at[2], text[place])
		}
		for (file in lines) {
			printf "%-28s %4d of %4d lines\n", file, run[file], lines[file] | "sort"
			all += lines[file]
			all_run += run[file]
		}
		close("sort")
		printf "%s%.1f %% of %d lines\n", missed, 100 * all_run / all, all
		exit all_run < 0.95 * all
	}'
