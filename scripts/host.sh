#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What is done with rust/host by cargo, in the trixie root.
# Usage: host.sh coverage             see rust/host/coverage.sh
#        host.sh fuzz [SECONDS]       see rust/host/fuzz/fuzz.sh; 0 is for ever

# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

case ${1:-} in
coverage) command=("$TOP/rust/host/coverage.sh") ;;
fuzz) command=("$TOP/rust/host/fuzz/fuzz.sh" -- "-max_total_time=${2:-0}") ;;
*) die "usage: host.sh coverage|fuzz [SECONDS]" ;;
esac

"$TOP/scripts/setup.sh" stock
as_root "$@"
cargo_in_root "${command[@]}"
