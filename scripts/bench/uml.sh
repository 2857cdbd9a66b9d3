#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs a command as root in User-Mode Linux, with qemufile.ko loaded: the kernel is a
# process in the trixie root, which is its root file system, read-only. For the benchmark
# alone: unlike vm.sh it looks at nothing after the command but at the kernel's log.
# Usage: uml.sh MEMORY COMMAND [ARG]...      (MEMORY in MiB)

# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

memory=$1
shift
ko=$TOP/build/uml/qemufile.ko
[ -e "$ko" ] || die "there is no $ko: run scripts/build.sh uml modules"
run=$(mktemp -d "$CACHE/run/XXXXXX.uml")
trap 'rm -rf "$run"' EXIT
cp "$ko" "$run/qemufile.ko"
cp "$TOP/scripts/bench/uml-init.sh" "$run/init"
printf 'cd %q || exit 127\nexec %s\n' "$TOP" "${*@Q}" >"$run/command"
: >"$run/stdout"
: >"$run/stderr"

# con0 has to be there for the first process's own output; the results go to files.
in_root --mount "$run:/vm" -- timeout -k 10 5000 /kernel/uml/linux "mem=${memory}M" \
	rootfstype=hostfs rootflags=/ ro init=/vm/init panic=-1 loglevel=5 \
	con=null con0=null,fd:1 </dev/null 2>&1 | cat >"$run/console" || true
cat "$run/stdout"
cat "$run/stderr" >&2
if grep -E 'BUG|WARNING:|Oops|Kernel panic|Call Trace' "$run/console" "$run/dmesg" >&2; then
	die "the kernel reported this"
fi
if [ ! -s "$run/status" ]; then
	tail -n 20 "$run/console" >&2
	die "User-Mode Linux ended without the command's status (its last words are above)"
fi
exit "$(cat "$run/status")"
