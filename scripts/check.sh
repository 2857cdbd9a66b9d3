#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# All tests. Each file of check.d/ is a part: it is sourced in a shell of its
# own and says, with the functions below, what passed and what did not. A part
# that ends in any other way, or says nothing, has failed. The last line is
# "N passed, N failed" over all parts.
#
# Usage: check.sh [PART]...     (default: all of them; check.sh --list names them)

# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

parts=("$@")
export out=$TOP/build/check
mapfile -t all < <(cd "$TOP/scripts/check.d" && printf '%s\n' [0-9]* | sed 's/^[0-9]*-//')
case ${1:-} in
--list) printf '%s\n' "${all[@]}"; exit 0 ;;
'') parts=("${all[@]}") ;;
esac

"$TOP/scripts/setup.sh" stock debug
as_root "$@"

mkdir -p "$TOP/build"
exec 7>"$TOP/build/check.lock"
flock --nonblock 7 || { say "check: another one is running here; waiting for it"; flock 7; }
rm -rf "$out"
mkdir -p "$out"
trap 'stop_ticker; give_back "$TOP/build"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

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

passed=0 failed=0 skipped=0
for part in "${parts[@]}"; do
	file=$(cd "$TOP/scripts/check.d" && echo [0-9]*"-$part")
	[ -e "$TOP/scripts/check.d/$file" ] || die "no part '$part': see check.sh --list"
	RESULTS=$out/$part.results
	log=$out/$part.log
	start=$SECONDS
	: >"$RESULTS"
	say "check: $part"
	ticker 7>&- &
	TICKER=$!
	status=0
	# shellcheck source=/dev/null
	( trap - EXIT; . "$TOP/scripts/check.d/$file" ) >"$log" 2>&1 || status=$?
	stop_ticker
	count() { grep -c "^$1	" "$RESULTS" || true; }
	ok=$(count ok) bad=$(count 'not ok') skip=$(count skip)
	if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
		printf 'not ok\t%s\n' "the part itself (status $status)" >>"$RESULTS"
		bad=1
	elif [ $((ok + bad)) -eq 0 ]; then
		printf 'not ok\t%s\n' "the part ran no test" >>"$RESULTS"
		bad=1
	fi
	passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
	if [ "$bad" -gt 0 ]; then
		sed -n 's/^not ok\t/    FAILED: /p' "$RESULTS"
		say "    ---- the end of build/check/$part.log:"
		tail -n 60 "$log" | sed 's/^/    /'
	fi
	say "check: $part: $ok passed, $bad failed, $skip skipped, $((SECONDS - start)) s"
done

[ "$skipped" -eq 0 ] || for part in "${parts[@]}"; do
	sed -n "s/^skip\t/skipped: $part: /p" "$out/$part.results"
done
say "$passed passed, $failed failed$([ "$skipped" -eq 0 ] || echo ", $skipped skipped")"
[ "$failed" -eq 0 ]
