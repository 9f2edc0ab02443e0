"""Write tumour-free slices as PNG files, for `train --negatives`.

    python training/negatives.py btp BTP_DIR PATIENT... --out DIR
    python training/negatives.py volumes VOLUME... [--step 3] --out DIR
    python training/negatives.py pictures FOLDER LIST.csv [--sets 2d] --out DIR

"btp" writes the slices without a mask; "volumes" writes slices of scans without a tumour, along every axis with about
square pixels; "pictures" writes those that are marked as kept in the list (columns file, kept, set).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Largest ratio of the sides of a pixel.
SQUARE = 1.5


def main() -> None:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.kind == "btp":
        pairs = [(patient, date) for patient in given.patients for date in ("Pre", "Post")]
        count = sum(from_btp(given.folder / patient, date, given.out) for patient, date in pairs)
    elif given.kind == "volumes":
        count = sum(from_volume(path, given.step, given.out) for path in given.volumes)
    else:
        count = from_pictures(given.folder, given.list, given.sets.split(","), given.out)
    print(f"{count} slices in {given.out}")


def arguments() -> argparse.Namespace:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = ask.add_subparsers(dest="kind", required=True)
    btp = kinds.add_parser("btp")
    btp.add_argument("folder", type=Path)
    btp.add_argument("patients", nargs="+")
    volumes = kinds.add_parser("volumes")
    volumes.add_argument("volumes", type=Path, nargs="+")
    volumes.add_argument("--step", type=int, default=3, help="every so many slices (3)")
    pictures = kinds.add_parser("pictures")
    pictures.add_argument("folder", type=Path)
    pictures.add_argument("list", type=Path)
    pictures.add_argument("--sets", default="2d", help="which sets of the list, with commas between them (2d)")
    for one in (btp, volumes, pictures):
        one.add_argument("--out", type=Path, required=True)
    return ask.parse_args()


def from_btp(patient: Path, date: str, out: Path) -> int:
    scan = read(patient / f"{date}_Scan_T1.nii.gz")
    mask = np.asarray(nibabel.load(patient / f"{date}_Mask.nii.gz").dataobj) > 0
    free = [z for z in range(scan.shape[2]) if np.ptp(scan[..., z]) > 0 and not mask[..., z].any()]
    for z in free:
        write(np.rot90(scan[..., z]), out / f"btp{patient.name}_{date}_{z:02}.png")
    return len(free)


def from_volume(path: Path, step: int, out: Path) -> int:
    image = nibabel.as_closest_canonical(nibabel.load(path))
    scan, zooms = np.asarray(image.dataobj, np.float32), image.header.get_zooms()
    name, count = path.name.split(".")[0], 0
    for axis in range(3):
        sides = [zoom for other, zoom in enumerate(zooms) if other != axis]
        if max(sides) > SQUARE * min(sides):
            continue
        for n in range(step // 2, scan.shape[axis], step):
            plane = np.rot90(scan.take(n, axis))
            if np.ptp(plane) > 0.1 * np.ptp(scan):
                write(plane, out / f"{name}_{'sca'[axis]}{n:03}.png")
                count += 1
    return count


def from_pictures(folder: Path, table: Path, sets: list[str], out: Path) -> int:
    with table.open() as file:
        kept = [row["file"] for row in csv.DictReader(file) if row["kept"] == "yes" and row["set"] in sets]
    for name in kept:
        Image.open(folder / name).convert("L").save(out / f"{Path(name).stem}.png")
    return len(kept)


def read(path: Path) -> NDArray[Any]:
    return np.asarray(nibabel.load(path).dataobj, np.float32)


def write(plane: NDArray[Any], path: Path) -> None:
    grey = (plane - plane.min()) / np.ptp(plane) * 255
    Image.fromarray(grey.astype(np.uint8)).save(path)


if __name__ == "__main__":
    main()
