#!/usr/bin/env bash
# Make .venv with the package in it, and the system libraries that a real window needs.
# Usage: . scripts/setup.sh EXTRA     leaves the environment active in the calling script.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extra=${1:?which extra to install}

debian_packages=(xvfb libegl1 libgl1 libopengl0 libgl1-mesa-dri libxkbcommon-x11-0 libdbus-1-3 libxcb-cursor0
  libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxcb-xinerama0 libxcb-image0 libxcb-render-util0 xauth)
if command -v dpkg-query >/dev/null; then
  missing=()
  for package in "${debian_packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" -eq 0 ]; then
      apt-get update -qq
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
    else
      echo "Please run first: sudo apt-get install ${missing[*]}" >&2
      exit 1
    fi
  fi
fi

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
