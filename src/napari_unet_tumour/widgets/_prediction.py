"""What the network said, kept small in memory, so that the threshold moves without a second run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from napari_unet_tumour.masks import keep_largest, mask_of
from napari_unet_tumour.packed import Packed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.layout import Layout
    from napari_unet_tumour.settings import SegmentSettings
    from napari_unet_tumour.widgets._layers import Region


@dataclass(frozen=True, eq=False)
class Plane:
    """One segmented plane.

    Parameters
    ----------
    number : int
        Which plane of the layout.
    region : (slice, slice), optional
        The part that was segmented; the whole plane when None.
    probability : Packed
        (L, H, W) uint8, 0..255 = 0..1, one a label without background.
    mask : Packed
        (H, W) uint8, what was last written for it.
    """

    number: int
    region: Region | None
    probability: Packed
    mask: Packed


class Prediction:
    """The planes of one mask layer and the masks that they have shown.

    Parameters
    ----------
    layout : Layout
        How planes lie in the mask.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.planes: dict[int, Plane] = {}
        self._seen: dict[int, set[bytes]] = {}

    def keep(self, plane: Plane) -> None:
        """Remember a plane, in place of an earlier one of the same number."""
        self.planes[plane.number] = plane
        self.see(plane.number, plane.mask.array())

    def see(self, number: int, mask: NDArray[np.uint8]) -> None:
        """Remember that the plane has shown this mask (H, W) without any stroke of the person in it."""
        self._seen.setdefault(number, set()).add(_digest(mask))

    def strokes(self, number: int, now: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which pixels (H, W) of the mask as it is now are the person's own.

        Undo and redo bring back masks that the plane has shown before: nothing in those is a stroke.
        """
        if _digest(now) in self._seen.get(number, ()):
            return np.zeros(now.shape, bool)
        return np.not_equal(now, self.planes[number].mask.array())


# What is known of a mask layer, whichever widget has drawn it; ends with the layer.
PREDICTIONS: WeakKeyDictionary[Labels, Prediction] = WeakKeyDictionary()
# Planes of a mask layer that the person has ticked as reviewed: nothing but the person changes them.
REVIEWED: WeakKeyDictionary[Labels, frozenset[int]] = WeakKeyDictionary()


def masks(
    prediction: Prediction, shown: NDArray[np.uint8], settings: SegmentSettings, previewed: int | None = None
) -> Iterator[tuple[Plane, NDArray[np.uint8]]]:
    """Yield the planes that the mask layer shows otherwise than the settings want, with the new mask (H, W).

    Parameters
    ----------
    shown : numpy.ndarray
        The layer's array.
    previewed : int, optional
        A plane that is yielded in any case, since what it shows is not what it holds.
    """
    layout, planes = prediction.layout, list(prediction.planes.values())
    new = [mask_of(plane.probability.array(), settings) for plane in planes]
    if settings.keep_largest:
        new = _largest(planes, new, layout)
    for plane, mask in zip(planes, new, strict=True):
        if plane.number == previewed or not np.array_equal(mask, _part(shown, layout, plane)):
            yield replace(plane, mask=Packed(mask)), mask


def _largest(planes: Sequence[Plane], found: list[NDArray[np.uint8]], layout: Layout) -> list[NDArray[np.uint8]]:
    """Keep the largest piece of each label through all planes, not of each plane."""
    if len(planes) == 1:
        return [keep_largest(found[0])]
    whole = np.zeros(layout.mask_shape, np.uint8)
    for plane, mask in zip(planes, found, strict=True):
        _part(whole, layout, plane)[...] = mask
    whole = keep_largest(whole)
    return [_part(whole, layout, plane).copy() for plane in planes]


def _part(whole: NDArray[np.uint8], layout: Layout, plane: Plane) -> NDArray[np.uint8]:
    view = layout.to_native(whole[layout.index(plane.number)])
    return view if plane.region is None else view[plane.region]


def _digest(mask: NDArray[np.uint8]) -> bytes:
    return blake2b(mask.tobytes(), digest_size=8).digest()
