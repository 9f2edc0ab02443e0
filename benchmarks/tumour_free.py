"""Measure how often a model marks something where there is no tumour.

    python benchmarks/tumour_free.py [--model M] [--data DIR] [--axes z,y,x] [--thin N] [--json OUT]

The data are the tumour-free slices of btp patients 03 and 04, tumour-free volumes (along each axis) and the pictures
that are marked as kept in tumour_free_pictures.csv. Slices of one head are similar, so the 95 % intervals are a
bootstrap over heads. --thin N takes every N-th picture, and every fourth block of N slices from the volumes, so that
rules about neighbouring slices still apply.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour import load_model, scans, segment
from napari_unet_tumour.api.segment import layout_for
from napari_unet_tumour.engine.metrics.summary import score_scan, summarise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_unet_tumour.scans.scan import Scan

DATA = Path(__file__).parents[2] / "shared/data"
LIST = Path(__file__).with_name("tumour_free_pictures.csv")
Item = tuple[str, str, "Scan", "int | None", "np.ndarray | None"]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--model", default="default")
    ask.add_argument("--data", type=Path, default=DATA)
    ask.add_argument("--axes", default="z,y,x")
    ask.add_argument("--thin", type=int, default=1)
    ask.add_argument("--json", metavar="OUT")
    given = ask.parse_args()
    model = load_model(given.model)
    rows: dict[str, list[dict[str, Any]]] = {}
    for kind, group, scan, axis, truth in items(given):
        layout, found = layout_for(scan, axis), segment(scan, model, axis=axis)
        real = np.zeros(layout.mask_shape, np.uint8) if truth is None else truth
        scored = score_scan(found.mask, real, layout, f"{scan.name} {axis}", group, scan.array)
        rows.setdefault(kind, []).extend(row for row in scored if not row["truth_pixels"])
    report = {kind: summarise(part) for kind, part in rows.items()}
    print(f"model {model.spec.name} ({model.hash})")
    print(f"{'':36} {'slices':>6} {'heads':>5} {'false':>6} {'95 %':>16}  scans: with a mask, on more than two, of")
    for kind, one in report.items():
        print(line(kind, one, len({row["group"] for row in rows[kind]})))
    if given.json:
        Path(given.json).write_text(json.dumps(report, indent=1))


def line(kind: str, one: dict[str, Any], heads: int) -> str:
    interval = f"[{one['false_mask_low']:.3f}, {one['false_mask_high']:.3f}]"
    scans_ = f"{one['empty_scans_with_mask']}, {one['empty_scans_with_more_than_two']}, {one['empty_scans']}"
    return f"{kind:36} {one['empty_slices']:>6} {heads:>5} {one['false_mask_rate']:>6.3f} {interval:>16}  {scans_}"


def items(given: argparse.Namespace) -> Iterator[Item]:
    """Yield kind, head, scan, axis and mask; a picture of an unknown head counts as a separate head."""
    for patient in ("03", "04"):
        for date in ("Pre", "Post"):
            folder = given.data / "btp" / patient
            truth = np.asarray(scans.read_mask(folder / f"{date}_Mask.nii.gz").array > 0)
            scan = scans.read(folder / f"{date}_Scan_T1.nii.gz")
            yield "contrast: btp 03, 04", patient, scan, None, truth.astype(np.uint8)
    for path in sorted((given.data / "tumour_free").glob("t1*/*.nii.gz")):
        kind = "contrast: volumes" if path.parent.name == "t1ce" else "no contrast: volumes"
        scan = scans.read(path)
        for axis in (scan.spatial["zyx".index(name)] for name in given.axes.split(",")):
            yield kind, path.name, thinned(scan, axis, given.thin), axis, None
    with LIST.open() as file:
        kept = [row for row in csv.DictReader(file) if row["kept"] == "yes"]
    for row in kept[:: given.thin]:
        scan = scans.read(given.data / "tumour_free/pictures" / row["file"])
        kind = "contrast: pictures" if "with contrast" in row["reason"] else "no contrast: pictures"
        yield kind, row["file"], scan, None, None


def thinned(scan: Scan, axis: int, step: int) -> Scan:
    if step == 1:
        return scan
    length = scan.array.shape[axis]
    kept = [n for n in range(length) if n // step % 4 == 0]
    return replace(scan, array=np.asarray(scan.array).take(kept, axis))


if __name__ == "__main__":
    main()
