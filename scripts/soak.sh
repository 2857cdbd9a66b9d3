#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The races and the storm for as long as one likes, on the debug kernel: half of
# the time each.
# Usage: soak.sh [SECONDS]     (default: 600)

# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

seconds=${1:-600}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || die "usage: soak.sh [SECONDS]"

"$TOP/scripts/setup.sh" stock debug
as_root "$@"
"$TOP/scripts/build.sh" debug modules
give_back "$TOP/build"
for tests in selftests selftests/storm; do
	in_root --user -- make --silent -j"$(nproc)" -C "$TOP/$tests" KSRC=/kernel/source M32= \
		OUT="$TOP/build/$([ "$tests" = selftests ] && echo selftests-native || echo selftests-storm)"
done
# The machine's seconds may be longer than ours, and both parts take a while to end.
# shellcheck disable=SC2016
"$TOP/scripts/vm.sh" --kernel debug --timeout $((2 * seconds + 600)) -- \
	sh -euc '"$1/selftests-storm/storm" "$2"; sh "$0" "$2" "$1/selftests-native"' \
	"$TOP/selftests/soak.sh" "$TOP/build" $(((seconds + 1) / 2))
