"""One brush per viewer, shared by the panels that show it: the last one to close lets go of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_unet_tumour.widgets.brush.brush import Brush
from napari_unet_tumour.widgets.brush.lock_note import LockNote
from napari_unet_tumour.widgets.common.canvas import canvas_of

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


class SharedBrush:
    """A viewer's brush with its note on the canvas."""

    def __init__(self, viewer: Any) -> None:
        self.brush = Brush(viewer)
        self.note: LockNote | None = None
        self.panels: list[QWidget] = []

    def put_note(self, panel: QWidget) -> None:
        """Put the note on the canvas, once the panel is in its window."""
        try:
            canvas = canvas_of(panel) if panel in self.panels else None
        except RuntimeError:  # the window was closed at once
            return
        if canvas is not None and self.note is None:
            self.note = LockNote(canvas, self.brush)


_SHARED: dict[int, SharedBrush] = {}


def take_brush(viewer: Any, panel: QWidget) -> SharedBrush:
    """Return the brush of a viewer for a panel."""
    viewer = getattr(viewer, "__wrapped__", viewer)  # a widget is given a proxy, whose layers are proxies too
    shared = _SHARED.get(id(viewer)) or _SHARED.setdefault(id(viewer), SharedBrush(viewer))
    shared.panels.append(panel)
    QTimer.singleShot(0, lambda: shared.put_note(panel))
    return shared


def return_brush(shared: SharedBrush, panel: QWidget) -> None:
    """Let go of a brush; the last panel ends it."""
    if panel in shared.panels:
        shared.panels.remove(panel)
    if not shared.panels:
        if shared.note is not None:
            shared.note.end()
        shared.brush.close()
        _SHARED.pop(id(shared.brush.viewer), None)
