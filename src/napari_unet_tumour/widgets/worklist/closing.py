"""Layers of a scan that is closed: removed at once, or hidden until the next scan is on screen."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_unet_tumour.widgets.common.main_thread import single_shot_timer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari
    from qtpy.QtCore import QObject

COLLECT_MS = 3000
SOON_MS = 1


class ClosedLayers:
    """Removes layers. napari takes a third of the time between two scans for that, which nobody has to wait for.

    Parameters
    ----------
    viewer : napari.Viewer
        Has the layers.
    owner : QObject
        Its timers end with it.
    """

    def __init__(self, viewer: napari.Viewer, owner: QObject) -> None:
        self._viewer = viewer
        self._hidden: list[Any] = []
        self._timer = single_shot_timer(owner, SOON_MS, self.remove_hidden)

    @property
    def hidden(self) -> list[Any]:
        """Layers that are hidden and will be removed."""
        return list(self._hidden)

    def hide(self, layers: Sequence[Any]) -> None:
        """Hide layers until `remove_soon`; their names are free for the layers of the next scan."""
        for layer in layers:
            layer.visible = False
            layer.name = f"{layer.name} (closed)"
        self._hidden += layers

    def fit_others(self) -> None:
        """Fit the view to the layers that are not hidden here."""
        try:
            self._viewer.reset_view(layers=[layer for layer in self._viewer.layers if layer not in self._hidden])
        except TypeError:  # napari before 0.7 always takes all layers
            self.remove_hidden()
            self._viewer.reset_view()

    def remove_soon(self) -> None:
        """Remove the hidden layers when the window has answered what waits."""
        if self._hidden:
            self._timer.start()

    def remove_hidden(self) -> None:
        """Remove the hidden layers now."""
        self._timer.stop()
        layers, self._hidden = self._hidden, []
        self.remove(layers)

    def remove(self, layers: Sequence[Any]) -> None:
        """Remove layers now, as far as they are still there."""
        # napari collects garbage for each removed layer, half a second in all: it is done once, when there is time.
        gc.freeze()
        try:
            for layer in layers:
                if layer in self._viewer.layers:
                    self._viewer.layers.remove(layer)
        finally:
            gc.unfreeze()
            QTimer.singleShot(COLLECT_MS, gc.collect)
