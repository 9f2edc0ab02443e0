"""Clicks on one slice -> the lesion in the whole volume: each slice's answer guides the next one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet_tumour.clicks.answer import INSIDE, Known, answer
from napari_unet_tumour.clicks.picture import likeness, robust, robust_range
from napari_unet_tumour.clicks.window import UNITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.clicks.answer import Click, Net

    Mask = NDArray[np.bool_]

# A lesion has ended where less than this share of the slice before is left, or fewer pixels than this of 256 x 256.
LEFT, SMALLEST = 0.15, 8
# And where less than this share of it looks more like the clicked lesion than like what is around that.
ALIKE = 0.5
# How far the next slice's lesion may reach beyond this one's, in `UNITS`, and as a share of its size.
BEYOND, WIDER = 4.0, 0.25
# What is around a lesion lies so far from it, in `UNITS`.
GAP, AROUND = 1.5, 7.0


def iter_outline(
    net: Net,
    read: Callable[[int], NDArray[Any]],
    count: int,
    start: int,
    clicks: Sequence[Click],
    known: Callable[[int], Known] | None = None,
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Outline a lesion in neighbouring slices, first upwards, then downwards, until it ends.

    Parameters
    ----------
    net : callable
        As `answer.answer` takes it.
    read : callable
        Number of a slice -> its pixels (H, W).
    count : int
        Slices of the volume.
    start : int
        The slice with the clicks.
    clicks : sequence of Click
        On that slice, at least one that adds.
    known : callable, optional
        Number of a slice -> what else is known of it, its automatic answer above all.

    Yields
    ------
    tuple
        Number of a slice, and its answer (H, W) uint8, inside from 128 on; the clicked slice first.
    """
    known = known or (lambda n: Known())
    plane = read(start)
    scale = robust_range(plane)
    first = answer(net, plane, clicks, known(start), scale.of(plane))
    yield start, first
    lesion = _meant(first >= INSIDE, clicks, known(start).region)
    own = _guided(Known(), lesion, scale.of(plane))
    for way in (1, -1):
        mask, grey = lesion, scale.of(plane)
        for n in range(start + way, count if way > 0 else -1, way):
            there = read(n)
            if not mask.any() or not robust(there).any():
                break
            guided = _guided(known(n), mask, grey)
            grey = scale.of(there)
            found = answer(net, there, (), guided, grey)
            new = _continued(found >= INSIDE, mask)
            if new.sum() < max(LEFT * mask.sum(), SMALLEST * (max(mask.shape) / UNITS) ** 2):
                break
            if _alike(grey, new, own) < ALIKE:
                break
            mask = new
            yield n, np.where(new, found, np.minimum(found, INSIDE - 1))


def _meant(mask: Mask, clicks: Sequence[Click], region: Mask | None) -> Mask:
    """Return the pieces of a mask that were clicked, or lie in the rough region."""
    pieces, _ = ndimage.label(mask, np.ones((3, 3)))
    wanted = {int(pieces[c.row, c.column]) for c in clicks if c.sign > 0}
    if region is not None:
        wanted |= set(np.unique(pieces[region]).tolist())
    return np.isin(pieces, sorted(wanted - {0}))


def _guided(known: Known, mask: Mask, grey: NDArray[np.float32]) -> Known:
    """Return what is known of a slice, with the lesion's place and grey values on the slice before."""
    # The outline itself may be a pixel off.
    gap, wide = (ndimage.distance_transform_edt(~mask) > away * max(mask.shape) / UNITS for away in (GAP, AROUND))
    ring = gap & ~wide
    return replace(known, region=mask, like=grey[mask], unlike=grey[ring])


def _alike(grey: NDArray[np.float32], mask: Mask, own: Known) -> float:
    """Return the share of a mask's pixels that are more like the clicked lesion than like what is around it."""
    assert own.like is not None
    assert own.unlike is not None
    values = grey[mask][None]
    return float((likeness(values, own.like) > likeness(values, own.unlike)).mean())


def _continued(found: Mask, before: Mask) -> Mask:
    """Return the pieces that go on from the slice before, as far as a lesion may have grown."""
    unit = max(found.shape) / UNITS
    reach = BEYOND * unit + WIDER * np.sqrt(before.sum())
    found = found & (ndimage.distance_transform_edt(~before) <= reach)
    pieces, _ = ndimage.label(found, np.ones((3, 3)))
    touching = np.unique(pieces[before])
    return np.isin(pieces, touching[touching > 0])
