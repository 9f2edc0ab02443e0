"""The tools beside napari's brush: each changes the mask in one undo step and says what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.postprocess import edit_tools
from napari_unet_tumour.widgets.common.words import slice_label

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_unet_tumour.widgets.correct.state import CorrectState

SIMPLE = {"smooth": edit_tools.smooth, "specks": edit_tools.remove_specks, "holes": edit_tools.fill_holes}
DONE = {"smooth": "Smoothed", "specks": "Specks removed", "holes": "Holes filled", "snap": "Outline moved to the edges"}


def apply(name: str, viewer: ViewerModel, session: CorrectState, number: int) -> str:
    """Use a tool on a slice and return what it did in words; raises ScanError where it cannot be used."""
    if name == "between":
        return _fill_between(viewer, session, number)
    mask = session.masks([number])[number]
    new = edit_tools.snap_to_edges(mask, session.case.image(number)[0]) if name == "snap" else SIMPLE[name](mask)
    if not session.case.write(viewer, {number: new}):
        return f"{slice_label(number).capitalize()}: nothing to change."
    return f"{DONE[name]} on {slice_label(number)}; undo takes it back."


def _fill_between(viewer: ViewerModel, session: CorrectState, number: int) -> str:
    first, last = _ends(session, number)
    ends = session.masks([first, last])
    new = edit_tools.interpolate_slices(ends[first], ends[last], last - first - 1)
    changes = {n: _over(session, n, mask) for n, mask in zip(range(first + 1, last), new, strict=True)}
    session.case.write(viewer, changes)
    return f"Slices {first + 2} to {last} drawn between {first + 1} and {last + 1}; one undo takes them back."


def _over(session: CorrectState, number: int, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    now = session.masks([number])[number]
    return np.where(now == UNSURE, now, mask)


def _ends(session: CorrectState, number: int) -> tuple[int, int]:
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
        raise ScanError(
            f"There is no slice to fill between {first + 1} and {last + 1}: go to a slice that lies between"
        )
    return first, last
