"""The tools beside napari's brush: each changes the mask in one undo step and says what it did."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.postprocess import edit_tools
from napari_unet_tumour.widgets.common.words import slice_label
from napari_unet_tumour.widgets.layers import drawn_pixels, locks

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections

SIMPLE = {"smooth": edit_tools.smooth, "specks": edit_tools.remove_specks, "holes": edit_tools.fill_holes}
DONE = {"smooth": "Smoothed", "specks": "Specks removed", "holes": "Holes filled", "snap": "Outline moved to the edges"}


def apply(name: str, viewer: ViewerModel, session: CaseCorrections, number: int) -> str:
    """Use a tool on a slice and return what it did in words; raises ScanError where it cannot be used."""
    part, plane = session.case.where(number)
    if part.mask is not None:
        locks.check_slice(part.mask, part.layout, plane)
    if name == "between":
        return _fill_between(viewer, session, number)
    mask = session.masks([number])[number]
    new = edit_tools.snap_to_edges(mask, session.case.image(number)[0]) if name == "snap" else SIMPLE[name](mask)
    if part.mask is not None:
        new = locks.may_become(part.mask, mask, new)
    if not session.case.write(viewer, {number: new}):
        return f"{slice_label(number).capitalize()}: nothing to change."
    return f"{DONE[name]} on {slice_label(number)}; undo takes it back."


def _fill_between(viewer: ViewerModel, session: CaseCorrections, number: int) -> str:
    first, last = _ends(session, number)
    known = [first, *(n for n in range(first + 1, last) if _is_drawn(session, n)), last]
    changes: dict[int, NDArray[np.uint8]] = {}
    for lower, upper in pairwise(known):
        ends = session.masks([lower, upper])
        images = [session.case.image(n) for n in range(lower, upper + 1)]
        new = edit_tools.interpolate_slices(ends[lower], ends[upper], upper - lower - 1, images)
        changes |= {n: _over(session, n, mask) for n, mask in zip(range(lower + 1, upper), new, strict=True)}
    if not changes:
        raise ScanError(_nothing_between(first, last))
    session.case.write(viewer, changes)
    kept = "" if len(known) == 2 else f" Kept as they were: {', '.join(str(n + 1) for n in known[1:-1])}."
    drawn = f"Slices {min(changes) + 1} to {max(changes) + 1} drawn between {first + 1} and {last + 1}"
    return f"{drawn}; one undo takes them back.{kept}"


def _is_drawn(session: CaseCorrections, number: int) -> bool:
    """Tell whether a slice shows what the network did not write, e.g. what was in the mask's file."""
    part, plane = session.case.where(number)
    return part.mask is not None and drawn_pixels.is_drawn(part.mask, part.layout, plane)


def _nothing_between(first: int, last: int) -> str:
    return f"There is no slice to fill between {first + 1} and {last + 1}: go to a slice that lies between"


def _over(session: CaseCorrections, number: int, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    now = session.masks([number])[number]
    of = session.case.where(number)[0].mask
    new = np.where(now == UNSURE, now, mask)
    return new if of is None else locks.may_become(of, now, new)


def _ends(session: CaseCorrections, number: int) -> tuple[int, int]:
    """Return the nearest corrected slices on either side that both have something drawn."""
    part = session.case.where(number)[0]
    numbers = range(part.first, part.first + part.layout.planes)
    drawn = [n for n in numbers if (session.is_edited(n) or session.is_reviewed(n)) and session.case.pixels(n).any()]
    # On a corrected slice itself: from it to the next one, else from the one before it.
    before = [n for n in drawn if n < number or (n == number and any(one > n for one in drawn))]
    after = [n for n in drawn if n > (before[-1] if before else number)]
    if not before or not after:
        raise ScanError("There are no two corrected slices around this one: correct one on either side first")
    first, last = before[-1], after[0]
    if last - first < 2 or any(session.is_reviewed(n) for n in range(first + 1, last)):
        raise ScanError(_nothing_between(first, last))
    return first, last
