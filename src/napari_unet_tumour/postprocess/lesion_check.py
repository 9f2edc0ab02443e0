"""Remove lesions that the slices together show to be unlikely.

A model's classifier limits the highest probability of each component of a slice to 1/2 + likelihood/2, see
`component_classifier.limits`. Components of neighbouring slices that lie on each other are one lesion. It stays if its
components are more likely a tumour than not, on average. A component that one slice alone shows is left to
`postprocess.isolated`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.postprocess.isolated import FEW, LARGEST, MOST

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.settings import SegmentSettings

# Mean of the highest probabilities of a lesion's components below which it is removed: a likelihood of one half.
LEAST = 0.75
# With a lower threshold than this the user wants to see less likely lesions too, and less is asked in proportion.
USUAL = 0.5


@dataclass(frozen=True)
class _Piece:
    """A component of a plane: its number there, its highest probability, and whether a drawn neighbour touches it."""

    plane: int
    number: int
    highest: float
    fixed: bool


def remove_unlikely_lesions(
    mask: Any,
    layout: SliceLayout,
    probability: Callable[[int], NDArray[np.uint8]],
    settings: SegmentSettings,
    planes: Iterable[int] | None = None,
    fixed: Collection[int] = frozenset(),
) -> int:
    """Remove the unlikely lesions of a mask, and return their number.

    Parameters
    ----------
    mask : array-like
        uint8 of `layout.mask_shape`.
    layout : SliceLayout
        Nothing is removed if its `slice_distance` is 0, or from a stack of unrelated pictures, see
        `postprocess.isolated`.
    probability : callable
        Returns the probability (L, H, W) uint8 of a plane, limited by the classifier.
    planes : iterable of int, optional
        The segmented planes, all by default.
    fixed : collection of int
        Planes that a person has drawn: lesions that reach into them stay.
    """
    known = sorted(frozenset(range(layout.planes) if planes is None else planes) - frozenset(fixed))
    if not layout.slice_distance or len(known) < 2 or math.prod(layout.plane_shape) > LARGEST:
        return 0
    lesions = _lesions(mask, layout, probability, known, frozenset(fixed))
    marked = {piece.plane for one in lesions for piece in one}
    alone = {one[0].plane for one in lesions if len(one) == 1}
    if len(alone) > max(FEW, MOST * len(marked)):
        return 0
    least = 255 * LEAST * min(1.0, settings.threshold / USUAL)
    wrong = [one for one in lesions if _is_unlikely(one, least)]
    gone: dict[int, list[int]] = {}
    for piece in chain.from_iterable(wrong):
        gone.setdefault(piece.plane, []).append(piece.number)
    for n, numbers in gone.items():
        plane = np.asarray(layout.read_plane_region(mask, n))
        layout.write_plane(mask, n, np.where(np.isin(_label(plane > 0), numbers), 0, plane))
    return len(wrong)


def _is_unlikely(lesion: list[_Piece], least: float) -> bool:
    if len({piece.plane for piece in lesion}) == 1 or any(piece.fixed for piece in lesion):
        return False
    return sum(piece.highest for piece in lesion) / len(lesion) < least


def _lesions(
    mask: Any,
    layout: SliceLayout,
    probability: Callable[[int], NDArray[np.uint8]],
    known: list[int],
    fixed: frozenset[int],
) -> list[list[_Piece]]:
    """Return the components of the planes, those that lie on each other in neighbouring planes together."""
    from scipy.sparse import coo_array, csgraph  # takes half a second

    row = layout.shape[layout.slice_axes[-1]]
    found: list[_Piece] = []
    pairs: list[tuple[int, int]] = []
    places: dict[tuple[int, int], int] = {}
    last, below = -2, np.zeros(layout.plane_shape, np.int32)
    for n in known:
        pieces = _label(np.asarray(layout.read_plane_region(mask, n)) > 0)
        drawn = [m for m in (n - 1, n + 1) if m in fixed and m // row == n // row]
        for number, highest in enumerate(_highest(probability, n, pieces), start=1):
            places[n, number] = len(found)
            found.append(_Piece(n, number, highest, any(_touches(mask, layout, m, pieces == number) for m in drawn)))
        if last == n - 1 and last // row == n // row:
            pairs += [(places[last, a], places[n, b]) for a, b in _touching(below, pieces, layout.slice_distance)]
        last, below = n, pieces
    if not found:
        return []
    ends = np.array(pairs, int).reshape(-1, 2).T
    linked = coo_array((np.ones(ends.shape[1]), tuple(ends)), (len(found), len(found)))
    number_of = csgraph.connected_components(linked, directed=False)[1]
    return [[piece for piece, own in zip(found, number_of, strict=True) if own == n] for n in np.unique(number_of)]


def _highest(probability: Callable[[int], NDArray[np.uint8]], n: int, pieces: NDArray[np.int32]) -> list[float]:
    from scipy import ndimage

    count = int(pieces.max(initial=0))
    return [float(v) for v in ndimage.maximum(probability(n).max(axis=0), pieces, range(1, count + 1))] if count else []


def _touching(below: NDArray[np.int32], above: NDArray[np.int32], distance: float) -> list[tuple[int, int]]:
    """Return which components of two neighbouring planes lie within a slice distance of each other."""
    from scipy import ndimage

    if not (below.any() and above.any()):
        return []
    away, nearest = ndimage.distance_transform_edt(below == 0, return_indices=True)
    near = (above > 0) & (away <= max(1.0, distance))
    return sorted(set(zip(below[tuple(nearest)][near].tolist(), above[near].tolist(), strict=True)))


def _touches(mask: Any, layout: SliceLayout, n: int, piece: NDArray[np.bool_]) -> bool:
    return bool((np.asarray(layout.read_plane_region(mask, n)) > 0)[piece].any())


def _label(marked: NDArray[np.bool_]) -> NDArray[np.int32]:
    from scipy import ndimage

    pieces: NDArray[np.int32] = ndimage.label(marked, np.ones((3, 3)))[0]
    return pieces
