"""What no stroke changes: reviewed slices, and labels that a person has locked. Kept by layer while it is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.widgets.common.keys import LOCK_KEY, TICK_KEY
from napari_unet_tumour.widgets.layers.drawn_pixels import reviewed_in, reviewed_planes

if TYPE_CHECKING:
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout

_LABELS: WeakKeyDictionary[Labels, frozenset[int]] = WeakKeyDictionary()

REVIEWED_REFUSAL = (
    f"A reviewed slice is locked: take its mark back ({TICK_KEY} in the Correct panel), draw, and mark it again."
)


def label_refusal(label: int) -> str:
    """Say that a label is locked, and how to go on."""
    return f"Label {label} is locked: select it and press {LOCK_KEY} to unlock it, or draw with another label."


def locked_labels(mask: Labels) -> frozenset[int]:
    """Return the labels of a mask that are locked."""
    return _LABELS.get(mask, frozenset())


def lock_label(mask: Labels, label: int, on: bool) -> None:
    """Lock a label of a mask, or unlock it; the background is never locked."""
    if label:
        known = locked_labels(mask)
        _LABELS[mask] = known | {label} if on else known - {label}


def renumber_locked(mask: Labels, numbers: dict[int, int]) -> None:
    """Follow labels that have got other numbers in a layer."""
    if mask in _LABELS:
        _LABELS[mask] = frozenset(numbers.get(label, label) for label in _LABELS[mask])


def check_label(mask: Labels, label: int) -> None:
    """Raise ScanError where a label of a mask is locked: no tool and no click changes it."""
    if label in locked_labels(mask):
        raise ScanError(label_refusal(label))


def check_slice(mask: Labels, layout: SliceLayout, plane: int) -> None:
    """Raise ScanError where a plane of a mask is reviewed: no tool and no click changes it."""
    if plane in reviewed_planes(mask, layout):
        raise ScanError(REVIEWED_REFUSAL)


def may_change(
    mask: Labels, box: tuple[slice, ...], now: NDArray[Any], label: int, reviewed: bool = True
) -> NDArray[np.bool_] | None:
    """Return which pixels of a box of a mask may become a label; None: all of them.

    Parameters
    ----------
    box : tuple of slice
        One an axis of the mask, with start and stop.
    now : numpy.ndarray
        What the box holds, with all axes of the mask.
    label : int
        What is drawn; 0 erases.
    reviewed : bool
        Whether reviewed slices are locked, too.
    """
    locked = locked_labels(mask)
    if label in locked:
        return np.zeros(now.shape, bool)
    flags = reviewed_in(mask, box) if reviewed else None
    free = None if flags is None else ~flags
    if locked:
        kept = ~np.isin(now, list(locked))
        free = kept if free is None else free & kept
    return free


def may_become(mask: Labels, now: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
    """Return a new plane of a mask with the pixels as they are that hold or would get a locked label."""
    locked = list(locked_labels(mask))
    if not locked:
        return new
    return np.where(np.isin(now, locked) | np.isin(new, locked), now, new)
