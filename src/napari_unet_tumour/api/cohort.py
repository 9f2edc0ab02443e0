"""A cohort: many scans into one folder; what is finished is not done again, and a table says how all of them went.

Beside the results lies a record, one line of JSON a finished scan: what the scan and its mask were, and what made the
mask. A scan counts as finished while all of that is still so.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.atomic_write import atomic
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

TABLE_COLUMNS = ".napari-unet-tumour.jsonl"
SUMMARY = "summary.csv"
NOT_DONE = "not done"
# These change where and how quickly the network runs, not what it finds.
PLACE = ("device", "memory")
# Of larger files only size and time are kept: hashing them would take longer than segmenting others.
HASHED = 1 << 30


class ResultTable:
    """What is finished in a folder of results.

    Parameters
    ----------
    folder : pathlib.Path
        Of the results.
    made_with : dict
        Everything but the scan that decides what its result is, as `made_with` gives it.
    """

    def __init__(self, folder: Path, made_with: dict[str, Any]) -> None:
        self._path = folder / TABLE_COLUMNS
        self._made = hashlib.blake2b(json.dumps(made_with, sort_keys=True).encode(), digest_size=8).hexdigest()
        self._lines = {line["scan"]: line for line in read_record(folder)}

    def row_of(self, scan: Path, mask: Path, results: Sequence[Path] = ()) -> Row | None:
        """Return the summary's row of a scan that is finished, or None; `results` are all its files."""
        line = self._lines.get(os.path.realpath(scan))
        if line is None or line["made"] != self._made or line["mask"] != [mask.name, *_stamp(mask)[:1]]:
            return None
        now = _stamp(scan, results)
        same = now == line["stamp"] or (
            now[0] == line["stamp"][0] <= HASHED and content_of(scan, results) == line["content"]
        )
        return line["row"] if same else None

    def add(self, scan: Path, mask: Path, row: Row, before: tuple[list[int], str]) -> None:
        """Note that a scan is finished; `before` comes from `summarise_planes` when it was read. Raises OutputError."""
        line = {
            "scan": os.path.realpath(scan), "made": self._made, "stamp": before[0], "content": before[1],
            "mask": [mask.name, *_stamp(mask)[:1]], "row": row,
        }  # fmt: skip
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written ({error.strerror}): free some space") from error


def summarise_planes(scan: Path, without: Sequence[Path] = ()) -> tuple[list[int], str]:
    """Return what tells a scan from a changed one: size and time of its files, and a hash of their content.

    Parameters
    ----------
    scan : pathlib.Path
        A file or folder.
    without : sequence of pathlib.Path
        Results that may lie in the scan's folder and are no part of it.
    """
    stamp = _stamp(scan, without)
    return stamp, content_of(scan, without) if stamp[0] <= HASHED else ""


def made_with(entry: ModelEntry, settings: SegmentSettings, **more: Any) -> dict[str, Any]:
    """Return what decides a result beside the scan: model, settings, version, and `more`."""
    chosen = {name: value for name, value in asdict(settings).items() if name not in PLACE}
    return {"model": entry.hash, "settings": chosen, "version": __version__, **more}


def row_of(scan: Path, mask_path: Path, mask: NDArray[Any], of: Scan, labels: Sequence[str]) -> Row:
    """Return the summary's row of a finished scan; `mask` is in memory, of the scan's grid."""
    from napari_unet_tumour.measure import measure  # takes a second, and one scan alone has no summary

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
    """Return the row's columns about how a scan matches what the model was trained on."""
    return {"unlike": round(match.unlike, 3) if match.slices else "", "note": match.message}


def large_row(scan: Path, mask_path: Path, pixels: int, of: Scan) -> Row:
    """Return the row of a scan whose mask is on disk: its volume, without lesions."""
    size = abs(float(np.linalg.det(of.world[:-1, :-1])))
    cubic = of.units == "mm" and len(of.spatial) == 3
    row = {"scan": os.path.abspath(scan), "status": "done", "reason": "", "mask": str(mask_path)}
    return row | {
        "volume": round(pixels * size / 1000, 4) if cubic else pixels,
        "volume_unit": "ml" if cubic else "pixels",
    }


def undone_row(scan: Path) -> Row:
    """Return the row of a scan that a run did not come to."""
    return {"scan": os.path.abspath(scan), "status": NOT_DONE, "reason": "the run ended before it"}


def failed_row(scan: Path, reason: str) -> Row:
    """Return the summary's row of a scan that failed."""
    return {"scan": os.path.abspath(scan), "status": "failed", "reason": reason}


def read_summary(path: Path) -> list[Row]:
    """Return the rows of a table that earlier runs wrote, none where there is no table.

    Raises
    ------
    OutputError
        The file is not such a table, so it must not be written over.
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
    """Write the table, whole or not at all; rows of other scans that are in it stay. Raises OutputError."""
    merged = {os.path.realpath(row["scan"]): row for row in read_summary(path)}
    for row in rows:
        where = os.path.realpath(row["scan"])
        # What an earlier run made of a scan is still so where this one did not come to it.
        if row["status"] != NOT_DONE or where not in merged:
            merged[where] = row
    rows = list(merged.values())
    names = list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
    text = io.StringIO()
    table = csv.DictWriter(text, names, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with atomic(path) as beside:
        beside.write_text(text.getvalue(), encoding="utf-8")


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
    """Return bytes and time of last change, of a folder those of its files; [-1, 0] for what is not there."""
    try:
        stats = [one.stat() for one in _files(path, without)]
    except OSError:
        return [-1, 0]
    return [sum(one.st_size for one in stats), max((one.st_mtime_ns for one in stats), default=0)]


def _files(path: Path, without: Sequence[Path] = ()) -> list[Path]:
    if not path.is_dir():
        return [path]
    ours = {path / TABLE_COLUMNS, path / SUMMARY, *without}
    ours |= {one.resolve() for one in ours}
    return sorted(one for one in path.rglob("*") if one.is_file() and one not in ours)


def read_record(folder: Path) -> list[dict[str, Any]]:
    """Return a record's lines that are whole, none where there is no record; a cut-off run's last one may not be."""
    found = []
    try:
        for text in (folder / TABLE_COLUMNS).read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and {"scan", "made", "stamp", "content", "mask", "row"} <= line.keys():
                found.append(line)
    except OSError:
        return []
    return found
