"""Reviewed slices: the truth that a network is fine-tuned on, and what supports its answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_unet_tumour.corrections.stack import ScanStack


@dataclass(frozen=True, eq=False)
class ReviewedSlice:
    """One reviewed slice.

    Parameters
    ----------
    scan : str
        Content id of the scan it is of (see `scan_id`); the same wherever the file lies.
    slice : int
        Number of the plane in its scan's layout.
    image : numpy.ndarray
        (C, H, W) raw grey values as the scan stores them, any real type.
    mask : numpy.ndarray
        (H, W) uint8 label values; `UNSURE` (255) = not looked at or not sure: ignored in training and scores.
    held_out : bool
        Kept for before/after scores only, never trained on.
    person : str
        Whose scan it is where known (an id, never a name), else "".
    stack : ScanStack, optional
        Its neighbours, where it has any: what is corrected is carried to them.
    """

    scan: str
    slice: int
    image: NDArray[Any]
    mask: NDArray[Any]
    held_out: bool = False
    person: str = ""
    stack: ScanStack | None = None


@dataclass(frozen=True, eq=False)
class ReviewedContext:
    """What a person has corrected in the scan that some planes are from.

    Parameters
    ----------
    numbers : sequence of int
        Which planes of the scan are segmented, in their order; 0, 1, ... where empty.
    masks : dict of int to numpy.ndarray
        (H, W) uint8 label values of corrected planes, by number; `UNSURE` pixels say nothing.
    recall : bool
        Whether corrections that the model's file keeps count where `masks` is empty.
    """

    numbers: Sequence[int] = ()
    masks: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    recall: bool = True


def with_stacks(corrections: Iterable[ReviewedSlice], stacks: Iterable[ScanStack]) -> list[ReviewedSlice]:
    """Return corrections that know their neighbours."""
    by_place = {(stack.scan, n): stack for stack in stacks for n in range(stack.first, stack.first + stack.count)}
    return [replace(one, stack=by_place.get((one.scan, one.slice))) for one in corrections]
