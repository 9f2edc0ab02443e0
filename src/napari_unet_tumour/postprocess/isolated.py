"""Remove components of a mask that only one slice of a volume shows.

A lesion extends through the slices about as far as it is wide. A 2D network marks bright healthy structures on single
slices, above all the pituitary gland. A component that is wider than twice the slice distance and shows on one slice
only is no lesion. A small lesion between thick slices stays.
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

# Width in slice distances up to which a lesion may be visible on one slice only.
FLAT = 2.0
# How far from a component the neighbouring slices are searched: a fraction of its width, at least one slice distance.
BESIDE = 0.25
# If more than so many slices, and more than this fraction of them, have isolated components, the planes are probably a
# stack of unrelated images and nothing is removed.
FEW, MOST = 2, 0.5
# Larger planes (in pixels) are not checked.
LARGEST = 1 << 24


def remove_isolated_components(
    mask: Any, layout: SliceLayout, planes: Iterable[int] | None = None, fixed: Collection[int] = frozenset()
) -> int:
    """Remove the components that only one plane shows, and return their number.

    Parameters
    ----------
    mask : array-like
        uint8 of `layout.mask_shape`, numpy or zarr; three planes are read at a time.
    layout : SliceLayout
        Nothing is removed if its `slice_distance` is 0.
    planes : iterable of int, optional
        The segmented planes, all by default. A component stays if its plane is the first or last, or beside one that
        is not segmented.
    fixed : collection of int
        Planes that a person has drawn: they count as neighbours, and are not changed.
    """
    known = frozenset(range(layout.planes) if planes is None else planes) | frozenset(fixed)
    if not layout.slice_distance or len(known) < 3 or math.prod(layout.plane_shape) > LARGEST:
        return 0
    shown, isolated = 0, dict[int, list["Piece"]]()
    for n, here, beside in _iter_planes(mask, layout, known):
        shown += 1
        found = list(_isolated(here, beside, layout.slice_distance)) if len(beside) == 2 and n not in fixed else []
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
    """Yield every plane with foreground: its number, its foreground, and that of its known neighbours."""
    row = layout.shape[layout.slice_axes[-1]]
    held: dict[int, NDArray[np.bool_]] = {}
    for n in sorted(known):
        near = [m for m in (n - 1, n, n + 1) if m in known and m // row == n // row]
        held = {m: held[m] if m in held else np.asarray(layout.read_plane_region(mask, m) > 0) for m in near}
        if held[n].any():
            yield n, held[n], [held[m] for m in near if m != n]


def _isolated(here: NDArray[np.bool_], beside: Sequence[NDArray[np.bool_]], distance: float) -> Iterator[Piece]:
    """Yield the components of a plane that its two neighbours do not show."""
    from scipy import ndimage  # takes half a second

    pieces, _ = ndimage.label(here, np.ones((3, 3)))
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        piece = pieces[box] == number
        width = 2 * math.sqrt(np.count_nonzero(piece) / math.pi)
        if width <= FLAT * distance:
            continue
        reach = math.ceil(max(distance, BESIDE * width))
        wide = tuple(
            slice(max(0, at.start - reach), min(size, at.stop + reach))
            for at, size in zip(box, here.shape, strict=True)
        )
        near = ndimage.distance_transform_edt(pieces[wide] != number) <= reach
        if not any((one[wide] & near).any() for one in beside):
            yield box, piece
