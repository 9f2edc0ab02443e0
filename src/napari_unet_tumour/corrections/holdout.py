"""What a reviewed slice is for, learnt from or only scored: one answer in all the scans of a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.corrections.record import Record
    from napari_unet_tumour.corrections.reviewed import ReviewedSlice

TRAIN, HELD_OUT, EMPTY = "train", "held out", "empty"
# Of the reviewed slices with foreground every third is held out.
EVERY = 3
# Cosine from which two stacks run the same way (within 18 degrees).
ALONG = 0.95


def assign_role(foreground: bool, case: Sequence[str], elsewhere: Sequence[str] = (), twins: Sequence[str] = ()) -> str:
    """Return what a newly reviewed slice is for.

    Parameters
    ----------
    foreground : bool
        Whether anything is drawn there; an empty slice is a true negative and trained on.
    case : sequence of str
        Roles of the case's slices so far: the first of them is always learnt from.
    elsewhere : sequence of str
        Roles of slices in other scans of the person.
    twins : sequence of str
        Roles of slices of other scans that show the same place of the same person.

    Returns
    -------
    str
        Where it has twins, what they are for; else every third is held out. With twins of both kinds it is neither
        scored nor, thanks to `apart`, trained on.
    """
    if twins and set(twins) == {HELD_OUT}:
        return HELD_OUT
    if not foreground:
        return EMPTY
    given = [one for one in (*case, *elsewhere) if one != EMPTY]
    due = (given.count(HELD_OUT) + 1) * EVERY <= len(given) + 1
    return HELD_OUT if due and TRAIN in case and not twins else TRAIN


def place_of(affine: NDArray[np.float64], axes: str, units: str, layout: SliceLayout) -> list[float]:
    """Return where a stack's planes lie, to find the same place in other scans of a person.

    Parameters
    ----------
    affine : numpy.ndarray
        (4, 4) index -> place of the spatial axes, as `Scan` has it.
    axes : str
        A letter per axis of the mask.
    units : str
        "mm"; anything else is no place.
    layout : Layout
        How planes are counted.

    Returns
    -------
    list of float
        Centre of plane 0 and the step to the next, each (z, y, x) in mm; empty where a place is not known, or planes
        are counted over more than one axis.
    """
    at = layout.index(0)
    across = [n for n, one in enumerate(at) if isinstance(one, int)]
    if units != "mm" or len(affine) != 4 or len(across) != 1 or axes[across[0]] not in "zyx":
        return []
    space = [n for n, letter in enumerate(axes) if letter in "zyx"]
    middle = [0.0 if n == across[0] else (layout.mask_shape[n] - 1) / 2 for n in space]
    centre = affine @ [*middle, 1.0]
    return [float(v) for v in (*centre[:3], *affine[:3, space.index(across[0])])]


def matching_slices(record: Record, plane: int, other: Record) -> list[int]:
    """Return the planes of another scan of the same person that show what a plane of this one shows.

    Their places tell where both are known: parallel planes, not more than half a slice (of the thicker ones) apart.
    Else the plane of the same number, where both stacks have the same shape.
    """
    if not record.person or record.person != other.person or record.scan == other.scan:
        return []
    if not (record.place and other.place):
        return [plane] if record.shape == other.shape and record.planes > 1 else []
    here, step = np.array(record.place).reshape(2, 3)
    there, pace = np.array(other.place).reshape(2, 3)
    own, others = float(np.linalg.norm(step)), float(np.linalg.norm(pace))
    if abs(step @ pace) < ALONG * own * others:
        return []
    at = (here + plane * step - there) @ pace / others**2
    reach = max(own / others, 1.0) / 2 + 1e-6
    return [n for n in range(other.planes) if abs(n - at) <= reach]


def matching_roles(record: Record, plane: int, others: Iterable[Record]) -> list[str]:
    """Return the roles that the twins of a slice have in other scans."""
    return [other.roles[n] for other in others for n in matching_slices(record, plane, other) if n in other.roles]


def exclude_leaks(corrections: Iterable[ReviewedSlice], records: Iterable[Record]) -> list[ReviewedSlice]:
    """Return corrections without those to learn from whose twin is held out in another scan."""
    known = {one.scan: one for one in records}

    def leaks(one: ReviewedSlice) -> bool:
        record = known.get(one.scan)
        return record is not None and HELD_OUT in matching_roles(record, one.slice, known.values())

    return [one for one in corrections if one.held_out or not leaks(one)]
