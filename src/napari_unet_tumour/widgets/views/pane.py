"""One linked view: a canvas with all layers of the main view, to which mouse and keys are passed on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet_tumour.widgets.look.letters import letters_of
from napari_unet_tumour.widgets.look.mouse import SliceWheel
from napari_unet_tumour.widgets.views.linked_layers import can_be_shown
from napari_unet_tumour.widgets.views.plane_canvas import SPACE, PlaneCanvas
from napari_unet_tumour.widgets.views.relay import KeyRelay, MouseRelay

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from napari.components import ViewerModel
    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget

    from napari_unet_tumour.look.planes import PlaneView


class Pane(PlaneCanvas):
    """A linked view.

    Parameters
    ----------
    parent : QWidget
        What it is shown in.
    main : ViewerModel
        The main view.
    link : object
        Has `to_main(position)`, `clicked(position, now)`, `scrolled(pane)` and `main_canvas()`.
    """

    def __init__(self, parent: QWidget, main: ViewerModel, link: Any) -> None:
        super().__init__(parent)
        self._link = link
        self._mouse = MouseRelay(self.model, main, link.to_main, link.clicked)
        self._wheel = SliceWheel(self.model)
        self._keys = KeyRelay(self.canvas, link.main_canvas)
        self.model.dims.events.point.connect(self._on_point)

    def show_all(self, layers: Sequence[Any], turn: NDArray[np.float64]) -> None:
        """Show the layers of the main view that can be shown, in their order."""
        wanted = [layer for layer in layers if can_be_shown(layer)]
        self.show_layers(wanted, [turn] * len(wanted))

    def activate(self, layer: Any) -> None:
        """Let the mouse draw on what shows a layer here."""
        self.model.layers.selection.active = self.linked_to(layer)

    def show_view(self, view: PlaneView, letters_from: Any) -> None:
        """Show a plane, the way up that it says; name it and its edges."""
        self.show_plane(view)
        dims = self.model.dims
        first = dims.ndim - SPACE
        labels = [dims.axis_labels[first + axis].strip("-") or str(axis) for axis in view.order[1:]]
        title = view.name if len(view.name) > 1 else f"axes {labels[0]} and {labels[1]}"
        self.show_texts(title, letters_of(self.model, self.linked_to(letters_from)))

    def _on_point(self, event: Any = None) -> None:
        self._link.scrolled(self)

    def close(self) -> None:
        """Let go of the main view and of the canvas."""
        self._wheel.close()
        self._mouse.close()
        self._keys.close()
        self.model.dims.events.point.disconnect(self._on_point)
        super().close()
