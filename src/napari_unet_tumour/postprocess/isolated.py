"""Pieces of a mask that one plane of a volume shows and its neighbours do not.

A lesion goes on through the slices as far as it is wide. A network that looks at slices one by one paints healthy
parts that shine on a single slice, above all the pituitary gland; what is wider than twice the distance of the
slices and shows on one of them alone is none. A small lesion between thick slices stays.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import Region, SliceLayout

    Piece = tuple[Region, NDArray[np.bool_]]

# Width, in distances of the planes, up to which a lesion may lie between them.
FLAT = 2.0
# How far beside a piece its neighbours are looked at: a share of its width, or one distance of the planes.
BESIDE = 0.25
# A volume's mask hangs together; where most slices stand alone, the planes are a stack of unrelated pictures.
FEW, MOST = 2, 0.5
# Pixels of a plane up to which it is looked at.
LARGEST = 1 << 24


def remove_isolated_components(
    mask: Any, layout: SliceLayout, planes: Iterable[int] | None = None, fixed: Collection[int] = frozenset()
) -> int:
    """Remove the pieces that one plane alone shows, and return how many they were.

    Parameters
    ----------
    mask : array-like
        uint8 of `layout.mask_shape`, numpy or zarr; three planes are read at a time.
    layout : Layout
        Nothing is removed where its `depth` is 0.
    planes : iterable of int, optional
        Those that are segmented, all by default. A piece beside one that is not, or on the first or last, stays.
    fixed : collection of int
        Planes that a person has drawn: they are neighbours like the others, and stay as they are.
    """
    known = frozenset(range(layout.planes) if planes is None else planes) | frozenset(fixed)
    if not layout.slice_distance or len(known) < 3 or math.prod(layout.plane_shape) > LARGEST:
        return 0
    shown, isolated = 0, dict[int, list["Piece"]]()
    for n, here, beside in _iter_planes(mask, layout, known):
        shown += 1
        found = list(_is_isolated(here, beside, layout.slice_distance)) if len(beside) == 2 and n not in fixed else []
        if found:
            isolated[n] = found
    if len(isolated) > max(FEW, MOST * shown):
        return 0
    for n, pieces in isolated.items():
        for region, piece in pieces:
            layout.write_plane(mask, n, np.where(piece, 0, layout.read_plane_region(mask, n, region)), region)
    return sum(map(len, isolated.values()))


def _iter_planes(
    mask: Any, layout: SliceLayout, known: frozenset[int]
) -> Iterator[tuple[int, NDArray[np.bool_], list[NDArray[np.bool_]]]]:
    """Yield every plane with a mask: its number, where the mask is, and the same of its known neighbours."""
    row = layout.shape[layout.slice_axes[-1]]
    held: dict[int, NDArray[np.bool_]] = {}
    for n in sorted(known):
        near = [m for m in (n - 1, n, n + 1) if m in known and m // row == n // row]
        held = {m: held[m] if m in held else np.asarray(layout.read_plane_region(mask, m) > 0) for m in near}
        if held[n].any():
            yield n, held[n], [held[m] for m in near if m != n]


def _is_isolated(here: NDArray[np.bool_], beside: Sequence[NDArray[np.bool_]], depth: float) -> Iterator[Piece]:
    from scipy import ndimage  # takes half a second

    pieces, _ = ndimage.label(here, np.ones((3, 3)))
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        piece = pieces[box] == number
        width = 2 * math.sqrt(np.count_nonzero(piece) / math.pi)
        if width <= FLAT * depth:
            continue
        reach = math.ceil(max(depth, BESIDE * width))
        wide = tuple(
            slice(max(0, at.start - reach), min(size, at.stop + reach))
            for at, size in zip(box, here.shape, strict=True)
        )
        near = ndimage.distance_transform_edt(pieces[wide] != number) <= reach
        if not any((one[wide] & near).any() for one in beside):
            yield box, piece
