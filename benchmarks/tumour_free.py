"""Measure how often a model marks something where there is no tumour.

    python benchmarks/tumour_free.py [--model M] [--data DIR] [--axes z,y,x] [--thin N] [--work FILE] [--json OUT]

The data are the tumour-free slices of btp patients 03 and 04, tumour-free volumes (along each axis) and the pictures
that are marked as kept in tumour_free_pictures.csv. Slices of one head are similar, so the 95 % intervals are a
bootstrap over heads: two scans of a person are one head, and so are all pictures cut from 3D scans, since nobody knows
how many heads these are of. --thin N takes every N-th picture, and every fourth block of N slices from the volumes, so
that rules about neighbouring slices still apply. With --work the rows of each finished scan are kept in that file, and
the same command goes on after the last one; delete it after a change of the code.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour import load_model, scans, segment
from napari_unet_tumour.api.segment import layout_for
from napari_unet_tumour.base.json_lines import append_lines, read_lines
from napari_unet_tumour.engine.metrics.summary import score_scan, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_unet_tumour.scans.scan import Scan

DATA = Path(__file__).parents[2] / "shared/data"
LIST = Path(__file__).with_name("tumour_free_pictures.csv")
Read = tuple["Scan", "int | None", "np.ndarray | None"]
Item = tuple[str, str, str, "Callable[[], Read]"]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--model", default="default")
    ask.add_argument("--data", type=Path, default=DATA)
    ask.add_argument("--axes", default="z,y,x")
    ask.add_argument("--thin", type=int, default=1)
    ask.add_argument("--work", type=Path, metavar="FILE", help="keep the rows of finished scans here, and go on")
    ask.add_argument("--json", metavar="OUT")
    given = ask.parse_args()
    model = load_model(given.model)
    rows: dict[str, list[dict[str, Any]]] = {}
    done = finished(given.work, model.hash, given.thin)
    for kind, head, key, read in items(given):
        if key not in done:
            done[key] = score_item(head, *read(), model)
            if given.work:
                line = {"key": key, "model": model.hash, "thin": given.thin, "rows": done[key]}
                append_lines(given.work, [line])
        rows.setdefault(kind, []).extend(done[key])
    report = {kind: summarise(part) for kind, part in rows.items()}
    print(f"model {model.spec.name} ({model.hash})")
    print(f"{'':36} {'slices':>6} {'heads':>5} {'false':>6} {'95 %':>16}  scans: with a mask, on more than two, of")
    for kind, one in report.items():
        print(line_of(kind, one, len({row["group"] for row in rows[kind]})))
    if given.json:
        Path(given.json).write_text(json.dumps(report, indent=1))


def finished(work: Path | None, model: str, thin: int) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of the scans that an earlier run has finished with this model, by their key."""
    lines = read_lines(work, ("key", "model", "thin", "rows")) if work else []
    return {line["key"]: line["rows"] for line in lines if (line["model"], line["thin"]) == (model, thin)}


def score_item(head: str, scan: Scan, axis: int | None, truth: np.ndarray | None, model: Any) -> list[dict[str, Any]]:
    """Segment a scan and return the rows of its tumour-free slices."""
    layout, found = layout_for(scan, axis), segment(scan, model, axis=axis)
    real = np.zeros(layout.mask_shape, np.uint8) if truth is None else truth
    scored = score_scan(found.mask, real, layout, f"{scan.name} {axis}", head, scan.array)
    return [row for row in scored if not row["truth_pixels"]]


def line_of(kind: str, one: dict[str, Any], heads: int) -> str:
    interval = f"[{one['false_mask_low']:.3f}, {one['false_mask_high']:.3f}]"
    scans_ = f"{one['empty_scans_with_mask']}, {one['empty_scans_with_more_than_two']}, {one['empty_scans']}"
    return f"{kind:36} {one['empty_slices']:>6} {heads:>5} {one['false_mask_rate']:>6.3f} {interval:>16}  {scans_}"


def items(given: argparse.Namespace) -> Iterator[Item]:
    """Yield kind, head, key, and a function that reads the scan, its axis and its mask."""
    for patient in ("03", "04"):
        for date in ("Pre", "Post"):
            folder = given.data / "btp" / patient
            yield "contrast: btp 03, 04", patient, f"btp {patient} {date}", partial(read_btp, folder, date)
    for path in sorted((given.data / "tumour_free").glob("t1*/*.nii.gz")):
        kind = "contrast: volumes" if path.parent.name == "t1ce" else "no contrast: volumes"
        head = re.sub(r"(?<=\d)[ab]$", "", path.name.split(".")[0])
        for axis in given.axes.split(","):
            yield kind, head, f"{path.name} {axis}", partial(read_volume, path, axis, given.thin)
    with LIST.open() as file:
        kept = [row for row in csv.DictReader(file) if row["kept"] == "yes"]
    for row in kept[:: given.thin]:
        path = given.data / "tumour_free/pictures" / row["file"]
        kind = "contrast: pictures" if "with contrast" in row["reason"] else "no contrast: pictures"
        head = "pictures of 3D scans" if row["set"] == "3d" else path.name
        yield kind, head, path.name, partial(read_picture, path)


def read_btp(folder: Path, date: str) -> Read:
    truth = np.asarray(scans.read_mask(folder / f"{date}_Mask.nii.gz").array > 0)
    return scans.read(folder / f"{date}_Scan_T1.nii.gz"), None, truth.astype(np.uint8)


def read_volume(path: Path, name: str, thin: int) -> Read:
    scan = scans.read(path)
    axis = scan.spatial["zyx".index(name)]
    return thinned(scan, axis, thin), axis, None


def read_picture(path: Path) -> Read:
    return scans.read(path), None, None


def thinned(scan: Scan, axis: int, step: int) -> Scan:
    if step == 1:
        return scan
    length = scan.array.shape[axis]
    kept = [n for n in range(length) if n // step % 4 == 0]
    return replace(scan, array=np.asarray(scan.array).take(kept, axis))


if __name__ == "__main__":
    main()
