"""A table of figures: sortable by value, one row per item, one column per figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VALUE = Qt.ItemDataRole.UserRole
WIDEST = 180
Figure = float | str | None
# Head, tooltip, and the figure of an item.
Column = tuple[str, str, "Callable[[Any], Figure]"]


class Cell(QTableWidgetItem):
    """A figure that sorts by its value; what is not known comes first."""

    def __init__(self, value: Figure) -> None:
        super().__init__(shown(value))
        self.setData(VALUE, value)
        side = Qt.AlignmentFlag.AlignLeft if isinstance(value, str) else Qt.AlignmentFlag.AlignRight
        self.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)

    def __lt__(self, other: QTableWidgetItem) -> bool:
        mine, theirs = self.data(VALUE), other.data(VALUE)
        if mine is None or theirs is None:
            return mine is None and theirs is not None
        return bool(mine < theirs)


class FigureTable(QTableWidget):
    """Shows items and calls `on_item` with the one of the row that a person chooses.

    Parameters
    ----------
    on_item : callable
        Gets the item.
    tooltip : str
        What a click does.
    """

    def __init__(self, on_item: Callable[[Any], None], tooltip: str) -> None:
        super().__init__()
        self._on_item = on_item
        self._items: list[Any] = []
        self._columns: list[Column] = []
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self._heads = QHeaderView(Qt.Orientation.Horizontal, self)
        self._heads.setSectionsClickable(True)
        self.setHorizontalHeader(self._heads)
        self.setVerticalHeader(_hidden(self))
        self.setMinimumSize(120, 130)
        self.setToolTip(tooltip)
        self._heads.setMinimumSectionSize(20)
        self.setStyleSheet("QHeaderView::section { padding: 2px 4px; } QTableView::item { padding: 1px 3px; }")
        self.cellClicked.connect(self._clicked)
        self.currentCellChanged.connect(self._moved)

    def show_items(self, columns: Sequence[Column], items: Sequence[Any]) -> None:
        """Show items in their order."""
        self._items, self._columns = list(items), list(columns)
        self.blockSignals(True)
        self.setSortingEnabled(False)
        self.clear()
        self.setColumnCount(len(columns))
        self.setRowCount(len(self._items))
        for c, (head, tip, value_of) in enumerate(columns):
            title = QTableWidgetItem(head)
            title.setToolTip(tip)
            self.setHorizontalHeaderItem(c, title)
            cells = [Cell(value_of(item)) for item in self._items]
            for row, cell in enumerate(cells):
                cell.setData(VALUE + 1, row)
                self.setItem(row, c, cell)
            self.setColumnWidth(c, self._width([*head.split("\n"), *(cell.text() for cell in cells)]))
        self.setSortingEnabled(True)
        self.sort_at_first()
        self.resizeRowsToContents()
        self.setCurrentItem(None)
        self.blockSignals(False)

    def update_item(self, n: int, item: Any) -> None:
        """Show another item in place of the n-th one that was given, in the row where it is now."""
        self._items[n] = item
        rows = (row for row in range(self.rowCount()) if self._number(row) == n)
        row = next(rows, None)
        if row is None:
            return
        self.setSortingEnabled(False)
        for c, (_, _, value_of) in enumerate(self._columns):
            cell = Cell(value_of(item))
            cell.setData(VALUE + 1, n)
            self.setItem(row, c, cell)
            self.setColumnWidth(c, max(self.columnWidth(c), self._width([cell.text()])))
        self.setSortingEnabled(True)

    def choose(self, n: int) -> None:
        """Select and show the row of the n-th item that was given; `on_item` is not called."""
        row = next((row for row in range(self.rowCount()) if self._number(row) == n), None)
        if row is not None:
            self.blockSignals(True)
            self.selectRow(row)
            self.scrollToItem(self.item(row, 0))
            self.blockSignals(False)

    def _number(self, row: int) -> int | None:
        first = self.item(row, 0)
        return None if first is None else int(first.data(VALUE + 1))

    def sort_at_first(self) -> None:
        """Sort as the items were given: nothing is sorted by until a person clicks a head."""
        self._heads.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)

    def item_of(self, row: int) -> Any:
        """Return the item of a row as the table is sorted now, None where there is none."""
        n = self._number(row)
        return None if n is None else self._items[n]

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
        return min(max(self.fontMetrics().horizontalAdvance(text) for text in texts) + 16, WIDEST)

    def _clicked(self, row: int, column: int) -> None:
        item = self.item_of(row)
        if item is not None:
            self._on_item(item)

    def _moved(self, row: int, column: int, before: int, _: int) -> None:
        # A click is reported by `cellClicked`, on a row that is chosen already too; this is for the arrow keys.
        if row != before and row >= 0 and self.hasFocus():
            self._clicked(row, 0)


def _hidden(table: QTableWidget) -> QHeaderView:
    header = QHeaderView(Qt.Orientation.Vertical, table)
    header.hide()
    return header


def shown(value: Figure) -> str:
    """Return a figure with about three digits after the front ones, "–" where it is not known."""
    if value is None:
        return "–"
    if isinstance(value, (str, int)):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{value:.0f}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
