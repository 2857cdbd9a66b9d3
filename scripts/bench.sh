#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The benchmark: see usage below. What its rows mean is in
# Documentation/develop/performance.rst.

# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

usage() {
	cat <<-'END'
	Usage: bench.sh [OPTION]...
	Measures qemufile and what programs use instead of it, round by round, in a virtual
	machine; prints medians, and ratios with their spread; writes build/bench/NAME.json.

	  --kernel stock|uml  Debian's kernel (default); or User-Mode Linux, where memory moves
	                      at the machine's own speed, on one processor
	  --works REGEX       only works whose name matches; QEMU's are "qemu, ..."
	  --rounds N          of each work (default 9), after one that is not counted
	  --memory MB         of the machine (default: half of what is free, 8192 at most, or 2048
	                      with --counted)
	  --counted           instructions in place of time: the machine's clock counts them.
	                      The same in each run within 3 %; on one processor;
	                      without QEMU and what takes long
	  --name NAME         of the results (default: stock, uml or stock-counted)
	  --compare OLD.json  compare the ratios with those of a run before: fails if one is
	                      worse by more than 25 % and by more than both spreads
	  --draw              also write the tables and plots of Documentation/develop/performance.rst;
	                      not with --works, as they have all rows
	  --profile PEER      no figures, but the functions that the works on PEER (qemufile, memfd,
	                      ...) spend their time in; with --works, and best with --counted
	  --note TEXT         about the run, for the tables: "other work beside it"
	END
}

COUNTED_WORKS='^(write|read|RAM|pwrite, random|pread, random, 4|live|splice|mmap|open|typed)'
COUNTED_WORKS+='|^clone of (mapped|1 MiB|64 MiB)|^memory|^(append at|pread, random, of) (1|16|64|256) MiB'

args=("$@")
kernel=stock works='' rounds=9 memory='' name='' compare='' draw='' counted='' note='' profile=''
while [ $# -gt 0 ]; do
	case $1 in
	--kernel) kernel=$2; shift ;;
	--works) works=$2; shift ;;
	--rounds) rounds=$2; shift ;;
	--memory) memory=$2; shift ;;
	--name) name=$2; shift ;;
	--compare) compare=$2; shift ;;
	--counted) counted=1 ;;
	--draw) draw=1 ;;
	--note) note=$2; shift ;;
	--profile) profile=$2; shift ;;
	--help | -h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done
case $kernel in
stock | uml) ;;
*) die "no such kernel for the benchmark: '$kernel' (stock or uml)" ;;
esac
[[ $rounds =~ ^[1-9][0-9]*$ ]] || die "--rounds '$rounds' is no number of rounds"
[ -z "$counted" ] || [ "$kernel" = stock ] || die "--counted is for --kernel stock"
[ -z "$compare" ] || [ -s "$compare" ] || die "there is nothing to compare with in '$compare'"
[ -z "$draw" ] || [ -z "$works" ] || die "--draw needs all works, and so no --works"
stem=$kernel${counted:+-counted}
name=${name:-$stem}
if [ -n "$counted" ]; then
	# One processor, and an emulation of an emulation, leave these out.
	works=${works:-$COUNTED_WORKS}
	memory=${memory:-2048}
fi

[ -z "$draw" ] || "$TOP/scripts/setup.sh" "$kernel" bench
[ -z "$profile" ] || "$TOP/scripts/setup.sh" "$kernel" perf
"$TOP/scripts/build.sh" "$kernel" modules
as_root "${args[@]}"
out=$TOP/build/bench
mkdir -p "$out"
give_back "$TOP/build"
exec 6>"$out/lock"	# two at once would measure each other
flock --nonblock 6 || die "another benchmark of this checkout is running"
programs=$TOP/build/selftests-bench
in_root --user -- make --silent -C "$TOP/selftests/bench" OUT="$programs"

if [ -z "$memory" ]; then
	memory=$(awk '/^MemAvailable:/ { print int($2 / 2048) }' /proc/meminfo)
	[ "$memory" -le 8192 ] || memory=8192
fi
run=("$TOP/selftests/bench/run.sh" "$programs" "$rounds" "$works")
vm=("$TOP/scripts/vm.sh" --timeout 5000 --memory "$memory" ${counted:+--count-instructions} --)
if [ -n "$profile" ]; then
	"${vm[@]}" "${run[@]}" "$profile"
	exit
fi
say "bench: $kernel, $memory MiB of memory, $rounds rounds"
start=$SECONDS
results=$out/$name.jsonl
case $kernel in
uml) "$TOP/scripts/bench/uml.sh" "$memory" "${run[@]}" >"$results.tmp" ;;
*) "${vm[@]}" "${run[@]}" >"$results.tmp" ;;
esac
mv "$results.tmp" "$results"
say "bench: measured in $((SECONDS - start)) s"
report=(python3 -B "$TOP/scripts/bench/report.py" "$results" --json "$out/$name.json"
	--note "$note" ${counted:+--counted})
if [ -n "$compare" ]; then
	cp "$compare" "$out/before.json"
	report+=(--compare "$out/before.json")
fi
give_back "$out"
status=0
in_root --user -- "${report[@]}" || status=$?
[ -z "$draw" ] || {
	pages=$TOP/Documentation/develop/performance
	mkdir -p "$pages"
	give_back "$pages"
	in_root --user -- env MPLCONFIGDIR=/tmp python3 -B "$TOP/scripts/bench/draw.py" \
		"$out/$name.json" "$pages" "$stem"
	say "bench: drawn into Documentation/develop/performance/"
}
exit "$status"
