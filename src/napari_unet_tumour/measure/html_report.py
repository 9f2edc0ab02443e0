"""A lesion report as one HTML file: pictures, tables, what changed, and what made the mask."""

from __future__ import annotations

import base64
from datetime import date
from html import escape
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.base.atomic_write import atomic
from napari_unet_tumour.measure.export import DISCLAIMER
from napari_unet_tumour.measure.key_image import key_image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.measure.compare import Comparison
    from napari_unet_tumour.measure.report import Report
    from napari_unet_tumour.measure.types import MeasuredLesion
    from napari_unet_tumour.scans.scan import Scan

# Of more lesions the largest ones have a picture.
MOST_PICTURES = 12
COLOURS = "Red: outline. Yellow: longest diameter. Green: perpendicular."
# Qt prints the page into a PDF: it knows tables and attributes, but little of CSS.
STYLE = (
    "body{font:15px sans-serif;margin:2em;max-width:60em;color:#111}table{border-collapse:collapse;margin:1em 0}"
    "td,th{border:1px solid #bbb;padding:3px 8px}.pictures td{border:0}.warning{color:#b00;font-weight:bold}"
)
BESIDE, WIDE = 2, 320


def html_report(
    report: Report, mask: Scan, image: NDArray[Any] | None = None, comparison: Comparison | None = None
) -> str:
    """Return a report as a page that needs no other file.

    Parameters
    ----------
    report : Report
        The figures.
    mask : Scan
        Label values in the grid that was measured.
    image : numpy.ndarray, optional
        Grey values of the mask's shape.
    comparison : Comparison, optional
        What changed since an earlier mask.
    """
    largest = sorted(report.lesions, key=lambda one: -one.volume)[:MOST_PICTURES]
    shown = sorted(largest, key=lambda one: one.number)
    notes = [*report.notes, *(comparison.notes if comparison else ()), *([comparison.caveat] if comparison else [])]
    parts = [
        f"<h1>Lesion report: {escape(report.scan or report.mask)}</h1>",
        f'<p class="warning">{DISCLAIMER}</p>',
        _table((), _about(report)),
        "<h2>Lesions</h2>" if report.lesions else "<p>No lesion in the mask.</p>",
        _pictures(report, shown, mask, image) if shown else "",
        _lesions(report) if report.lesions else "",
        "<h2>Labels</h2>" + _labels(report) if report.totals else "",
        _changes(report, comparison) if comparison else "",
        "".join(f"<p>{escape(note)}</p>" for note in notes),
    ]
    title = escape(f"Lesion report {report.scan}")
    head = f'<head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head>'
    return f'<!DOCTYPE html><html lang="en">{head}<body>{"".join(parts)}</body></html>\n'


def write_html(
    path: Path, report: Report, mask: Scan, image: NDArray[Any] | None = None, comparison: Comparison | None = None
) -> None:
    """Write `html_report` whole or not at all; raises OutputError and leaves an old file as it was."""
    text = html_report(report, mask, image, comparison)
    with atomic(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _about(report: Report) -> list[tuple[str, ...]]:
    model = f"{report.model} ({report.model_hash})" if report.model else "not recorded"
    return [
        ("Scan", report.scan or "-"), ("Mask", report.mask or "-"), ("Model", model),
        ("Program", f"napari-unet-tumour {report.version}"), ("Written", date.today().isoformat()),
    ]  # fmt: skip


def _pictures(report: Report, lesions: Sequence[MeasuredLesion], mask: Scan, image: Any) -> str:
    """Return a table of pictures with a line below each, two in a row."""
    cells = [f'<td valign="top">{_picture(report, one, mask, image)}</td>' for one in lesions]
    rows = ["".join(cells[n : n + BESIDE]) for n in range(0, len(cells), BESIDE)]
    return f'<table class="pictures">{"".join(f"<tr>{row}</tr>" for row in rows)}</table><p>{COLOURS}</p>'


def _picture(report: Report, lesion: MeasuredLesion, mask: Scan, image: Any) -> str:
    data = base64.b64encode(key_image(report, lesion, mask, image)).decode()
    size = f"{_number(lesion.longest)} x {_number(lesion.perpendicular)} {report.units}"
    text = escape(f"Lesion {lesion.number} ({lesion.name}), slice {lesion.diameter_slice + 1}: {size}")
    return f'<img width="{WIDE}" alt="Lesion {lesion.number}" src="data:image/png;base64,{data}"><br>{text}'


def _lesions(report: Report) -> str:
    units, volume = report.units, report.volume_units
    head = ("Lesion", "Label", f"Volume ({volume})", f"Longest ({units})", "Perpendicular", "Product", "Slices", "Mean")
    rows = [
        (str(o.number), o.name + _at(o.frame), *map(_number, (o.volume, o.longest, o.perpendicular, o.product)),
         str(o.slices), _number(o.brightness.mean))
        for o in report.lesions
    ]  # fmt: skip
    return _table(head, rows)


def _labels(report: Report) -> str:
    rows = [(t.name + _at(t.frame), str(t.lesions), _number(t.volume), _number(t.product_sum)) for t in report.totals]
    return _table(("Label", "Lesions", f"Volume ({report.volume_units})", "Sum of products"), rows)


def _changes(report: Report, comparison: Comparison) -> str:
    head = ("Label", "Volume before", "Volume now", "Change", "Products before", "Products now", "Change", "Category")
    rows = [
        (c.name + _at(c.frame), _number(c.volume_before), _number(c.volume_now), _percent(c.volume_change),
         _number(c.product_before), _number(c.product_now), _percent(c.product_change), c.category)
        for c in comparison.changes
    ]  # fmt: skip
    return f"<h2>Change since {escape(comparison.earlier_mask or 'the earlier mask')}</h2>" + _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; all columns but the first to the right."""
    top = "".join(_cell("th", n, cell) for n, cell in enumerate(head))
    body = "".join(f"<tr>{''.join(_cell('td', n, cell) for n, cell in enumerate(row))}</tr>" for row in rows)
    return f"<table>{f'<tr>{top}</tr>' if head else ''}{body}</table>"


def _cell(kind: str, column: int, text: str) -> str:
    return f'<{kind} align="{"right" if column else "left"}">{escape(text)}</{kind}>'


def _at(frame: tuple[int, ...]) -> str:
    return f" at {' '.join(str(at + 1) for at in frame)}" if frame else ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "new" if value is None else f"{value:+.0f} %"
