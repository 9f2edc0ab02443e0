"""The live curve of a fine-tuning: loss, and the score on held-out slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_unet_tumour.widgets.common.style import GREEN, ink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QPaintEvent

    Points = list[tuple[float, float]]

LOSS, SCORE, GRID = "#8a95a5", "#34c759", "#4a525e"
HIGH, EDGE = 84, 14


class LossCurve(QWidget):
    """Loss falling (grey) and score rising (green) over the seconds of the budget."""

    def __init__(self) -> None:
        super().__init__()
        self.loss: Points = []
        self.score: Points = []
        self.budget = 10.0
        self.setMinimumHeight(HIGH)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip("Grey: loss on the reviewed slices. Green: score on slices that are not trained on.")

    def sizeHint(self) -> QSize:
        """Return the size that shows every part."""
        return QSize(280, HIGH)

    def begin(self, budget: float) -> None:
        """Empty the picture for a run of that many seconds."""
        self.loss, self.score, self.budget = [], [], max(budget, 0.1)
        self.update()

    def add(self, seconds: float, loss: float | None, score: float | None) -> None:
        """Add what is known at a time."""
        if loss is not None:
            self.loss.append((seconds, loss))
        if score is not None:
            self.score.append((seconds, score))
        self.update()

    def end(self) -> None:
        """Let what was learnt fill the picture, where the time was not used up."""
        self.budget = max((at for at, _ in (*self.loss, *self.score)), default=self.budget)
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the curves."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(1, 3, self.width() - 2, self.height() - EDGE - 6)
        painter.setPen(QPen(QColor(GRID), 1))
        painter.drawRect(box)
        high = max((value for _, value in self.loss), default=1.0) or 1.0
        self._draw(painter, box, self.loss, high, LOSS, 1.2)
        self._draw(painter, box, self.score, 1.0, SCORE, 2.0)
        self._caption(painter)
        painter.end()

    def _draw(
        self, painter: QPainter, box: QRectF, points: Sequence[tuple[float, float]], high: float, hue: str, wide: float
    ) -> None:
        painter.setPen(QPen(QColor(hue), wide))
        length = max(self.budget, points[-1][0] if points else 0.0)
        line = [
            QPointF(box.left() + box.width() * at / length, box.bottom() - box.height() * min(1.0, value / high) * 0.95)
            for at, value in points
        ]
        painter.drawPolyline(QPolygonF(line))
        if line and (hue == SCORE or len(line) == 1):
            painter.setBrush(QColor(hue))
            painter.drawEllipse(line[-1], 2.5, 2.5)
            painter.setBrush(Qt.BrushStyle.NoBrush)

    def _caption(self, painter: QPainter) -> None:
        font = painter.font()
        font.setPointSizeF(max(6.5, font.pointSizeF() * 0.8))
        painter.setFont(font)
        base = self.height() - 4
        loss = f"loss {self.loss[-1][1]:.3f}" if self.loss else "loss"
        score = f"Dice of slices kept for scoring {self.score[-1][1]:.3f}" if self.score else "Dice"
        text = self.palette().windowText().color()
        painter.setPen(text)
        painter.drawText(QPointF(2, base), loss)
        painter.setPen(QColor(ink(self, GREEN)))
        wide = painter.fontMetrics().horizontalAdvance(score)
        painter.drawText(QPointF((self.width() - wide) / 2, base), score)
        painter.setPen(text)
        end = f"{self.budget:.2g} s" if self.budget < 10 else f"{self.budget:.0f} s"
        painter.drawText(QPointF(self.width() - painter.fontMetrics().horizontalAdvance(end) - 2, base), end)
