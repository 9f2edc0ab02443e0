"""A crosshair above a canvas, open in the middle so that it hides nothing; the mouse does not notice it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFrame

from napari_unet_tumour.widgets.common.canvas import Overlay

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

COLOUR = "#40c4ff"
# Pixels around the place that stay free.
GAP = 10
Place = tuple[float, float]


class Crosshair(Overlay):
    """Four lines that end before a place.

    Parameters
    ----------
    canvas : QWidget
        What they are drawn above.
    place : callable
        Returns the place in pixels from the left and from the top of the canvas, or None to show nothing.
    """

    def __init__(self, canvas: QWidget, place: Callable[[], Place | None]) -> None:
        self._place = place
        self.lines = [QFrame(canvas) for _ in range(4)]
        for line in self.lines:
            line.setStyleSheet(f"background: {COLOUR}; border: none;")
        super().__init__(canvas, self.lines)

    @property
    def at(self) -> Place | None:
        """Where it is in pixels, None where it is not shown."""
        return self._place() if self.lines[0].isVisibleTo(self._canvas) else None

    def follow(self, event: object = None) -> None:
        """Move to where the place is now."""
        with suppress(RuntimeError):  # the window is being closed: Qt has deleted the lines
            self.put()

    def put(self) -> None:
        """Draw the lines to the edges of the canvas."""
        place = self._place()
        for line in self.lines:
            line.setVisible(place is not None)
        if place is None:
            return
        wide, high = self._canvas.width(), self._canvas.height()
        x, y = (
            round(min(max(at, -2.0 * GAP), length + 2.0 * GAP)) for at, length in zip(place, (wide, high), strict=True)
        )
        left, right, top, bottom = self.lines
        left.setGeometry(0, y, max(x - GAP, 0), 1)
        right.setGeometry(x + GAP, y, max(wide - x - GAP, 0), 1)
        top.setGeometry(x, 0, 1, max(y - GAP, 0))
        bottom.setGeometry(x, y + GAP, 1, max(high - y - GAP, 0))
