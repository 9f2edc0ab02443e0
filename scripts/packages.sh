#!/usr/bin/env bash
# Install the Debian packages that a real napari window needs, also without a screen, and the tests' DICOM checkers; does nothing elsewhere.
set -euo pipefail
debian_packages=(xvfb libegl1 libgl1 libopengl0 libgl1-mesa-dri libxkbcommon-x11-0 libdbus-1-3 libxcb-cursor0
  libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxcb-xinerama0 libxcb-image0 libxcb-render-util0 xauth
  dicom3tools dcmtk # these check the DICOM files that are written
  orthanc orthanc-dicomweb) # a DICOMweb server, 20 MB
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
