"""Grey values of an image at the pixels of a mask, by their places in the world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet_tumour.widgets.layers.image_source import images, index_at
from napari_unet_tumour.widgets.layers.labels import image_of
from napari_unet_tumour.widgets.layers.world import pixels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

Box = tuple[slice, ...]
SAME = 1e-4


class ImageValues:
    """An image as seen from the pixels of a mask.

    Parameters
    ----------
    viewer : napari viewer
        An axis that only the image has (channels, say) is read where its slider stands.
    """

    def __init__(self, viewer: ViewerModel, image: Image, mask: Labels) -> None:
        self._data: Any = pixels_of(image)
        self._rgb = bool(image.rgb)
        self._shape = tuple(int(n) for n in self._data.shape[: image.ndim])
        self._linear, self._start = _mask_to_image(viewer, mask, image)

    def covers(self, at: Sequence[float]) -> bool:
        """Tell whether a pixel of the mask lies in the image."""
        place = self._linear @ np.asarray(at, float) + self._start
        return bool((place > -0.5).all() and (place < np.array(self._shape) - 0.5).all())

    def read(self, box: Box) -> NDArray[np.float32]:
        """Return the grey values at the pixels of a box of the mask, linear between voxels; NaN outside the image.

        Parameters
        ----------
        box : tuple of slice
            One an axis of the mask, with start and stop.

        Returns
        -------
        numpy.ndarray
            float32, of the shape of the box. Colours are averaged.
        """
        grid = np.stack(np.meshgrid(*(np.arange(part.start, part.stop) for part in box), indexing="ij"))
        at = np.tensordot(self._linear, grid.astype(float), 1)
        at += self._start.reshape(-1, *[1] * len(box))
        nearest = np.round(at)
        at = np.where(np.abs(at - nearest) < SAME, nearest, at)
        limit = np.array(self._shape).reshape(-1, *[1] * len(box))
        inside = ((at > -0.5) & (at < limit - 0.5)).all(0)
        if not inside.any():
            return np.full(inside.shape, np.nan, np.float32)
        at = np.clip(at, 0, limit - 1)
        low = [int(np.floor(one[inside].min())) for one in at]
        high = [int(np.ceil(one[inside].max())) + 1 for one in at]
        # Of a lazy image only this part is read.
        part = np.asarray(self._data[tuple(slice(*ends) for ends in zip(low, high, strict=True))])
        part = part[..., :3].mean(-1) if self._rgb else part
        near = at - np.array(low).reshape(limit.shape)
        values = ndimage.map_coordinates(part.astype(np.float32), near, order=1, mode="nearest")
        return np.where(inside, values, np.nan).astype(np.float32)


def image_under(viewer: ViewerModel, mask: Labels, at: Sequence[float]) -> ImageValues | None:
    """Return the image at a pixel of a mask: the mask's own where it is shown, else the topmost one that is shown."""
    own = image_of(viewer, mask)
    shown = [image for image in reversed(images(viewer)) if image.visible]
    if own is not None and (own.visible or not shown):
        shown.insert(0, own)
    seen = (ImageValues(viewer, image, mask) for image in shown)
    return next((one for one in seen if one.covers(at)), None)


def _mask_to_image(viewer: ViewerModel, mask: Labels, image: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return linear part (axes of the image, axes of the mask) and start of mask index -> image index."""
    axes = viewer.dims.ndim
    rest = np.array(viewer.dims.point, float)
    to_mask, to_image = (_world_to(viewer, layer, axes) for layer in (mask, image))
    # Axes of the viewer that the mask lacks stand where their sliders do.
    own = slice(axes - mask.ndim, axes)
    inverse = np.linalg.inv(to_mask[:, :-1][:, own])
    linear = np.zeros((axes, mask.ndim))
    linear[own] = inverse
    start = rest.copy()
    start[own] = -inverse @ to_mask[:, -1]
    return to_image[:, :-1] @ linear, to_image[:, :-1] @ start + to_image[:, -1]


def _world_to(viewer: ViewerModel, layer: Any, axes: int) -> NDArray[np.float64]:
    """Return (axes of the layer, axes + 1): the viewer's world -> index of a layer."""
    start = index_at(viewer, layer, [0.0] * axes)
    steps = [index_at(viewer, layer, one) - start for one in np.eye(axes).tolist()]
    return np.column_stack([*steps, start])
