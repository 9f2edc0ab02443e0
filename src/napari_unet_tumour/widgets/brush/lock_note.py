"""The line at the top left of the canvas that says what is locked, and why a stroke has changed nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QLabel, QWidget

from napari_unet_tumour.widgets.common.keys import LOCK_KEY, TICK_KEY
from napari_unet_tumour.widgets.layers.drawn_pixels import reviewed_in
from napari_unet_tumour.widgets.layers.image_source import hidden_axes, shown_at
from napari_unet_tumour.widgets.layers.locks import locked_labels

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_unet_tumour.widgets.brush.brush import Brush

STYLE = "color: #ffd60a; background: rgba(0, 0, 0, 150); padding: 2px 5px; font-size: 13px;"
MARGIN, SHOWN_MS = 6, 6000


def locked_text(viewer: ViewerModel, mask: Labels | None) -> str:
    """Return what is locked in a mask: the slice on screen, and labels; "" where nothing is."""
    if mask is None:
        return ""
    lines = [f"Reviewed slice: locked ({TICK_KEY} unlocks it)"] if _is_reviewed(viewer, mask) else []
    locked, selected = sorted(locked_labels(mask)), int(mask.selected_label)
    if locked:
        which = f"Label{'s' * (len(locked) > 1)} {', '.join(map(str, locked))}: locked"
        unlocks = "it" if len(locked) == 1 else str(selected)
        lines.append(f"{which} ({LOCK_KEY} unlocks {unlocks})" if selected in locked else which)
    return "\n".join(lines)


def _is_reviewed(viewer: ViewerModel, mask: Labels) -> bool:
    """Tell whether all pixels of the slice on screen are reviewed."""
    if mask.multiscale or viewer.dims.ndisplay != 2:
        return False
    at, hidden = np.round(shown_at(viewer, mask)), hidden_axes(viewer, mask)
    if any(not 0 <= at[axis] < mask.data.shape[axis] for axis in hidden):
        return False
    box = tuple(
        slice(int(at[axis]), int(at[axis]) + 1) if axis in hidden else slice(0, size)
        for axis, size in enumerate(mask.data.shape)
    )
    found = reviewed_in(mask, box)
    return found is not None and bool(found.all())


class LockNote(QLabel):
    """A text above a canvas; the mouse does not notice it."""

    def __init__(self, canvas: QWidget, brush: Brush) -> None:
        super().__init__(canvas)
        self._brush = brush
        self._refusal = ""
        self.setStyleSheet(STYLE)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._forget)
        self.move(MARGIN, MARGIN)
        brush.changed.connect(self.look)
        brush.refused.connect(self._on_refused)
        self._events = [brush.viewer.dims.events.current_step, brush.viewer.dims.events.order]
        for event in self._events:
            event.connect(self._on_dims)
        self.look()

    def look(self) -> None:
        """Show what is locked now."""
        brush = self._brush
        text = self._refusal or locked_text(brush.viewer, brush.mask)
        with suppress(RuntimeError):  # the window is being closed
            if text != self.text():
                self.setText(text)
                self.adjustSize()
                self.raise_()
            self.setVisible(bool(text))

    def end(self) -> None:
        """Take the note away."""
        self._brush.changed.disconnect(self.look)
        self._brush.refused.disconnect(self._on_refused)
        for event in self._events:
            event.disconnect(self._on_dims)
        with suppress(RuntimeError):  # the window is being closed
            self.hide()
            self.deleteLater()

    def _on_dims(self, event: Any = None) -> None:
        self._refusal = ""
        self.look()

    def _on_refused(self, why: str) -> None:
        self._refusal = why
        self._timer.start(SHOWN_MS)
        self.look()

    def _forget(self) -> None:
        self._refusal = ""
        self.look()
