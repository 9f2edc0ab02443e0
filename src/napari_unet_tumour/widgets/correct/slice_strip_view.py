"""A strip with one bar per slice: what was done, how unsure the network is, which one is on screen; click to go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QPainter, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_unet_tumour.widgets.common.words import slice_label
from napari_unet_tumour.widgets.correct.case_corrections import (
    EDITED_STATE,
    HELD_OUT_STATE,
    PREDICTED_STATE,
    REVIEWED_STATE,
    SliceState,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QKeyEvent, QMouseEvent, QPaintEvent

COLOURS = {
    "": "#3c434e",
    PREDICTED_STATE: "#6b7685",
    EDITED_STATE: "#ffcc00",
    REVIEWED_STATE: "#34c759",
    HELD_OUT_STATE: "#5e8bff",
}
NAMES = {"": "nothing yet", REVIEWED_STATE: "reviewed, locked", HELD_OUT_STATE: "kept for scoring, locked"}
UNSURE = "#ff8a65"
# Short for "kept for scoring": the tooltip says it in full.
LEGEND_ENTRIES = (
    *((name, COLOURS[name]) for name in (PREDICTED_STATE, EDITED_STATE, REVIEWED_STATE)),
    ("for scoring", COLOURS[HELD_OUT_STATE]),
    ("unsure", UNSURE),
)
BARS, BOXES, TOTAL, LEGEND = 26, 12, 58, 14


def shown_name(state: str) -> str:
    """Return how a slice's state is called in the window."""
    return NAMES.get(state, state)


class SliceStrip(QWidget):
    """The slices of a case, left to right: above how unsure the network is, below what the person has done."""

    clicked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.states: list[SliceState] = []
        self.shown: int | None = None
        self.setMinimumHeight(TOTAL + LEGEND)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Slices")
        self.setToolTip("Orange: how unsure the network is. Below: what was done. Click, or the arrow keys: go there.")

    def sizeHint(self) -> QSize:
        """Return the size that shows every part."""
        return QSize(280, TOTAL + LEGEND)

    def fill(self, states: Sequence[SliceState]) -> None:
        """Show these slices."""
        if list(states) != self.states:
            self.states = list(states)
            self.update()

    def mark(self, number: int | None) -> None:
        """Show which slice is on screen."""
        if number != self.shown:
            self.shown = number
            self.update()

    def slice_at(self, x: float) -> int | None:
        """Return the slice under a horizontal position."""
        if not self.states or not 0 <= x < self.width():
            return None
        return min(len(self.states) - 1, int(x * len(self.states) / max(1, self.width())))

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Ask for the slice under the mouse."""
        self._ask(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Follow a drag, and say what is under the mouse."""
        if event is not None and event.buttons() & Qt.MouseButton.LeftButton:
            self._ask(event)
        number = None if event is None else self.slice_at(event.position().x())
        if event is not None and number is not None:
            QToolTip.showText(event.globalPosition().toPoint(), self.summary(number), self)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Ask for the slice beside the one on screen, or for the first or the last one."""
        if event is None or not self.states:
            return
        last, now = len(self.states) - 1, self.shown or 0
        wanted = {
            Qt.Key.Key_Left: max(now - 1, 0), Qt.Key.Key_Right: min(now + 1, last),
            Qt.Key.Key_Home: 0, Qt.Key.Key_End: last,
        }.get(Qt.Key(event.key()))  # fmt: skip
        if wanted is None:
            event.ignore()
        else:
            self.clicked.emit(wanted)

    def _ask(self, event: QMouseEvent | None) -> None:
        number = None if event is None else self.slice_at(event.position().x())
        if number is not None:
            self.clicked.emit(number)

    def summary(self, number: int) -> str:
        """Return what is known of a slice in words."""
        state = self.states[number]
        unsure = f", about {state.unsure:.0f} pixels may be wrong" if state.unsure else ""
        return f"{slice_label(number).capitalize()}: {shown_name(state.name)}{unsure}"

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the strip."""
        painter = QPainter(self)
        painter.setPen(Qt.PenStyle.NoPen)
        if self.states:
            self._draw_slices(painter)
        self._draw_legend(painter)
        if self.hasFocus():
            painter.setPen(self.palette().highlight().color())
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
        painter.end()

    def _draw_slices(self, painter: QPainter) -> None:
        step = self.width() / len(self.states)
        gap = 1.0 if step > 4 else 0.0
        most = max((state.unsure for state in self.states), default=0.0) or 1.0
        unsure, inks = QColor(UNSURE), {name: QColor(colour) for name, colour in COLOURS.items()}
        for number, state in enumerate(self.states):
            left, wide = number * step, max(step - gap, 0.5)
            high = BARS * (state.unsure / most) ** 0.5
            if high:
                painter.fillRect(QRectF(left, BARS - high + 2, wide, high), unsure)
            painter.fillRect(QRectF(left, BARS + 4, wide, BOXES), inks[state.name])
        if self.shown is not None and self.shown < len(self.states):
            self._draw_pointer(painter, (self.shown + 0.5) * step)

    def _draw_pointer(self, painter: QPainter, x: float) -> None:
        painter.setBrush(self.palette().windowText())
        top = BARS + BOXES + 6
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.drawPolygon(QPolygonF([QPointF(x, top), QPointF(x - 5, top + 8), QPointF(x + 5, top + 8)]))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    def _draw_legend(self, painter: QPainter) -> None:
        font = painter.font()
        font.setPointSizeF(max(6.5, font.pointSizeF() * 0.8))
        painter.setFont(font)
        top, metrics = TOTAL, painter.fontMetrics()
        ink = self.palette().windowText().color()
        room = self.width() - sum(metrics.horizontalAdvance(name) + 11 for name, _ in LEGEND_ENTRIES)
        gap = max(2.0, room / (len(LEGEND_ENTRIES) - 1))
        x = 0.0
        for name, colour in LEGEND_ENTRIES:
            painter.fillRect(QRectF(x, top + 3, 8, 8), QColor(colour))
            painter.setPen(ink)
            painter.drawText(QPointF(x + 11, top + 11), name)
            painter.setPen(Qt.PenStyle.NoPen)
            x += 11 + metrics.horizontalAdvance(name) + gap
