#!/usr/bin/env bash
# The checks that need no tests: style, types, contracts, manifest, docs. scripts/test.sh, CI and pre-commit all run this.
# Usage: scripts/check.sh     in an environment with the extra "dev"
set -euo pipefail
cd "$(dirname "$0")/.."
ruff check .
ruff format --check .
mypy
lint-imports
npe2 validate src/napari_unet_tumour/napari.yaml
python scripts/reference.py --check
NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
