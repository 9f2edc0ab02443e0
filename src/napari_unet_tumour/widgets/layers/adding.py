"""Adds a mask layer in steps, between which the window answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_unet_tumour.widgets.common.main_thread import single_shot_timer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

# What napari draws over a Labels layer while a polygon or a stroke is drawn: to make it takes as long as all the rest.
LATER = ("polygon", "brush_stroke")
STEP_MS = 20


def add_in_steps(viewer: ViewerModel, mask: Labels) -> None:
    """Add a mask layer; the visuals for drawing on it follow one by one, at the latest `STEP_MS` each."""
    viewer = getattr(viewer, "__wrapped__", viewer)  # a widget is given a proxy
    window = getattr(viewer, "window", None)
    overlays = [mask._overlays[name] for name in LATER if window is not None and name in mask._overlays]
    for overlay in overlays:
        overlay.visible = False  # napari makes the visual of an overlay once it is visible
    viewer.add_layer(mask)
    if overlays:
        _Later(viewer, mask, overlays)


class _Later(QObject):
    """Makes overlays visible, one at a time; ends with the window."""

    def __init__(self, viewer: Any, mask: Labels, overlays: list[Any]) -> None:
        super().__init__(viewer.window._qt_viewer)
        self._viewer, self._mask, self._overlays = viewer, mask, overlays
        self._timer = single_shot_timer(self, STEP_MS, self._step)
        self._timer.start()

    def _step(self) -> None:
        if self._mask in self._viewer.layers:
            self._overlays.pop().visible = True
            # Puts the new visual where the layer lies. An event of the layer would say that it was moved.
            self._viewer.window._qt_viewer.canvas.layer_to_visual[self._mask]._on_matrix_change()
            if self._overlays:
                self._timer.start()
                return
        self.deleteLater()
