"""Write the tumour-free slices of btp patients as PNG files, for `train --negatives`.

python training/negatives.py BTP_DIR PATIENT... --out DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("btp", type=Path)
    ask.add_argument("patients", nargs="+")
    ask.add_argument("--out", type=Path, required=True)
    given = ask.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    count = sum(write(given.btp / patient, date, given.out) for patient in given.patients for date in ("Pre", "Post"))
    print(f"{count} slices in {given.out}")


def write(patient: Path, date: str, out: Path) -> int:
    scan = np.asarray(nibabel.load(patient / f"{date}_Scan_T1.nii.gz").dataobj, np.float32)
    mask = np.asarray(nibabel.load(patient / f"{date}_Mask.nii.gz").dataobj) > 0
    free = [z for z in range(scan.shape[2]) if np.ptp(scan[..., z]) > 0 and not mask[..., z].any()]
    for z in free:
        plane = np.rot90(scan[..., z])
        grey = (plane - plane.min()) / np.ptp(plane) * 255
        Image.fromarray(grey.astype(np.uint8)).save(out / f"btp{patient.name}_{date}_{z:02}.png")
    return len(free)


if __name__ == "__main__":
    main()
