"""One brush per viewer, shared by the panels that show it: the last one to close lets go of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from qtpy.QtCore import QTimer

from napari_unet_tumour.widgets.brush.brush import Brush
from napari_unet_tumour.widgets.brush.lock_note import LockNote
from napari_unet_tumour.widgets.common.canvas import canvas_of
from napari_unet_tumour.widgets.common.keys_note import KeysNote

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


class SharedBrush:
    """A viewer's brush with its notes on the canvas."""

    def __init__(self, viewer: Any) -> None:
        self.brush = Brush(viewer)
        self.note: LockNote | None = None
        self.keys: KeysNote | None = None
        self.panels: list[QWidget] = []

    def put_notes(self, panel: QWidget) -> None:
        """Put what is locked, and all keys on request, on the canvas, once the panel is in its window."""
        try:
            canvas = canvas_of(panel) if panel in self.panels else None
        except RuntimeError:  # the window was closed at once
            return
        if canvas is not None and self.note is None:
            self.note, self.keys = LockNote(canvas, self.brush), KeysNote(canvas)


# By viewer; the panels hold them, so that nothing of a window outlives it.
_SHARED: WeakValueDictionary[int, SharedBrush] = WeakValueDictionary()


def take_brush(viewer: Any, panel: QWidget) -> SharedBrush:
    """Return the brush of a viewer for a panel."""
    viewer = getattr(viewer, "__wrapped__", viewer)  # a widget is given a proxy, whose layers are proxies too
    shared = _SHARED.get(id(viewer))
    if shared is None or shared.brush.viewer is not viewer:
        shared = _SHARED[id(viewer)] = SharedBrush(viewer)
    shared.panels.append(panel)
    QTimer.singleShot(0, lambda: shared.put_notes(panel))
    return shared


def return_brush(shared: SharedBrush, panel: QWidget) -> None:
    """Let go of a brush; the last panel ends it."""
    if panel in shared.panels:
        shared.panels.remove(panel)
    if not shared.panels:
        for note in (shared.note, shared.keys):
            if note is not None:
                note.end()
        shared.brush.close()
        _SHARED.pop(id(shared.brush.viewer), None)
