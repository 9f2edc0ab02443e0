"""Where every stroke on a mask layer passes through: brush, eraser, fill and polygon."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.widgets.brush.image_values import Box

    # Layer, box, marked pixels, what the box holds, the new label, the middle of the brush -> pixels to change.
    Allowed = Callable[[Labels, Box, NDArray[np.bool_], NDArray[Any], int, Sequence[int] | None], NDArray[np.bool_]]

# Where strokes end in napari 0.9; before, they ended in `data_setitem`.
REGION = "_apply_mask_to_data"


class StrokeFilter:
    """Asks which pixels a stroke may change before napari changes them, so that its undo steps hold no others.

    napari has no event for that: methods of the layer are covered, until `remove`. What this package writes goes past
    them (`widgets.layers.labels.write`).

    Parameters
    ----------
    allowed : callable
        Called for every dab of the brush, for every fill and polygon.
    """

    def __init__(self, layer: Labels, allowed: Allowed) -> None:
        self._layer = weakref.ref(layer)
        self._allowed = allowed
        self._centre: list[int] | None = None
        self._covered: dict[str, Callable[..., Any]] = {"paint": self._paint}
        self._covered |= {REGION: self._on_region} if hasattr(layer, REGION) else {"data_setitem": self._on_indices}
        for name, call in self._covered.items():
            setattr(layer, name, call)

    def remove(self) -> None:
        """Leave the layer as napari made it."""
        layer = self._layer()
        for name in self._covered if layer is not None else ():
            vars(layer).pop(name, None)

    def _paint(self, coord: Sequence[float], new_label: int, refresh: bool = True) -> None:
        layer: Any = self._layer()
        self._centre = [round(float(one)) for one in coord]
        try:
            type(layer).paint(layer, coord, new_label, refresh)
        finally:
            self._centre = None

    def _on_region(self, data: NDArray[Any], mask: NDArray[np.bool_], new_label: int, volume_slice: Box) -> Any:
        layer: Any = self._layer()
        marked = np.broadcast_to(mask, data.shape)
        found = self._allowed(layer, volume_slice, marked, data, int(new_label), self._centre)
        return getattr(type(layer), REGION)(layer, data, found, new_label, volume_slice) if found.any() else None

    def _on_indices(self, indices: tuple[NDArray[np.intp], ...], value: Any, refresh: bool = True) -> None:
        layer: Any = self._layer()
        places = tuple(np.asarray(axis).ravel() for axis in indices)
        if not places[0].size or np.ndim(value):
            type(layer).data_setitem(layer, indices, value, refresh)
            return
        box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in places)
        at = tuple(axis - part.start for axis, part in zip(places, box, strict=True))
        now = np.asarray(layer.data[box])
        marked = np.zeros(now.shape, bool)
        marked[at] = True
        keep = self._allowed(layer, box, marked, now, int(value), self._centre)[at]
        if keep.any():
            type(layer).data_setitem(layer, tuple(axis[keep] for axis in places), value, refresh)
