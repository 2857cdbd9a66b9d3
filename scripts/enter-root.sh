#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The inner half of in_root (lib.sh): runs as the first process of fresh mount
# and process namespaces, mounts what the trixie root needs, and becomes the
# command's parent. Usage: enter-root.sh ROOT CWD UID:GID SOURCE:PATH... -- COMMAND...
set -euo pipefail

root=$1 cwd=$2 ids=$3
shift 3

mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
# What belongs to the machine's network: names, and whom it trusts.
for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
	[ -s "$file" ] || continue
	[ -e "$root$file" ] || : >"$root$file"
	mount --bind "$(readlink -f "$file")" "$root$file"
done
while [ "$1" != -- ]; do
	mkdir -p "$root${1#*:}"
	mount --rbind "${1%%:*}" "$root${1#*:}"
	shift
done
shift

clean=(env -i "HOME=/tmp" "TERM=${TERM:-dumb}" LC_ALL=C.UTF-8
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
# Proxy settings belong to the machine's network and are needed inside as well.
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
	[ -z "${!name:-}" ] || clean+=("$name=${!name}")
done
# No exec: the first process of a namespace ignores the signals that it does
# not handle, so COMMAND would outlive ^C; this shell lets it have them.
status=0
# shellcheck disable=SC2016
chroot --userspec="$ids" --groups="" "$root" \
	"${clean[@]}" sh -c 'cd "$0" 2>/dev/null || cd /; exec "$@"' "$cwd" "$@" || status=$?
exit "$status"
