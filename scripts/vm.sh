#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs a command in a virtual machine: see usage below, or vm.sh --help.
#
# The guest's root is the trixie root itself, through virtiofs, or for arm64 a small
# one of that architecture. Three scripts:
# this one prepares and judges, vm-host.sh runs virtiofsd and QEMU in their own
# namespaces, vm-init.sh is the first process of the guest.

# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

usage() {
	cat <<-'END'
	Usage: vm.sh [OPTION]... -- COMMAND [ARG]...
	Boots a kernel in QEMU with the trixie root (read-only, tmpfs on /tmp and /run),
	this checkout at the same path read-only, and qemufile.ko loaded; runs COMMAND
	as root; passes its output on and exits with its status.

	  --kernel stock|debug|arm64
	                        Debian's unmodified kernel (default), the one with KASAN,
	                        lockdep, kmemleak and the like, or Debian's for arm64
	  --share DIR           DIR, at the same path, read-write (may be repeated)
	  --timeout SECONDS     for the whole run (default 600)
	  --memory MB           of the guest (default 2048)
	  --cpus N              of the guest (default 2)
	  --count-instructions  the guest's clock counts instructions, one a nanosecond, on one
	                        processor, without KVM: for the benchmark
	  --append ARG          to the kernel's command line (may be repeated)
	  --kunit               let the module's KUnit suites run when it is loaded
	                        (debug kernel; the results are in the kernel's log)
	  --no-module           do not load qemufile.ko
	  --log FILE            keep the kernel's log there

	Exit status: COMMAND's own, except
	  123  the machine did not start, the module did not load, or the machine
	       ended without COMMAND's status
	  124  timeout
	  125  the kernel's log has an oops, a warning, a report of lockdep, KASAN or
	       the like; the module could not be removed after COMMAND; or memory was
	       leaked. Whatever COMMAND returned; the report is printed on stderr.
	END
}

args=("$@")
kernel=stock timeout=600 memory=2048 cpus='' module=1 log="" kunit="" shares=() append=() icount=""
while [ $# -gt 0 ]; do
	case $1 in
	--kernel) kernel=$2; shift ;;
	--share) shares+=("$2"); shift ;;
	--timeout) timeout=$2; shift ;;
	--memory) memory=$2; shift ;;
	--cpus) cpus=$2; shift ;;
	--count-instructions) icount=1 ;;
	--append) append+=("$2"); shift ;;
	--log) log=$2; shift ;;
	--kunit) kunit=1 ;;
	--no-module) module=0 ;;
	--help | -h) usage; exit 0 ;;
	--) shift; break ;;
	*) usage >&2; exit 123 ;;
	esac
	shift
done
[ $# -gt 0 ] || { usage >&2; exit 123; }
cpus=${cpus:-$([ -n "$icount" ] && echo 1 || echo 2)}
fail() { warn "vm.sh: $*"; exit 123; }

"$TOP/scripts/setup.sh" "$kernel" >&2 || exit 123
as_root "${args[@]}"
ko=$TOP/build/$kernel/qemufile.ko
[ "$module" -eq 0 ] || [ -e "$ko" ] ||
	fail "there is no $ko: run make KERNEL=$kernel"

# A run that was killed outright could not remove its directory: do it now.
exec 9>"$CACHE/run/lock"
flock 9
for old in "$CACHE"/run/*.vm; do
	[ ! -d "$old" ] || ! flock -n "$old" true || rm -rf "$old"
done
run=$(mktemp -d "$CACHE/run/XXXXXX.vm")
exec 8<"$run"
flock 8
exec 9>&-
trap 'rm -rf "$run"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

cp "$TOP/scripts/vm-init.sh" "$run/init"
cp "$(kernel_env "$kernel")" "$run/kernel.env"
[ "$module" -eq 0 ] || cp "$ko" "$run/qemufile.ko"
mkfifo "$run/stdout" "$run/stderr"
mounts=() visible=("$TOP")
for share in "${shares[@]}"; do
	[ -d "$share" ] || fail "--share $share: no such directory"
	share=$(realpath "$share")
	mounts+=("$share") visible+=("$share")
done
cwd=$TOP
for dir in "${visible[@]}"; do
	[[ $PWD/ != "$dir"/* ]] || cwd=$PWD
done
{
	printf 'visible="%s"\nkunit=%s\n' "${visible[*]}" "$kunit"
} >"$run/settings"
{
	printf 'cd %q || exit 127\nexec %s\n' "$cwd" "${*@Q}"
} >"$run/command"

# The host's part, as the first process of its own namespaces: when it ends, or
# this shell dies, QEMU, virtiofsd and the mounts go with it.
setpriv --pdeathsig KILL \
	unshare --mount --pid --fork --kill-child \
	bash "$TOP/scripts/vm-host.sh" "$CACHE" "$TOP" "$run" "$kernel" "$timeout" \
	"$memory" "$cpus" "$icount" "${append[*]}" "${mounts[@]}" </dev/null &
host=$!
wait "$host" && host_status=0 || host_status=$?

# ---- what came of it

[ ! -s "$run/console.log" ] || tr -d '\r' <"$run/console.log" >"$run/kernel.log"
# Complete where the guest could still write it; the console has the rest.
[ ! -s "$run/dmesg" ] || cp "$run/dmesg" "$run/kernel.log"
[ -z "$log" ] || { cp "$run/kernel.log" "$log" && give_back "$log"; }
[ ${#shares[@]} -eq 0 ] || [ "$CALLER_UID" -eq 0 ] ||
	find "${mounts[@]}" -xdev -user 0 -newer "$run/init" \
		-exec chown -h "$CALLER_UID:$CALLER_GID" {} +

REPORTS='BUG:|BUG [a-z]|WARNING:|Oops|[Kk]ernel panic|KASAN:|UBSAN:|KFENCE:|Call [Tt]race'
REPORTS+='|possible (circular|recursive) locking|INFO: possible|lock inversion'
REPORTS+='|inconsistent lock state|Invalid wait context|suspicious RCU|held lock freed'
REPORTS+='|sleeping function called|scheduling while atomic|unreferenced object'
REPORTS+='|rust_kernel: panicked|INFO: task .* blocked|rcu.*self-detected stall'
REPORTS+='|soft lockup|general protection fault|ODEBUG:|(list_add|list_del) corruption'
REPORTS+='|refcount_t:|Object already free|Poison overwritten|pagealloc:|Bad page'
bad=
if grep -qE "$REPORTS" "$run/kernel.log" 2>/dev/null; then
	bad=1
	warn "vm.sh: the kernel reported:"
	grep -E -m 1 -B 3 -A 70 "$REPORTS" "$run/kernel.log" >&2
fi
for problem in rmmod kmemleak; do
	[ -s "$run/$problem" ] || continue
	bad=1
	warn "vm.sh: after the command, $problem said:"
	head -n 60 "$run/$problem" >&2
done
[ -z "$bad" ] || exit 125
[ ! -e "$run/timeout" ] || {
	warn "vm.sh: no end after $timeout s; the kernel's last words were:"
	tail -n 15 "$run/kernel.log" >&2 || true
	exit 124
}
[ ! -s "$run/insmod" ] || fail "the module did not load: $(cat "$run/insmod")"
[ -s "$run/status" ] || {
	warn "vm.sh: the machine ended (status $host_status) without the command's status:"
	cat "$run/init.log" "$run/virtiofsd.log" "$run/qemu.log" >&2 || true
	tail -n 15 "$run/kernel.log" >&2 || true
	exit 123
}
exit "$(cat "$run/status")"
