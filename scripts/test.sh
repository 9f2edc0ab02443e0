#!/usr/bin/env bash
# Install what is missing, then run every check that a change must pass.
# Usage: scripts/test.sh [PYTEST ARGUMENTS]
set -euo pipefail
. "$(dirname "$0")/setup.sh" dev
scripts/check.sh
# Waiting threads sleep instead of spinning: tests start several processes on few cores.
export OMP_WAIT_POLICY=PASSIVE
# Compiled modules are kept: pytest's own of napari alone take 5 s to make, in each of three processes.
unset PYTHONDONTWRITEBYTECODE
screen=()
[ -n "${DISPLAY:-}" ] || [ "$(uname)" != Linux ] || screen=(xvfb-run -a -s "-screen 0 1600x1000x24")
# Two processes, each with whole files: tests of one file share what they set up.
"${screen[@]}" python -m pytest -n 2 --dist loadfile "$@"
