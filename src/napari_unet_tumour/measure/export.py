"""A report as a table, as CSV and as JSON."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.base.atomic_write import atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_unet_tumour.measure.compare import Change, Comparison
    from napari_unet_tumour.measure.report import Report
    from napari_unet_tumour.measure.types import Brightness, MeasuredLesion, Total

DISCLAIMER = "Research use only: not a medical device."


def as_rows(report: Report, comparison: Comparison | None = None) -> list[dict[str, Any]]:
    """Return flat rows: every lesion, then the totals of every label; all rows have the same keys.

    `kind` is "lesion" or "label"; index positions are `centroid_*`, world positions `position_*`;
    `length_units` also holds for areas and products (mm -> mm²). Unknown values are None. With a comparison, the rows
    of labels also have the change since the earlier mask in per cent, and the category.
    """
    changes = {} if comparison is None else {(one.frame, one.label): one for one in comparison.changes}
    rows = [_lesion_row(one, report) for one in report.lesions]
    rows += [_total_row(one, report) | _change(changes.get((one.frame, one.label))) for one in report.totals]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return [{key: row.get(key) for key in keys} | _origin(report) for row in rows]


def as_json(report: Report, comparison: Comparison | None = None) -> dict[str, Any]:
    """Return the report as plain data for JSON: no NaN, unknown values None."""
    found: dict[str, Any] = {
        "scan": report.scan,
        "mask": report.mask,
        "model": {"name": report.model, "hash": report.model_hash},
        "version": report.version,
        "units": {"length": report.units, "area": _area(report.units), "volume": report.volume_units},
        "axes": report.axes,
        "slice_axis": report.slice_axis,
        "spacing": report.spacing,
        "lesions": [asdict(one) for one in report.lesions],
        "labels": [asdict(one) for one in report.totals],
        "notes": report.notes,
        "disclaimer": DISCLAIMER,
    }
    return found if comparison is None else found | {"comparison": asdict(comparison)}


def as_text(report: Report, comparison: Comparison | None = None) -> str:
    """Return the JSON text of `as_json`."""
    return json.dumps(as_json(report, comparison), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_csv(path: Path, report: Report, comparison: Comparison | None = None) -> None:
    """Write `as_rows` whole or not at all; raises OutputError."""
    write_rows(path, as_rows(report, comparison), ["kind", *_origin(report)])


def write_rows(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV, whole or not at all; `columns` is the head where there is no row. Raises OutputError."""
    with atomic(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else columns)
        writer.writeheader()
        writer.writerows({key: short(value) for key, value in row.items()} for row in rows)


def write_json(path: Path, report: Report, comparison: Comparison | None = None) -> None:
    """Write `as_json` whole or not at all; raises OutputError."""
    with atomic(path) as part:
        part.write_text(as_text(report, comparison), encoding="utf-8")


def _area(units: str) -> str:
    return "mm2" if units == "mm" else units


def short(value: Any) -> Any:
    """Return a value as a table's cell holds it: four places, "" where it is not known."""
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    return "" if value is None else value


def _lesion_row(one: MeasuredLesion, report: Report) -> dict[str, Any]:
    index = [c for c, letter in zip(one.centroid, report.axes, strict=True) if letter in "zyx"]
    letters = [letter for letter in report.axes if letter in "zyx"]
    return {
        "kind": "lesion",
        "number": one.number,
        "frame": frame_text(one.frame),
        "label": one.label,
        "name": one.name,
        "lesions": 1,
        "voxels": one.voxels,
        "volume": one.volume,
        "volume_units": report.volume_units,
        "slices": one.slices,
        "area": one.area,
        "area_slice": one.area_slice,
        "longest": one.longest,
        "perpendicular": one.perpendicular,
        "product": one.product,
        "length_units": report.units,
        "diameter_slice": one.diameter_slice,
        "measurable": None if one.measurable is None else "yes" if one.measurable else "no",
        **_brightness(one.brightness),
        **{f"centroid_{letter}": c for letter, c in zip(letters, index, strict=True)},
        **{f"position_{letter}": p for letter, p in zip("zyx"[-len(index) :], one.position, strict=True)},
    }


def _total_row(one: Total, report: Report) -> dict[str, Any]:
    return {
        "kind": "label",
        "frame": frame_text(one.frame),
        "label": one.label,
        "name": one.name,
        "lesions": one.lesions,
        "voxels": one.voxels,
        "volume": one.volume,
        "volume_units": report.volume_units,
        "product": one.product_sum,
        "length_units": report.units,
        **_brightness(one.brightness),
    }


def _change(one: Change | None) -> dict[str, Any]:
    if one is None:
        return {}
    return {
        "volume_before": one.volume_before,
        "volume_change": one.volume_change,
        "product_before": one.product_before,
        "product_change": one.product_change,
        "category": one.category,
    }


def _brightness(one: Brightness) -> dict[str, Any]:
    return {"mean": one.mean, "p5": one.p5, "p50": one.p50, "p95": one.p95}


def frame_text(frame: tuple[int, ...]) -> str | None:
    """Return the index of a frame as a table's cell holds it; None where there is but one."""
    return " ".join(str(i) for i in frame) or None


def _origin(report: Report) -> dict[str, str]:
    return {
        "scan": report.scan,
        "mask": report.mask,
        "model": report.model,
        "model_hash": report.model_hash,
        "version": report.version,
    }
