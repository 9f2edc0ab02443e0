"""The table of lesions: sortable by number, one row a lesion, one column a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt

from napari_unet_tumour.widgets.common.table import Column, FigureTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_unet_tumour.measure import MeasuredLesion, Report


class LesionTable(FigureTable):
    """Shows a report and calls `on_lesion` with the lesion of the row that a person chooses."""

    def __init__(self, on_lesion: Callable[[MeasuredLesion], None]) -> None:
        super().__init__(on_lesion, "One row per lesion. Click a row, or use the arrow keys: see its diameters.")

    def fill(self, report: Report) -> None:
        """Show the lesions of a report in its order."""
        self.show_items(columns_of(report), report.lesions)

    def sort_at_first(self) -> None:
        """Sort by number."""
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)


def columns_of(report: Report) -> list[Column]:
    """Return head, tooltip and figure of every column; what no lesion has gets none."""
    length = "px" if report.units == "pixels" else report.units
    area = "px" if length == "px" else f"{length}²"
    volume = "px" if report.volume_units == "pixels" else report.volume_units
    columns: list[Column] = [
        ("   #", "Number in the report", lambda o: o.number),
        (f"Volume\n{volume}", "Volume of the lesion", lambda o: o.volume),
        (f"Longest\n{length}", "Longest diameter within one slice (RECIST)", lambda o: o.longest),
        (
            f"Perpendicular\n{length}",
            "Longest diameter at a right angle to it, in the same slice",
            lambda o: o.perpendicular,
        ),
        (f"Product\n{area}", "Longest times perpendicular (RANO)", lambda o: o.product),
    ]
    if report.units == "mm":
        tip = "Longest diameter of 10 mm or more (RECIST)"
        columns.append(("Measurable\n(>= 10 mm)", tip, lambda o: "yes" if o.measurable else "no"))
    columns += [
        (f"Area\n{area}", "Largest area in one slice", lambda o: o.area),
        ("Slices", "Number of slices on which it is seen", lambda o: o.slices),
        ("Slice", "The slice of the two diameters; the first one is 1", lambda o: _from_one(o.diameter_slice)),
    ]
    if any(one.brightness.mean is not None for one in report.lesions):
        columns += [
            ("Mean", "Mean brightness of the scan in the lesion", lambda o: o.brightness.mean),
            ("5 %", "5th percentile of the brightness", lambda o: o.brightness.p5),
            ("Median", "Median of the brightness", lambda o: o.brightness.p50),
            ("95 %", "95th percentile of the brightness", lambda o: o.brightness.p95),
        ]
    if len(report.totals) > 1:
        columns.insert(1, ("Label", "Name of the label", lambda o: o.name))
    if any(one.frame for one in report.lesions):
        columns.insert(
            1,
            (
                "Time",
                "Place along the time axis; the first one is 1",
                lambda o: " ".join(str(at + 1) for at in o.frame),
            ),
        )
    return columns


def _from_one(index: int | None) -> int | None:
    return None if index is None else index + 1
