#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Build the documentation as HTML into build/docs/html, with the Sphinx of the
# trixie root. A warning is an error. Nothing is fetched.
#
# Usage: docs.sh

# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

"$TOP/scripts/setup.sh" stock
as_root "$@"
mkdir -p "$TOP/build/docs"
give_back "$TOP/build/docs"
in_root --user -- env srctree=/kernel/source PYTHONDONTWRITEBYTECODE=1 \
	sphinx-build -W --keep-going --quiet -b html -d "$TOP/build/docs/doctrees" \
	"$TOP/Documentation" "$TOP/build/docs/html"
say "docs: build/docs/html/index.html"
