#!/usr/bin/env bash
# Make .venv with the package in it, and install the system libraries that a real window needs.
# Usage: . scripts/setup.sh EXTRA     leaves the environment active in the calling script.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extra=${1:?which extra to install}

scripts/packages.sh

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2
  exit 1
}
# A stamp of everything that decides what is installed: the second run starts at once.
stamp=$(cat pyproject.toml constraints.txt scripts/setup.sh | cksum | tr -d ' ')
if [ "$(cat ".venv/stamp-$extra" 2>/dev/null)" != "$stamp" ]; then
  "$python" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check torch -c constraints.txt
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extra]" -c constraints.txt
  echo "$stamp" >".venv/stamp-$extra"
fi
export PATH="$PWD/.venv/bin:$PATH" VIRTUAL_ENV="$PWD/.venv"
