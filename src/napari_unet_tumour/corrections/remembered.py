"""What a fine-tuned model's file keeps of the corrections that it has learnt from: masks, by content of their slices.

With them it answers its own scan, wherever that is segmented, as it did when the person accepted it. Images are not
kept: a slice is known again by a checksum of its pixels.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.corrections.stack import ScanStack, checksum

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.corrections.reviewed import ReviewedSlice

# The header of a model file holds no more than this many characters of it; the oldest stack goes first.
MOST = 200_000


@dataclass(frozen=True, eq=False)
class Recalled:
    """A stack that a model has learnt from, found again among planes.

    Parameters
    ----------
    stack : ScanStack
        With those of its planes that are there.
    places : dict of int to int
        Where its slices are among the planes, by number.
    masks : dict of int to numpy.ndarray
        (H, W) uint8 labels of the corrected slices that are there.
    """

    stack: ScanStack
    places: dict[int, int]
    masks: dict[int, NDArray[np.uint8]]


def remember(
    stacks: Sequence[ScanStack], corrections: Sequence[ReviewedSlice], before: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Return what a model file keeps, as JSON takes it.

    Parameters
    ----------
    stacks : sequence of ScanStack
        What the corrected slices are from.
    corrections : sequence of ReviewedSlice
        Those that were learnt from; slices that are only scored do not belong here.
    before : sequence of dict
        What the parent's file keeps; stacks that are corrected anew take the place of their earlier ones.
    """
    made = [_entry(stack, {one.slice: one.mask for one in corrections if one.scan == stack.scan}) for stack in stacks]
    made = [one for one in made if one["masks"]]
    new = {digest for one in made for digest in one["planes"].values()}
    kept = [dict(one) for one in before if new.isdisjoint(one["planes"].values())] + made
    while kept and len(json.dumps(kept)) > MOST:
        kept.pop(0)
    return kept


def recall(kept: Sequence[Mapping[str, Any]], planes: NDArray[Any]) -> list[Recalled]:
    """Return the stacks of a model file with corrected slices among these planes (N, C, H, W)."""
    if not kept:
        return []
    at: dict[str, int] = {}
    for n, plane in enumerate(planes):
        at.setdefault(checksum(plane), n)
    found = [_recalled(one, at, planes) for one in kept]
    return [one for one in found if one.masks]


def learnt_slices(kept: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the checksums (`stack.checksum`) of the slices that a model was fine-tuned on."""
    return {one["planes"][n] for one in kept for n in one["masks"] if n in one["planes"]}


def _recalled(kept: Mapping[str, Any], at: Mapping[str, int], planes: NDArray[Any]) -> Recalled:
    places = {int(n): at[digest] for n, digest in kept["planes"].items() if digest in at}
    unpacked = {int(n): _unpacked(text, planes.shape[2:]) for n, text in kept["masks"].items() if int(n) in places}
    masks = {n: mask for n, mask in unpacked.items() if mask is not None}
    row, column, step = kept["spacing"]
    grey = {n: planes[place] for n, place in places.items()}
    return Recalled(ScanStack("", kept["first"], kept["count"], (row, column, step), grey), places, masks)


def _entry(stack: ScanStack, masks: Mapping[int, NDArray[np.uint8]]) -> dict[str, Any]:
    often = Counter(stack.checksums.values())  # blank slices look alike
    return {
        "first": stack.first,
        "count": stack.count,
        "spacing": list(stack.spacing),
        "planes": {str(n): one for n, one in stack.checksums.items() if often[one] == 1},
        "masks": {str(n): _packed(mask) for n, mask in masks.items() if n in stack.checksums},
    }


def _packed(mask: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(mask, np.uint8).tobytes(), 9)).decode()


def _unpacked(text: str, shape: Sequence[int]) -> NDArray[np.uint8] | None:
    """Return a mask; None where it is not of this shape."""
    size = int(np.prod(shape))
    data = zlib.decompressobj().decompress(base64.b64decode(text), size + 1)
    return np.frombuffer(data, np.uint8).reshape(shape) if len(data) == size else None
