"""Time opening a 512 x 512 x 300 DICOM series, relative to reading its pixels with pydicom.

python benchmarks/dicom_speed.py [--slices 300] [--repeats 5] [--json OUT]

Both read the same files one after the other, in turn, so that the machine's mood falls on both alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pydicom

from napari_unet_tumour.scans import read


def write_series(folder: Path, slices: int) -> None:
    example = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm", download=False))
    example.Rows = example.Columns = 512
    plane = np.random.default_rng(0).integers(0, 2000, (512, 512)).astype(np.int16)
    for n in range(slices):
        example.SOPInstanceUID = pydicom.uid.generate_uid()
        example.InstanceNumber = n + 1
        example.ImagePositionPatient = [0, 0, n * 1.0]
        example.PixelData = np.roll(plane, n).tobytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            example.save_as(folder / f"{(n * 37) % slices:04d}.dcm")


def with_pydicom(folder: Path) -> int:
    return sum(pydicom.dcmread(file).pixel_array.shape[0] for file in sorted(folder.iterdir()))


def with_ours(folder: Path) -> int:
    return int(read(folder).array.shape[0])


def seconds(function, folder: Path) -> float:
    start = time.perf_counter()
    function(folder)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_series(folder, args.slices)
        with_ours(folder), with_pydicom(folder)
        pairs = [(seconds(with_ours, folder), seconds(with_pydicom, folder)) for _ in range(args.repeats)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    result = {"slices": args.slices, "ours_s": ours, "pydicom_s": theirs, "ratio": ours / theirs}
    print(f"{args.slices} slices of 512 x 512: ours {ours:.2f} s, pydicom {theirs:.2f} s, ratio {ours / theirs:.2f}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
