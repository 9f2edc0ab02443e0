"""What the Correct and fine-tune widget says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.base.labels import UNSURE
from napari_unet_tumour.models import registry
from napari_unet_tumour.widgets.common.keys import NEXT_KEY, TICK_KEY
from napari_unet_tumour.widgets.common.words import slice_label
from napari_unet_tumour.widgets.correct.slice_strip_view import shown_name
from napari_unet_tumour.widgets.layers.image_source import KEY
from napari_unet_tumour.widgets.layers.label_values import Values, values_of

if TYPE_CHECKING:
    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections
    from napari_unet_tumour.widgets.correct.state import CorrectState


def place(state: CorrectState) -> str:
    """Return where the person is in the scan, "" while no case is open."""
    session, number = state.corrections, state.slice
    if session is None or number is None:
        return "" if session is None else "No slice of this scan is on screen."
    reviewed = session.reviewed()
    held = sum(session.is_held_out(n) for n in reviewed)
    name = shown_name(session.state(number).name)
    counts = f"{len(reviewed)} reviewed" + (f", {held} of them kept for scoring" if held else "")
    return f"Slice {number + 1} of {len(session.case)}: {name}. {counts}."


def ticked(session: CaseCorrections, number: int) -> str:
    """Return what a tick means for a slice."""
    name = slice_label(number).capitalize()
    if session.is_held_out(number):
        return f"{name}: reviewed, and kept for scoring: the network never learns from it."
    return f"{name}: reviewed. The network may learn from it."


def why(session: CaseCorrections, number: int) -> str:
    """Return why a slice is the one most worth correcting, in words: what it shows, and how unsure the network is."""
    area, unsure = _marked(session, number), session.unsure[number]
    reasons = []
    if area:
        reasons.append(f"{area} pixels of tumour shown")
    if unsure >= 1:
        reasons.append(f"about {unsure:.0f} pixels may be wrong")
    gaps = [abs(number - n) for n in session.reviewed()]
    if gaps and min(gaps) > 1:
        reasons.append(f"{min(gaps)} slices from the nearest reviewed one")
    return (", ".join(reasons) or "not reviewed yet") + "."


def _marked(session: CaseCorrections, number: int) -> int:
    """Return how many pixels of a slice's mask are a label, as it is shown."""
    part, plane = session.case.where(number)
    shown = part.pixels(plane)
    one_label = part.mask is not None and values_of(part.mask) is Values.ONE_LABEL
    return int(np.count_nonzero(shown if one_label else (shown != 0) & (shown != UNSURE)))


def out_of_reach(session: CaseCorrections, number: int) -> str:
    """Return what to do where napari has no position of the sliders that shows a slice."""
    metadata = session.case.where(number)[0].image.metadata
    first = "" if "grid" in metadata.get(KEY, {}) else "open its file with napari-unet-tumour, then "
    return (
        f"{slice_label(number).capitalize()} cannot be brought on screen, since the scan lies oblique in the window: "
        f"{first}use Layers > Transform > Straighten"
    )


def welcome(session: CaseCorrections) -> str:
    """Return what to do first."""
    if session.kept:
        return "This scan was corrected before: restore that, or go on."
    masks = session.case.masks()
    if not masks:
        return f"{session.doubt} There is no mask yet: press Segment.".lstrip()
    if any(values_of(mask) is Values.ONE_LABEL for mask in masks):
        return f"The mask has only 0 and 255: 255 counts as label 1. Correct a slice, then press {TICK_KEY}."
    return f"Correct a slice with the brush, then press {TICK_KEY}. {NEXT_KEY} goes to the slice to correct next."


def lineage(entry: ModelEntry) -> str:
    """Return a model's line of parents and what it is for."""
    line = " ← ".join(one.name for one in registry.lineage(entry))
    return f"{line}\n{entry.spec.description}"
