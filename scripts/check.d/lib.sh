# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: GPL-2.0
#
# What several parts of check.sh need; sourced by it.

# Test programs whose calls fail or come last. On the debug kernel they run
# in the machine of the storm.
# shellcheck disable=SC2034
FAILING="fasync fault inode memory module mount names"

# build_selftests VARIANT...: in build/selftests-VARIANT; a variant is native, m32 or arm64.
build_selftests() {
	local variant make libc
	for variant; do
		make=(make --silent -j"$(nproc)" -C "$TOP/selftests"
			KSRC=/kernel/source OUT="$TOP/build/selftests-$variant") libc=()
		case $variant in
		m32) make+=(M32=1) ;;
		arm64)
			libc=(--mount "$CACHE/root-arm64:/arm64")
			make+=(CC='aarch64-linux-gnu-gcc-14 --sysroot=/arm64')
			;;
		esac
		{
			flock 5	# another part may be at it as well
			in_root --user "${libc[@]}" -- "${make[@]}" || return
		} 5<"$out"
	done
}

# run_marked NAME KERNEL [OPTION OF vm.sh]... -- COMMAND...: runs COMMAND in a machine
# with the module. It marks its programs for tap.py; their results are counted.
run_marked() {
	local name=$1 kernel=$2 status=0
	shift 2
	"$TOP/scripts/build.sh" "$kernel" modules || return
	"$TOP/scripts/vm.sh" --kernel "$kernel" --timeout 1500 \
		--log "$out/$name.kernel.log" "$@" >"$out/$name.tap" || status=$?
	count_results python3 "$TOP/scripts/tap.py" "$out/$name.tap"
	# Of the programs that failed, what they said; of the others, nothing.
	awk '/^@begin/ { text = "" } { text = text $0 "\n" } /^not ok|^@end .* [^04]$/ { bad = 1 }
	     /^@end/ { if (bad) printf "%s", text; bad = 0 }' "$out/$name.tap" |
		sed '/^ok /d; /^#            OK/d; /^#  RUN /d'
	return "$status"
}

# run_tap NAME KERNEL DIR [OPTION OF vm.sh]... -- COMMAND...: builds the module and
# what selftests/DIR makes, in build/selftests-DIR, and counts the TAP of COMMAND,
# run in a machine. --marked: COMMAND itself marks its programs for tap.py.
run_tap() {
	local name=$1 kernel=$2 dir=$3 tap=$out/$1.tap status=0 marked=
	shift 3
	[ "$1" != --marked ] || { marked=1; shift; }
	"$TOP/scripts/build.sh" "$kernel" modules || return
	in_root --user -- make --silent -C "$TOP/selftests/$dir" KSRC=/kernel/source \
		OUT="$TOP/build/selftests-$dir" ||
		return
	{
		[ -n "$marked" ] || echo "@begin $name"
		"$TOP/scripts/vm.sh" --kernel "$kernel" --timeout 600 \
			--log "$out/$name.kernel.log" "$@" || status=$?
		[ -n "$marked" ] || echo "@end $name $status"
	} >"$tap"
	count_results python3 "$TOP/scripts/tap.py" "$tap"
	cat "$tap"
	return "$status"
}

# cargo_test FOLDER ARG...: cargo test of a folder of rust/, in the root, counted. The
# crates of rust/user take longer to optimize than to test.
cargo_test() {
	local status=0 text folder=$1 profile=release
	shift
	[ "$folder" != user ] || profile=dev
	text=$(mktemp "$out/cargo.XXXXXX")
	cargo_in_root cargo test --profile "$profile" --no-fail-fast \
		--manifest-path "$TOP/rust/$folder/Cargo.toml" "$@" >"$text" 2>&1 || status=$?
	grep -vE '^test .* \.\.\. ok$' "$text"
	count_results python3 "$TOP/scripts/tap.py" --cargo "$text"
	return "$status"
}

# build_tool DIR: qemufilectl, the example VMM, and the tests of the crate for a machine with the module.
build_tool() { with_programs build_programs "$1"; }
build_programs() {
	local user=$TOP/rust/user/Cargo.toml target=$CACHE/cargo/target/debug test
	mkdir -p "$1"
	cargo_in_root cargo build --manifest-path "$user" --workspace --all-features || return
	test=$(cargo_in_root cargo test --no-run --message-format=json --manifest-path "$user" \
		--workspace --all-features --test device |
		sed -n 's/.*"executable":"\([^"]*\/device-[^"]*\)".*/\1/p')
	[ -n "$test" ] || return
	cp "$target/deps/${test##*/}" "$1/device_test"
	cp "$target/qemufilectl" "$target/vmm" "$1"
}
