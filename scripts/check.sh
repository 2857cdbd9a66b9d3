#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# All tests. Each file of check.d/ is a part: it is sourced in a shell of its
# own and says, with the functions below, what passed and what did not. A part
# that ends in any other way, or says nothing, has failed. The last line is
# "N passed, N failed" over all parts.
#
# Usage: check.sh [PART]...     (default: all of them; check.sh --list names them)
#   JOBS=N: how many parts at once (default 2, on one processor 1), in the order
#   of their numbers: after the parts that fail soonest come the longest, so that
#   the others run beside them. A part with a line "# Needs: debug" takes that
#   part of the set-up, too; one with "# On request: ..." runs only when it is named.

# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

export out=$TOP/build/check
parts=("$@")
mapfile -t all < <(cd "$TOP/scripts/check.d" && grep -L '^# On request' [0-9]* | sed 's/^[0-9]*-//')
case ${1:-} in
--list) printf '%s\n' "${all[@]}"; exit 0 ;;
'') parts=("${all[@]}") ;;
esac
file_of() { echo "$TOP/scripts/check.d"/[0-9]*"-$1"; }
setup=(stock)
for part in "${parts[@]}"; do
	[ -e "$(file_of "$part")" ] || die "no part '$part': see check.sh --list"
	mapfile -t -O ${#setup[@]} setup < <(sed -n 's/^# Needs: //p' "$(file_of "$part")")
done
jobs=${JOBS:-$(($(nproc) > 1 ? 2 : 1))}

"$TOP/scripts/setup.sh" "${setup[@]}"
as_root "$@"
mkdir -p "$TOP/build"
exec 7>"$TOP/build/check.lock"
flock --nonblock 7 || {
	say "check: another one is running here; waiting for it"
	ticker 7>&- &
	TICKER=$!
	trap stop_ticker EXIT
	flock 7
	stop_ticker
}
rm -rf "$out"
mkdir -p "$out"
prune_cargo

# ---- for the parts

# result ok|"not ok"|skip NAME: counts one test.
result() { printf '%s\t%s\n' "$1" "$2" >>"$RESULTS"; }
# test_that NAME COMMAND...: passes if COMMAND does.
test_that() {
	local name=$1
	shift
	say "== $name"
	if "$@"; then
		result ok "$name"
	else
		say "== $name: FAILED"
		result 'not ok' "$name"
	fi
}
# count_results COMMAND...: COMMAND's output is lines for result, tab between.
count_results() { "$@" >>"$RESULTS"; }
# shellcheck source=scripts/check.d/lib.sh
. "$TOP/scripts/check.d/lib.sh"

# ---- run them

# What runs, and how many results its tests have so far.
progress() {
	local file part
	for file in "$out"/*.running; do
		part=${file##*/} part=${part%.running}
		[ ! -e "$file" ] || printf ', %s %s' "$part" \
			"$(cat "$out/$part.results" "$out/$part.tap" 2>/dev/null | grep -cE '^(not )?(ok|skip)\b')"
	done
}

passed=0 failed=0 skipped=0 again=()
declare -A running=()	# process: part
start=$SECONDS

# Each part is a process group, so that it can be ended with all that it runs.
begin() {
	local part=$1
	say "check: $part"
	: >"$out/$part.results"
	echo "$SECONDS" >"$out/$part.running"
	set -m
	(
		trap - EXIT INT TERM
		RESULTS=$out/$part.results
		# shellcheck source=/dev/null
		. "$(file_of "$part")"
	) >"$out/$part.log" 2>&1 7>&- </dev/null &
	set +m
	running[$!]=$part
}

# Waits for one part, and reports it.
finish_one() {
	local pid part ok bad skip status=0 since
	wait -n -p pid "${!running[@]}" || status=$?
	part=${running[$pid]}
	unset "running[$pid]"
	since=$(cat "$out/$part.running")
	rm "$out/$part.running"
	count() { grep -c "^$1	" "$out/$part.results" || true; }
	ok=$(count ok) bad=$(count 'not ok') skip=$(count skip)
	if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
		printf 'not ok\t%s\n' "the part itself (status $status)" >>"$out/$part.results"
		bad=1
	elif [ $((ok + bad)) -eq 0 ]; then
		printf 'not ok\t%s\n' "the part ran no test" >>"$out/$part.results"
		bad=1
	fi
	passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
	if [ "$bad" -gt 0 ]; then
		again+=("$part")
		printf %s "$CLEAR"
		sed -n 's/^not ok\t/    FAILED: /p' "$out/$part.results"
		say "    ---- the end of build/check/$part.log:"
		tail -n 60 "$out/$part.log" | sed 's/^/    /'
	fi
	say "check: $part: $ok passed, $bad failed, $skip skipped, $((SECONDS - since)) s"
}

end_all() {
	local pid
	stop_ticker
	for pid in "${!running[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
	give_back "$TOP/build"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ticker 7>&- &
TICKER=$!
for part in "${parts[@]}"; do
	while [ ${#running[@]} -ge "$jobs" ]; do finish_one; done
	begin "$part"
done
while [ ${#running[@]} -gt 0 ]; do finish_one; done
stop_ticker

[ "$skipped" -eq 0 ] || say "check: skipped: see 'grep ^skip build/check/*.results'"
[ ${#again[@]} -eq 0 ] || say "check: what the parts said is in build/check/PART.log; to run these
       parts again: make check PARTS=\"${again[*]}\"; one test: see Documentation/develop/testing.rst"
say "check: finished in $((SECONDS - start)) s, $skipped skipped"
say "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
