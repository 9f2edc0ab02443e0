"""Which reviewed slices are learnt from and which are only scored."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout

TRAIN, HELD_OUT, EMPTY = "train", "held out", "empty"
# Of the reviewed slices with foreground every third is held out.
EVERY = 3


def assign_role(
    foreground: bool, case: Sequence[str], elsewhere: Sequence[str] = (), matching: Sequence[str] = ()
) -> str:
    """Return what a newly reviewed slice is for.

    Parameters
    ----------
    foreground : bool
        Whether anything is drawn there; an empty slice is a true negative and trained on.
    case : sequence of str
        Roles of the case's slices so far: the first of them is always learnt from.
    elsewhere : sequence of str
        Roles of slices in other scans of the person.
    matching : sequence of str
        Roles of slices of other scans that show the same place of the same person.

    Returns
    -------
    str
        The role of its matching slices, if any; otherwise every third slice is held out. A slice that matches both
        kinds is not scored, and `matching.exclude_leaks` keeps it out of training.
    """
    if matching and set(matching) == {HELD_OUT}:
        return HELD_OUT
    if not foreground:
        return EMPTY
    given = [one for one in (*case, *elsewhere) if one != EMPTY]
    due = (given.count(HELD_OUT) + 1) * EVERY <= len(given) + 1
    return HELD_OUT if due and TRAIN in case and not matching else TRAIN


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
