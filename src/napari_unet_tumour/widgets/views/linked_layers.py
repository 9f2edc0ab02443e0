"""Layers of a linked view: they show the pixels of the main view's layers, and pass strokes on to them.

napari slices a layer for one view alone. A linked layer is a second one over the same array. What is drawn on it is
drawn by the main view's layer, which keeps the undo history, holds locks and emits the events that others listen to.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Points
from napari.utils.transforms import Affine

from napari_unet_tumour.widgets.layers.points import set_points
from napari_unet_tumour.widgets.layers.world import PLACE, alike

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

ALWAYS = ("visible", "opacity", "blending", "name")
OF_IMAGE = ("contrast_limits_range", "contrast_limits", "gamma", "colormap", "interpolation2d")
OF_LABELS = (
    "colormap", "contour", "show_selected_label", "selected_label", "brush_size", "preserve_labels", "contiguous",
    "n_edit_dimensions", "editable", "mode",
)  # fmt: skip
OF_POINTS = ("size", "symbol", "face_color", "border_color", "canvas_size_limits")
# What a person may change in a linked view: the picker sets the label, the wheel sets the brush.
BACK = ("selected_label", "brush_size")
LEAST_AXES = 3
STILL = ("pan_zoom", "transform")


class LinkedImage(Image):  # type: ignore[misc]
    """An image without a thumbnail."""

    def _update_thumbnail(self) -> None:
        """Save the time: no layer list shows it."""


class LinkedLabels(Labels):  # type: ignore[misc]
    """A mask without a thumbnail whose strokes are strokes of its source, in the plane that the view shows."""

    main_layer: Any = None

    def _update_thumbnail(self) -> None:
        """Save the time: no layer list shows it."""

    def paint(self, coord: Any, new_label: int, refresh: bool = True) -> None:
        """Paint on the source."""
        self._through(self.main_layer.paint, coord, new_label, refresh)

    def fill(self, coord: Any, new_label: int, refresh: bool = True) -> None:
        """Fill in the source."""
        self._through(self.main_layer.fill, coord, new_label, refresh)

    def paint_polygon(self, points: Any, new_label: int) -> None:
        """Paint a polygon on the source."""
        self._through(self.main_layer.paint_polygon, points, new_label)

    def _through(self, call: Callable[..., None], *given: Any) -> None:
        # The one thing that a stroke takes from the view: along which axes it paints.
        self.main_layer._get_dims_to_paint = self._get_dims_to_paint
        try:
            call(*given)
        finally:
            del self.main_layer._get_dims_to_paint

    def block_history(self) -> Any:
        """Make one undo step of the source of what follows."""
        return self.main_layer.block_history()

    def _begin_stroke(self) -> None:
        self.main_layer._begin_stroke()

    def _commit_stroke(self) -> None:
        self.main_layer._commit_stroke()

    def _abort_stroke(self) -> None:
        self.main_layer._abort_stroke()

    def _partial_labels_refresh(self) -> None:
        self.main_layer._partial_labels_refresh()

    def undo(self) -> None:
        """Undo the source's last step."""
        self.main_layer.undo()

    def redo(self) -> None:
        """Redo the source's last step."""
        self.main_layer.redo()


class LinkedPoints(Points):  # type: ignore[misc]
    """Points without a thumbnail."""

    def _update_thumbnail(self) -> None:
        """Save the time: no layer list shows it."""


def can_be_shown(layer: Any) -> bool:
    """Tell whether a layer is shown in linked views: grey images, masks and points with at least three axes."""
    return isinstance(layer, Image | Labels | Points) and layer.ndim >= LEAST_AXES and not getattr(layer, "rgb", False)


class LinkedLayer:
    """Keeps a layer of a linked view like one of the main view, until it is closed.

    Parameters
    ----------
    source : layer
        The main view's.
    turn : numpy.ndarray
        (4, 4) main world -> linked views' world, along the last three axes.
    """

    def __init__(self, source: Any, turn: NDArray[np.float64]) -> None:
        self.source, self._turn = source, turn
        self._copying = False
        self._names = _names_of(source)
        self.layer = _made(source)
        self.place(turn)
        self._copy_all()
        self._bound: list[tuple[Any, Any]] = []
        self._listen()

    def _listen(self) -> None:
        events = self.source.events
        for name in self._names:
            self._bind(getattr(events, name), partial(self._copy, name))
        for name in PLACE:
            self._bind(getattr(events, name), self._on_place)
        self._bind(events.data, self._on_data)
        if isinstance(self.layer, Points):
            self._bind(events.set_data, self._on_data)
        if isinstance(self.layer, Labels):
            for name in BACK:
                self._bind(getattr(self.layer.events, name), partial(self._copy_back, name))

    def _bind(self, emitter: Any, call: Any) -> None:
        emitter.connect(call)
        self._bound.append((emitter, call))

    def close(self) -> None:
        """Stop listening."""
        for emitter, call in self._bound:
            emitter.disconnect(call)
        self._bound.clear()

    # ---- what it looks like and where it lies ----------------------------------------------------------

    def place(self, turn: NDArray[np.float64]) -> None:
        """Lie where the source lies, turned."""
        self._turn = turn
        for name in PLACE[:-1]:
            setattr(self.layer, name, getattr(self.source, name))
        whole = np.eye(self.source.ndim + 1)
        whole[-4:, -4:] = turn
        self.layer.affine = Affine(affine_matrix=whole @ np.asarray(self.source.affine.affine_matrix))

    def refresh(self) -> None:
        """Show pixels that have changed in the array."""
        self.layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _on_place(self, event: Any = None) -> None:
        self.place(self._turn)

    def _copy_all(self) -> None:
        for name in self._names:
            self._copy(name)

    def _copy(self, name: str, event: Any = None) -> None:
        if self._copying:
            return
        value = getattr(self.source, name)
        if name == "mode":
            value = "pan_zoom" if str(value) in STILL else str(value)
        self._copying = True
        try:
            if not alike(getattr(self.layer, name), value):
                setattr(self.layer, name, value)
        finally:
            self._copying = False

    def _copy_back(self, name: str, event: Any = None) -> None:
        if not self._copying:
            self._copying = True
            try:
                setattr(self.source, name, getattr(self.layer, name))
            finally:
                self._copying = False

    def _on_data(self, event: Any = None) -> None:
        if isinstance(self.layer, Points):
            self._copy_points(self.layer)
        elif self.layer.data is not self.source.data:
            self.layer.data = self.source.data

    def _copy_points(self, layer: Points) -> None:
        looks = {name: getattr(self.source, name) for name in OF_POINTS if name in self._names}
        shown = {name: getattr(layer, name) for name in looks}
        if not all(alike(one, other) for one, other in zip(shown.values(), looks.values(), strict=True)) or not (
            np.array_equal(layer.data, self.source.data)
        ):
            set_points(layer, np.array(self.source.data), **looks)


def _made(source: Any) -> Any:
    """Return a layer over the same array."""
    about: dict[str, Any] = {name: getattr(source, name) for name in ("units", "axis_labels", "name")}
    about["metadata"] = source.metadata
    if isinstance(source, Image):
        limits: Sequence[float] = source.contrast_limits
        return LinkedImage(source.data, multiscale=source.multiscale, rgb=False, contrast_limits=limits, **about)
    if isinstance(source, Labels):
        mask = LinkedLabels(source.data, multiscale=source.multiscale, **about)
        mask.main_layer = source
        return mask
    return LinkedPoints(np.array(source.data), **about)


def _names_of(source: Any) -> tuple[str, ...]:
    """Return the properties that a linked layer copies; napari's older versions lack some."""
    names = OF_IMAGE if isinstance(source, Image) else OF_LABELS if isinstance(source, Labels) else OF_POINTS
    return tuple(name for name in (*ALWAYS, *names) if hasattr(source.events, name))
