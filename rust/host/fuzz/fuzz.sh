#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Fuzzes SizedBuffer against its model: builds what `cargo fuzz run --sanitizer none` would, with
# the stable compiler that the kernel is built with, and runs it.
#
# Usage: fuzz.sh [CARGO-OPTION]... [-- LIBFUZZER-OPTION]...
#   For 60 s, or what -max_total_time=SECONDS says; 0 is for ever. What it learns stays in
#   $CARGO_TARGET_DIR/fuzz/corpus; an input that fails, in $CARGO_TARGET_DIR/fuzz/artifacts.

set -eu
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

cargo_options=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
	cargo_options+=("$1")
	shift
done
[ $# -eq 0 ] || shift

target=$(realpath -m "${CARGO_TARGET_DIR:-../target}")/fuzz
export CARGO_TARGET_DIR=$target
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="${RUSTFLAGS-} --cfg fuzzing -C passes=sancov-module \
-C llvm-args=-sanitizer-coverage-level=4 -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
-C llvm-args=-sanitizer-coverage-pc-table -C llvm-args=-sanitizer-coverage-trace-compares \
-C codegen-units=1"

# With a target given, build scripts and macros are not instrumented.
host=$(rustc --version --verbose | sed -n 's/^host: //p')
mkdir -p "$target/corpus" "$target/artifacts"
# Another checkout with the same target directory would put its program in place of this one.
program=$(mktemp "$target/program.XXXXXX")
trap 'rm -f "$program"' EXIT
(
	flock 9
	cargo build --release --target "$host" ${cargo_options[@]+"${cargo_options[@]}"}
	cp -p "$target/$host/release/sized_buffer" "$program"
) 9>"$target/lock"
"$program" -artifact_prefix="$target/artifacts/" \
	-max_total_time=60 -max_len=4096 -print_final_stats=1 "$@" "$target/corpus"
