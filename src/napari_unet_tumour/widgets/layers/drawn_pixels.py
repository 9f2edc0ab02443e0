"""Which pixels of a mask layer are a person's: what is there and was not written by the network, and what is reviewed.

Kept by layer, in the layer's own pixels, so that it holds whichever widget writes and whichever axis is in view.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from napari_unet_tumour.widgets.layers import labels
from napari_unet_tumour.widgets.layers.predictions import PREDICTIONS, REVIEWED

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.widgets.layers.image_source import Region

# What the network last wrote at each pixel of a mask layer, 0 where it wrote nothing.
_WRITTEN: WeakKeyDictionary[Labels, NDArray[np.uint8]] = WeakKeyDictionary()
# Reviewed planes of a mask layer by the axes that they are counted over.
_REVIEWED: WeakKeyDictionary[Labels, dict[tuple[int, ...], tuple[SliceLayout, frozenset[int]]]] = WeakKeyDictionary()

# Checksums of planes that a person has been asked about and keeps.
_CONFIRMED: WeakKeyDictionary[Labels, dict[int, int]] = WeakKeyDictionary()


def note_written(
    mask: Labels, layout: SliceLayout, number: int, region: Region | None, values: NDArray[np.uint8]
) -> None:
    """Remember what the network writes into a plane (H, W) or its region; call it before the pixels change."""
    written = _WRITTEN.get(mask)
    if written is None or written.shape != layout.mask_shape:
        written = _WRITTEN[mask] = np.zeros(layout.mask_shape, np.uint8)
    layout.write_plane(written, number, values, region)


def written(mask: Labels, layout: SliceLayout, number: int, region: Region | None = None) -> NDArray[np.uint8]:
    """Return what the network last wrote into a plane (H, W) or its region."""
    known = _WRITTEN.get(mask)
    if known is None or known.shape != layout.mask_shape:
        known = np.broadcast_to(np.uint8(0), layout.mask_shape)
    return layout.read_plane_region(known, number, region)


def renumber_written(mask: Labels, numbers: dict[int, int]) -> None:
    """Follow labels that have got other numbers in a layer."""
    known = _WRITTEN.get(mask)
    if known is not None:
        places = {old: known == old for old in numbers}
        for old, at in places.items():
            known[at] = numbers[old]


def is_drawn(mask: Labels, layout: SliceLayout, number: int, region: Region | None = None) -> bool:
    """Tell whether a plane, or its region, shows something that the network did not write.

    A mask that the network has shown there before, which undo and redo bring back, is no drawing. Nor is an empty
    plane, see `is_erased`.
    """
    now = labels.pixels(mask, layout, number, region)
    if not now.any():
        return False
    reviewed = reviewed_pixels(mask, layout, number, region)
    differ = now != written(mask, layout, number, region)
    if reviewed is not None:
        differ &= ~reviewed
    if not differ.any():
        return False
    known = PREDICTIONS.get(mask)
    return known is None or known.layout != layout or not known.has_shown(number, now)


def is_erased(mask: Labels, layout: SliceLayout, number: int, region: Region | None = None) -> bool:
    """Tell whether a person has removed all that the network wrote into a plane; what was undone is no such thing."""
    now = labels.pixels(mask, layout, number, region)
    gone = not now.any() and bool(written(mask, layout, number, region).any())
    return gone and not _is_undone(mask, layout, number)


def _is_undone(mask: Labels, layout: SliceLayout, number: int) -> bool:
    """Tell whether redo would write into a plane; what the network writes is in napari's history by indices."""
    at = layout.index(number)
    atoms = [atom for item in getattr(mask, "_redo_history", ()) for atom in item if isinstance(atom, tuple)]
    return any(
        np.logical_and.reduce([indices[axis] == at[axis] for axis in _across(layout)], initial=True).any()
        for indices, *_ in atoms
    )


def erased_planes(mask: Labels | None, layout: SliceLayout, region: Region | None = None) -> frozenset[int]:
    """Return the planes that a person has emptied, when a run begins.

    A mask that is empty as a whole is begun anew: there are none, and what was written into it is forgotten.
    """
    if mask is None or not fits(mask, layout):
        return frozenset()
    if not mask.data.any():
        _WRITTEN.pop(mask, None)
        return frozenset()
    return frozenset(n for n in range(layout.planes) if is_erased(mask, layout, n, region))


def fits(mask: Labels, layout: SliceLayout) -> bool:
    """Tell whether a mask layer holds its pixels in memory, in a layout's shape."""
    return isinstance(mask.data, np.ndarray) and mask.data.shape == layout.mask_shape


@dataclass
class KeptSlices:
    """Slices of a mask that a run has left as a person drew them.

    Parameters
    ----------
    pixels : dict of int to int
        How many pixels are marked, by plane.
    """

    pixels: dict[int, int] = field(default_factory=dict)
    _digests: dict[int, int] = field(default_factory=dict)

    def add(self, mask: Labels, layout: SliceLayout, number: int, region: Region | None) -> None:
        """Note a slice as it is."""
        self.pixels[number] = int(np.count_nonzero(labels.pixels(mask, layout, number, region)))
        self._digests[number] = _digest(labels.pixels(mask, layout, number))

    def same(self, mask: Labels, layout: SliceLayout) -> list[int]:
        """Return the slices that have not changed since they were noted."""
        if not fits(mask, layout):
            return []
        return [n for n, was in self._digests.items() if _digest(labels.pixels(mask, layout, n)) == was]

    def confirm(self, mask: Labels) -> None:
        """Remember that the person has been asked about these slices as they are, and keeps them."""
        _CONFIRMED.setdefault(mask, {}).update(self._digests)

    def is_confirmed(self, mask: Labels) -> bool:
        """Tell whether the person has been asked about all of these slices as they are."""
        known = _CONFIRMED.get(mask, {})
        return all(known.get(n) == digest for n, digest in self._digests.items())

    def in_words(self) -> str:
        """Return e.g. "3 slices that you drew (412 pixels)", "" where there are none."""
        count = len(self.pixels)
        return f"{count} slice{'s' * (count != 1)} that you drew ({sum(self.pixels.values())} pixels)" if count else ""


def _digest(now: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(now).tobytes())


def set_reviewed(mask: Labels, layout: SliceLayout, numbers: Collection[int]) -> None:
    """Say which planes, counted as in this layout, are reviewed; those counted along other axes stay."""
    REVIEWED[mask] = frozenset(numbers)
    _REVIEWED.setdefault(mask, {})[_across(layout)] = (layout, frozenset(numbers))


def reviewed_planes(mask: Labels, layout: SliceLayout) -> frozenset[int]:
    """Return the planes of a layout that are reviewed as a whole."""
    known = _REVIEWED.get(mask)
    if known is None:
        return REVIEWED.get(mask, frozenset())
    of, numbers = known.get(_across(layout), (layout, frozenset[int]()))
    return numbers if of.mask_shape == layout.mask_shape else frozenset()


def reviewed_pixels(
    mask: Labels, layout: SliceLayout, number: int, region: Region | None = None
) -> NDArray[np.bool_] | None:
    """Return which pixels (H, W) of a plane are reviewed, along whichever axis; None where none is."""
    found: NDArray[np.bool_] | None = None
    if number in reviewed_planes(mask, layout):
        shape = labels.pixels(mask, layout, number, region).shape
        return np.ones(shape, bool)
    for across, (of, numbers) in _REVIEWED.get(mask, {}).items():
        if across == _across(layout) or of.mask_shape != layout.mask_shape or not numbers:
            continue
        flags = layout.read_plane_region(_volume(of, numbers), number, region)
        if flags.any():
            found = flags.copy() if found is None else found | flags
    return found


def reviewed_in(mask: Labels, box: tuple[slice, ...]) -> NDArray[np.bool_] | None:
    """Return which pixels of a box of a mask layer are reviewed, along whichever axis; None where none is.

    Parameters
    ----------
    box : tuple of slice
        One an axis of the mask.
    """
    found: NDArray[np.bool_] | None = None
    for layout, numbers in _REVIEWED.get(mask, {}).values():
        if layout.mask_shape == tuple(mask.data.shape) and numbers:
            flags = _volume(layout, numbers)[box]
            found = flags if found is None else found | flags
    return found if found is not None and found.any() else None


def _volume(layout: SliceLayout, numbers: frozenset[int]) -> NDArray[np.bool_]:
    """Return which pixels of a mask lie on some of a layout's planes; takes no memory of the mask's size."""
    across = _across(layout)
    flags = np.zeros([layout.mask_shape[axis] for axis in across], bool)
    flags.flat[[n for n in numbers if n < layout.planes]] = True
    shape = [length if axis in across else 1 for axis, length in enumerate(layout.mask_shape)]
    return np.broadcast_to(flags.reshape(shape), layout.mask_shape)


def _across(layout: SliceLayout) -> tuple[int, ...]:
    """Return the axes of the mask that planes are counted over."""
    return tuple(axis for axis, part in enumerate(layout.index(0)) if not isinstance(part, slice))
