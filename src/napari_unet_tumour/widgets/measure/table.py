"""The table of lesions: sortable by number, one row a lesion, one column a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_unet_tumour.measure import MeasuredLesion, Report

VALUE = Qt.ItemDataRole.UserRole


class Cell(QTableWidgetItem):
    """A figure that sorts by its value; what is not known comes first."""

    def __init__(self, value: float | str | None) -> None:
        super().__init__(shown(value))
        self.setData(VALUE, value)
        side = Qt.AlignmentFlag.AlignLeft if isinstance(value, str) else Qt.AlignmentFlag.AlignRight
        self.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)

    def __lt__(self, other: QTableWidgetItem) -> bool:
        mine, theirs = self.data(VALUE), other.data(VALUE)
        if mine is None or theirs is None:
            return mine is None and theirs is not None
        return bool(mine < theirs)


class LesionTable(QTableWidget):
    """Shows a report and calls `on_lesion` with the lesion of the row that a person chooses."""

    def __init__(self, on_lesion: Callable[[MeasuredLesion], None]) -> None:
        super().__init__()
        self._on_lesion = on_lesion
        self._lesions: dict[int, MeasuredLesion] = {}
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self._heads = QHeaderView(Qt.Orientation.Horizontal, self)
        self._heads.setSectionsClickable(True)
        self.setHorizontalHeader(self._heads)
        self.setVerticalHeader(_hidden(self))
        self.setMinimumSize(120, 130)
        self.setToolTip("One row per lesion. Click a row, or use the arrow keys: see its diameters.")
        self._heads.setMinimumSectionSize(20)
        self.setStyleSheet("QHeaderView::section { padding: 2px 4px; } QTableView::item { padding: 1px 3px; }")
        self.cellClicked.connect(self._clicked)
        self.currentCellChanged.connect(self._moved)

    def fill(self, report: Report) -> None:
        """Show the lesions of a report in its order."""
        columns = columns_of(report)
        self._lesions = {one.number: one for one in report.lesions}
        self.blockSignals(True)
        self.setSortingEnabled(False)
        self.clear()
        self.setColumnCount(len(columns))
        self.setRowCount(len(report.lesions))
        for c, (head, tip, value_of) in enumerate(columns):
            title = QTableWidgetItem(head)
            title.setToolTip(tip)
            self.setHorizontalHeaderItem(c, title)
            cells = [Cell(value_of(lesion)) for lesion in report.lesions]
            for row, cell in enumerate(cells):
                self.setItem(row, c, cell)
            self.setColumnWidth(c, self._width([*head.split("\n"), *(cell.text() for cell in cells)]))
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.resizeRowsToContents()
        self.setCurrentItem(None)
        self.blockSignals(False)

    def text(self) -> str:
        """Return the table as shown, tabs between columns, for a spreadsheet."""
        rows = [self._row(row) for row in range(self.rowCount())]
        return "\n".join("\t".join(row) for row in [self.heads(), *rows])

    def heads(self) -> list[str]:
        """Return the head of every column on one line each."""
        found = [self.horizontalHeaderItem(c) for c in range(self.columnCount())]
        return [one.text().replace("\n", " ") for one in found if one is not None]

    def _row(self, row: int) -> list[str]:
        found = [self.item(row, c) for c in range(self.columnCount())]
        return [one.text() for one in found if one is not None]

    def _width(self, texts: list[str]) -> int:
        return max(self.fontMetrics().horizontalAdvance(text) for text in texts) + 16

    def _clicked(self, row: int, column: int) -> None:
        first = self.item(row, 0)
        if first is not None:
            self._on_lesion(self._lesions[first.data(VALUE)])

    def _moved(self, row: int, column: int, before: int, _: int) -> None:
        # A click is reported by `cellClicked`, on a row that is chosen already too; this is for the arrow keys.
        if row != before and row >= 0 and self.hasFocus():
            self._clicked(row, 0)


def _hidden(table: QTableWidget) -> QHeaderView:
    header = QHeaderView(Qt.Orientation.Vertical, table)
    header.hide()
    return header


def columns_of(report: Report) -> list[tuple[str, str, Callable[[MeasuredLesion], float | str | None]]]:
    """Return head, tooltip and figure of every column; what no lesion has gets none."""
    length = "px" if report.units == "pixels" else report.units
    area = "px" if length == "px" else f"{length}²"
    volume = "px" if report.volume_units == "pixels" else report.volume_units
    columns: list[tuple[str, str, Callable[[MeasuredLesion], float | str | None]]] = [
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


def shown(value: float | str | None) -> str:
    """Return a figure with about three digits after the front ones, "–" where it is not known."""
    if value is None:
        return "–"
    if isinstance(value, (str, int)):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{value:.0f}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
