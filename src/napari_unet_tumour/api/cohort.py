"""A cohort: many scans, results in one folder, a summary table; a second run only segments what is not finished.

Beside the results lies a record with one line of JSON per finished scan: fingerprints of the scan and its mask, and
how the mask was made. A scan counts as finished as long as all of these are unchanged.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.atomic_write import atomic
from napari_unet_tumour.base.json_lines import append_lines, read_lines
from napari_unet_tumour.base.tables import csv_text
from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.scans.scan import Scan
    from napari_unet_tumour.scans.training_match import ScanMatch
    from napari_unet_tumour.settings import SegmentSettings

    Row = dict[str, Any]

RECORD_FILE = ".napari-unet-tumour.jsonl"
SUMMARY = "summary.csv"
NOT_DONE = "not done"
# Settings that do not change the result.
PLACE = ("device", "memory")
# Larger files (in bytes) are not hashed, only their size and time are compared.
HASHED = 1 << 30


class FinishedScans:
    """The record of finished scans in a folder of results.

    Parameters
    ----------
    folder : pathlib.Path
        The folder of results.
    made_with : dict
        Everything but the scan that the result depends on, as returned by `made_with`.
    """

    def __init__(self, folder: Path, made_with: dict[str, Any]) -> None:
        self._path = folder / RECORD_FILE
        self._made = hashlib.blake2b(json.dumps(made_with, sort_keys=True).encode(), digest_size=8).hexdigest()
        self._lines = {line["scan"]: line for line in read_record(folder)}

    def row_of(self, scan: Path, mask: Path, results: Sequence[Path] = ()) -> Row | None:
        """Return the summary row of a finished scan, or None if it is not finished; `results` are all its files."""
        line = self._lines.get(os.path.realpath(scan))
        if line is None or line["made"] != self._made or line["mask"] != [mask.name, *_stamp(mask)[:1]]:
            return None
        now = _stamp(scan, results)
        same = now == line["stamp"] or (
            now[0] == line["stamp"][0] <= HASHED and content_of(scan, results) == line["content"]
        )
        return line["row"] if same else None

    def add(self, scan: Path, mask: Path, row: Row, before: tuple[list[int], str]) -> None:
        """Record a finished scan; `before` is its `fingerprint` before it was read. Raises OutputError."""
        line = {
            "scan": os.path.realpath(scan), "made": self._made, "stamp": before[0], "content": before[1],
            "mask": [mask.name, *_stamp(mask)[:1]], "row": row,
        }  # fmt: skip
        append_lines(self._path, [line])


def fingerprint(scan: Path, without: Sequence[Path] = ()) -> tuple[list[int], str]:
    """Return the fingerprint of a scan: size and time of its files, and a hash of their content.

    Parameters
    ----------
    scan : pathlib.Path
        A file or folder.
    without : sequence of pathlib.Path
        Results that may lie in the scan's folder but are not part of it.
    """
    stamp = _stamp(scan, without)
    return stamp, content_of(scan, without) if stamp[0] <= HASHED else ""


def made_with(entry: ModelEntry, settings: SegmentSettings, **more: Any) -> dict[str, Any]:
    """Return what a result depends on beside the scan: model, settings, version, and `more`."""
    chosen = {name: value for name, value in asdict(settings).items() if name not in PLACE}
    return {"model": entry.hash, "settings": chosen, "version": __version__, **more}


def row_of(scan: Path, mask_path: Path, mask: NDArray[Any], of: Scan, labels: Sequence[str]) -> Row:
    """Return the summary row of a finished scan; `mask` is an array on the scan's grid."""
    from napari_unet_tumour.measure import measure  # takes a second, and a single scan has no summary

    axes = of.axes.replace("c", "")
    report = measure(mask, affine=of.world, units=of.units, axes=axes, labels=labels)
    row: Row = {"scan": os.path.abspath(scan), "status": "done", "reason": "", "mask": str(mask_path)}
    row |= {"lesions": len(report.lesions), "volume": round(sum(t.volume for t in report.totals), 4)}
    row |= {"volume_unit": report.volume_units}
    row |= {"longest": round(max((one.longest for one in report.lesions), default=0.0), 2), "unit": report.units}
    for label, name in enumerate(labels[1:], start=1):
        row[f"volume_{name}"] = round(sum(t.volume for t in report.totals if t.label == label), 4)
    return row


def match_row(match: ScanMatch) -> Row:
    """Return the columns on how similar a scan is to the model's training slices."""
    return {"unlike": round(match.unlike, 3) if match.slices else "", "note": match.message}


def large_row(scan: Path, mask_path: Path, pixels: int, of: Scan) -> Row:
    """Return the summary row of a scan whose mask is on disk: its volume, but no lesions."""
    size = abs(float(np.linalg.det(of.world[:-1, :-1])))
    cubic = of.units == "mm" and len(of.spatial) == 3
    row = {"scan": os.path.abspath(scan), "status": "done", "reason": "", "mask": str(mask_path)}
    return row | {
        "volume": round(pixels * size / 1000, 4) if cubic else pixels,
        "volume_unit": "ml" if cubic else "pixels",
    }


def undone_row(scan: Path) -> Row:
    """Return the summary row of a scan that the run did not reach."""
    return {"scan": os.path.abspath(scan), "status": NOT_DONE, "reason": "the run ended before it"}


def failed_row(scan: Path, reason: str) -> Row:
    """Return the summary row of a scan that failed."""
    return {"scan": os.path.abspath(scan), "status": "failed", "reason": reason}


def read_summary(path: Path) -> list[Row]:
    """Return the rows of an existing summary, none if there is no file.

    Raises
    ------
    OutputError
        The file is not such a summary, so it must not be overwritten.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            rows: list[Row] = [{k: v or "" for k, v in row.items() if k} for row in table]
            ours = {"scan", "status", "reason"} <= set(table.fieldnames or ())
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error):
        ours, rows = False, []
    if not ours:
        raise OutputError(f"{path} is not a summary of segmented scans: rename it, or choose another --out")
    return rows


def write_summary(path: Path, rows: Iterable[Row]) -> None:
    """Write the summary whole or not at all; its rows of other scans stay. Raises OutputError."""
    merged = {os.path.realpath(row["scan"]): row for row in read_summary(path)}
    for row in rows:
        where = os.path.realpath(row["scan"])
        # If this run did not reach a scan, the row of an earlier run still holds.
        if row["status"] != NOT_DONE or where not in merged:
            merged[where] = row
    rows = list(merged.values())
    names = list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
    with atomic(path) as part:
        part.write_text(csv_text(names, rows), encoding="utf-8")


def content_of(scan: Path, without: Sequence[Path] = ()) -> str:
    """Return a hash of a file, or of all files in a folder with their names."""
    found = hashlib.blake2b(digest_size=16)
    for one in _files(scan, without):
        found.update(one.name.encode())
        with one.open("rb") as file:
            while part := file.read(1 << 20):
                found.update(part)
    return found.hexdigest()


def _stamp(path: Path, without: Sequence[Path] = ()) -> list[int]:
    """Return size and last modification time, for a folder those of its files; [-1, 0] if it does not exist."""
    try:
        stats = [one.stat() for one in _files(path, without)]
    except OSError:
        return [-1, 0]
    return [sum(one.st_size for one in stats), max((one.st_mtime_ns for one in stats), default=0)]


def _files(path: Path, without: Sequence[Path] = ()) -> list[Path]:
    if not path.is_dir():
        return [path]
    ours = {path / RECORD_FILE, path / SUMMARY, *without}
    ours |= {one.resolve() for one in ours}
    return sorted(one for one in path.rglob("*") if one.is_file() and one not in ours)


def read_record(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the record in a folder of results."""
    return read_lines(folder / RECORD_FILE, ("scan", "made", "stamp", "content", "mask", "row"))
