# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What the scripts share: where things are, how a long step is shown, how a
# command is run inside the trixie root. Sourced, never run.
#
# Layout of the cache, $XDG_CACHE_HOME/qemufile (default ~/.cache/qemufile):
#   root/            trixie: compilers, QEMU, virtiofsd; also the guest's root
#   kernel/source/   the unpacked Debian source, seen as /kernel/source inside
#   kernel/stock/    Debian's kernel: vmlinuz, lib/modules, build/ (for M=)
#   kernel/debug/    the debug kernel: the same layout
#   kernel/arm64/    Debian's kernel for arm64: the same layout, and its own kernel.env
#   root-arm64/      trixie for arm64, unpacked: the root of its guests, and their C library
#   kernel.env       which versions were taken; the one place that says so
#   cargo/           CARGO_HOME of the programs of the host, and target/, what cargo builds
#   semver/          cargo-semver-checks, once make check-semver has run
#   run/             one directory a running virtual machine
#   stamps/, log/    what is finished, and what was said on the way

set -euo pipefail

TOP=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/qemufile
ROOT=$CACHE/root
KERNEL_ENV=$CACHE/kernel.env
LOG=${LOG:-$CACHE/log/misc.log}

# On a terminal the ticker's line is overwritten by the next one.
CLEAR=''
[ ! -t 1 ] || CLEAR=$'\033[K'
say()  { printf '%s%s\n' "$*" "$CLEAR"; }
warn() { printf '%s\n' "$*" >&2; }
die()  { warn "error: $*"; exit 1; }

# The person who called: build outputs are theirs, also when sudo is between.
CALLER_UID=${SUDO_UID:-$(id -u)}
CALLER_GID=${SUDO_GID:-$(id -g)}

# as_root ARG...: run this script again as root, unless it is root already.
as_root() {
	[ "$(id -u)" -ne 0 ] || return 0
	command -v sudo >/dev/null ||
		die "this needs root, and there is no sudo here: run it as root"
	exec sudo -- env "HOME=$HOME" "XDG_CACHE_HOME=${XDG_CACHE_HOME:-}" \
		"PATH=$PATH:/usr/sbin:/sbin" "$0" "$@"
}

# Give what root made in the caller's cache and checkout to the caller; others may
# be at work there.
give_back() {
	[ "$CALLER_UID" -eq 0 ] ||
		find "$@" -ignore_readdir_race ! -uid "$CALLER_UID" \
			-exec chown -hf "$CALLER_UID:$CALLER_GID" {} + || true
}

# Prints the seconds elapsed, and what progress() says if a script has one, so that
# no step is silent for 10 s; until TERM.
progress() { :; }
ticker() {
	local start=$SECONDS nap=
	trap 'kill $nap 2>/dev/null; exit 0' TERM
	while kill -0 $$ 2>/dev/null; do
		sleep 8 &
		nap=$!
		wait "$nap"
		printf '    ... %d s%s%s' $((SECONDS - start)) "$(progress)" "$CLEAR"
		if [ -n "$CLEAR" ]; then printf '\r'; else printf '\n'; fi
	done
}

TICKER=
stop_ticker() {
	[ -n "$TICKER" ] || return 0
	kill "$TICKER" 2>/dev/null || true
	wait "$TICKER" 2>/dev/null || true
	TICKER=
}

# step TEXT COMMAND...: one line, the output in $LOG, its tail if it fails.
step() {
	local text=$1 start=$SECONDS status=0
	shift
	mkdir -p "$(dirname "$LOG")"
	say "  $text"
	printf '\n==== %s\n' "$text" >>"$LOG"
	ticker 9>&- &
	TICKER=$!
	"$@" >>"$LOG" 2>&1 || status=$?
	stop_ticker
	if [ "$status" -ne 0 ]; then
		warn "---- the end of $LOG:"
		tail -n 25 "$LOG" >&2
		warn "----"
		warn "failed after $((SECONDS - start)) s: $text (status $status)"
		return "$status"
	fi
}

# What make needs to know of the kernels of Debian, which are built by gcc-14.
# shellcheck disable=SC2034
STOCK_COMPILER=(CC=x86_64-linux-gnu-gcc-14)
# shellcheck disable=SC2034
ARM64_COMPILER=(ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- CC=aarch64-linux-gnu-gcc-14)

# kernel_env KERNEL: the file that says which version KERNEL is of.
kernel_env() {
	case $1 in
	arm64) echo "$CACHE/kernel/arm64/kernel.env" ;;
	*) echo "$KERNEL_ENV" ;;
	esac
}

# load_kernel_env [KERNEL]: what set-up wrote in that file, as shell variables.
load_kernel_env() {
	local file
	file=$(kernel_env "${1:-stock}")
	[ -e "$file" ] || die "no set-up yet: run make setup"
	# shellcheck disable=SC1090
	. "$file"
}

# in_root [--user] [--bind PATH]... [--mount SOURCE:PATH]... -- COMMAND...
# Run COMMAND in the trixie root, in mount and process namespaces of its own:
# when it ends, or this shell dies, neither mounts nor processes stay behind.
# --user: as the caller, not as root. --bind: PATH is seen at the same path.
in_root() {
	local user=0 mounts=("$CACHE/kernel:/kernel" "$TOP:$TOP")
	while :; do
		case $1 in
		--user) user=1 ;;
		--bind) mounts+=("$2:$2"); shift ;;
		--mount) mounts+=("$2"); shift ;;
		--) shift; break ;;
		esac
		shift
	done
	setpriv --pdeathsig KILL \
		unshare --mount --pid --fork --kill-child \
		bash "$TOP/scripts/enter-root.sh" "$ROOT" "$PWD" \
		"$([ "$user" -eq 1 ] && echo "$CALLER_UID:$CALLER_GID" || echo 0:0)" \
		"${mounts[@]}" -- "$@"
}

# cargo_in_root COMMAND ARG...: cargo, or a script that calls it, in the root. What it
# builds is in the cache, for all checkouts: a new one builds its own crates, but not
# those of others that they depend on. Two checkouts have programs of the same name:
# who builds one and uses it does so under with_programs.
cargo_in_root() {
	mkdir -p "$CACHE/cargo/target"
	give_back "$CACHE/cargo/target"
	(
		flock --shared 4
		in_root --user --mount "$CACHE/cargo:/cargo" -- env CARGO_HOME=/cargo \
			CARGO_TARGET_DIR=/cargo/target CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never "$@"
	) 4>>"$CACHE/cargo/target.lock"
}
with_programs() {
	(
		flock 5
		"$@"
	) 5>"$CACHE/cargo/programs.lock"
}
# What older checkouts left there is removed at some time, while none is at it.
prune_cargo() {
	mkdir -p "$CACHE/cargo/target"
	[ "$(du -sm "$CACHE/cargo/target" | cut -f1)" -ge 6000 ] || return 0
	(
		flock --nonblock 4 || exit 0
		rm -rf "$CACHE/cargo/target"
	) 4>>"$CACHE/cargo/target.lock"
}
