#!/usr/bin/env bash
# Install what is missing, then open a scan in napari and segment it with the shipped model.
# Usage: scripts/demo.sh [SCAN] [--headless]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
caller=$PWD
. "$here/setup.sh" all
cd "$caller"
exec napari-unet-tumour demo "$@"
