#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Formats rust/ with the kernel's settings and the root's rustfmt.
# Usage: rustfmt.sh [--check]

# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

"$TOP/scripts/setup.sh"
as_root "$@"
mapfile -t files < <(find "$TOP/rust" -name '*.rs' ! -name '*generated*' ! -path '*/target/*' | sort)
[ ${#files[@]} -gt 0 ] || die "no Rust source in $TOP/rust"
[ -t 1 ] && color=auto || color=never
in_root --user -- rustfmt --color "$color" --edition 2021 --config-path /kernel/source/.rustfmt.toml \
	"$@" "${files[@]}"
