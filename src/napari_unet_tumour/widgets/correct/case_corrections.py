"""The corrections of the case on screen: ticks, hold-out, what an earlier session left; knows no Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.corrections import UNSURE, Record, ReviewedSlice, scan_id
from napari_unet_tumour.corrections.holdout import HELD_OUT
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.widgets.correct.autosave import Autosave, checksum, small
from napari_unet_tumour.widgets.correct.uncertainty import Uncertainty
from napari_unet_tumour.widgets.layers.copies import claim, name_for
from napari_unet_tumour.widgets.layers.drawn_pixels import set_reviewed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Labels, Layer
    from numpy.typing import NDArray

    from napari_unet_tumour.corrections import Store
    from napari_unet_tumour.widgets.correct.autosave import Held
    from napari_unet_tumour.widgets.correct.case import CasePart, CorrectionCase

PREDICTED_STATE, EDITED_STATE, REVIEWED_STATE, HELD_OUT_STATE = "predicted", "edited", "reviewed", "held out"


@dataclass(frozen=True)
class SliceState:
    """What the strip shows of a slice: "", "predicted", "edited", "reviewed" or "held out", and how unsure (pixels)."""

    name: str = ""
    unsure: float = 0.0


class CaseCorrections:
    """What is known of a case; made on a background thread, since lazy images may take long to read.

    Parameters
    ----------
    case : Case
        Its parts get their content id.
    store : Store
        Where the journal is.
    held : callable
        Returns what a plane of a mask holds, whatever is tried on; None when it has to be asked again.
    layers : sequence of Layer
        All layers of the window: those with the same pixels have corrections of their own.

    Attributes
    ----------
    records : dict of str to Record
        By scan: ticks, strokes and roles of this session.
    kept : dict of str to Record
        By scan: those of an earlier one, while they are offered.
    unsure : Unsure
        What the network has said of the slices.
    journal : Journal
        Notices strokes and writes everything down.
    as_left : bool
        Whether the masks are what the earlier session left.
    doubt : str
        Why the scan is not what the model was made for, "" where nothing speaks against it.
    """

    def __init__(self, case: CorrectionCase, store: Store, held: Held, layers: Sequence[Layer] = ()) -> None:
        self.case, self._store = case, store
        self.records: dict[str, Record] = {}
        self.kept: dict[str, Record] = {}
        self.unsure = Uncertainty(len(case))
        self._layers = layers
        self.journal = Autosave(case, store, held, self.records, self.kept, self.unsure)
        for part in case.parts:
            self._open(part)
        self._others = [one for one in store.every() if one.scan not in self.records]
        self.as_left, self.doubt = False, ""

    def _open(self, part: CasePart) -> None:
        part.content = scan_id(part.array, part.layout)
        part.scan = name_for(part.content, part.image, part.mask, self._layers)
        kept = self._store.load(part.scan)
        person = part.person or ("" if kept is None else kept.person)
        fresh = Record(part.scan, list(part.layout.mask_shape), part.layout.planes, person, part.place())
        if kept is not None and (kept.reviewed or kept.edited):
            self.kept[part.scan] = kept
        self.records[part.scan] = (
            fresh if kept is None else replace(fresh, roles=dict(kept.roles), model=kept.model, part=kept.part)
        )
        self.journal.begin(part)

    # ---- what the person does ----------------------------------------------------------------------

    def record(self, number: int) -> tuple[Record, int]:
        """Return the record of a slice and its plane there."""
        part, plane = self.case.where(number)
        return self.records[part.scan], plane

    def reviewed(self) -> list[int]:
        """Return the reviewed slices, in the order of the case."""
        return sorted({part.first + n for part in self.case.parts for n in self.records[part.scan].reviewed})

    def is_reviewed(self, number: int) -> bool:
        """Tell whether a slice is ticked."""
        record, plane = self.record(number)
        return plane in record.reviewed

    def is_held_out(self, number: int) -> bool:
        """Tell whether a reviewed slice is only scored."""
        record, plane = self.record(number)
        return plane in record.held_out

    def is_edited(self, number: int) -> bool:
        """Tell whether a slice has strokes of the person."""
        record, plane = self.record(number)
        return plane in record.edited

    def tick(self, number: int, mask: NDArray[np.uint8]) -> bool:
        """Mark a slice with this mask (H, W) as reviewed, or take the mark back; returns which."""
        record, plane = self.record(number)
        if plane in record.reviewed:
            record.untick(plane)
        else:
            kin = [one for one in self._others if one.person == record.person != ""]
            record.tick(plane, _foreground(mask), [*self.records.values()], kin)
            self.journal.ticked(number)
        self.journal.changed(record.scan)
        self._lock_planes(self.case.where(number)[0])
        return plane in record.reviewed

    def _lock_planes(self, part: CasePart) -> None:
        if part.mask is not None:
            set_reviewed(part.mask, part.layout, self.records[part.scan].reviewed)

    def use_model(self, mark: str, part: str) -> None:
        """Remember the hash of the model in use, and which part of the tumour the masks show."""
        for record in self.records.values():
            if (record.model, record.part) != (mark, part):
                record.model, record.part = mark, part
                self.journal.changed(record.scan)

    def adopt_mask(self, part: CasePart, mask: Labels) -> None:
        """Take a mask layer that was made after the session began."""
        part.mask = mask
        claim(part.scan, part.image, mask)
        self._lock_planes(part)

    # ---- what an earlier session left ------------------------------------------------------------

    def offer(self) -> str:
        """Return what can be restored in words, "" when nothing."""
        ticks = sum(len(one.reviewed) for one in self.kept.values())
        edits = sum(len(set(one.edited) - set(one.reviewed)) for one in self.kept.values())
        parts = [f"{ticks} reviewed" if ticks else "", f"{edits} edited" if edits else ""]
        return " and ".join(filter(None, parts))

    def is_as_left(self) -> bool:
        """Tell whether the masks are what the earlier session left: then there is nothing to ask. Reads them all."""
        masks = self.to_restore()
        return bool(masks) and all(checksum(self.case.pixels(n)) == checksum(mask) for n, mask in masks.items())

    def to_restore(self) -> dict[int, NDArray[np.uint8]]:
        """Return the masks (H, W) on disk by slice, apart from slices that were drawn on since."""
        found: dict[int, NDArray[np.uint8]] = {}
        for part in self.case.parts:
            if part.scan in self.kept:
                masks = self._store.masks(part.scan)
                fits = {n: m for n, m in masks.items() if m.shape == part.layout.plane_shape}
                found |= {part.first + n: mask for n, mask in fits.items() if n < part.layout.planes}
        return {n: mask for n, mask in found.items() if not self.is_edited(n)}

    def was_a_persons(self, number: int) -> bool:
        """Tell whether a person had ticked or drawn on a slice in the earlier session that is offered."""
        part, plane = self.case.where(number)
        kept = self.kept.get(part.scan)
        return kept is not None and (plane in kept.reviewed or plane in kept.edited)

    def take_up(self) -> None:
        """Go on where the earlier session ended: ticks and strokes. Call it while the journal is paused."""
        for part in self.case.parts:
            kept, record = self.kept.get(part.scan), self.records[part.scan]
            if kept is not None:
                both = record.with_marks_of(kept)
                self.records[part.scan] = replace(both, model=kept.model, part=kept.part)
                self.journal.changed(part.scan)
                self._lock_planes(part)
        self.kept.clear()

    # ---- what the widget asks ----------------------------------------------------------------------

    def states(self) -> list[SliceState]:
        """Return what the strip shows, a state per slice."""
        return [self.state(n) for n in range(len(self.case))]

    def state(self, number: int) -> SliceState:
        """Return what the strip shows of one slice."""
        return SliceState(self._name(number), self.unsure[number])

    def _name(self, number: int) -> str:
        if self.is_held_out(number):
            return HELD_OUT_STATE
        if self.is_reviewed(number):
            return REVIEWED_STATE
        if self.is_edited(number):
            return EDITED_STATE
        return PREDICTED_STATE if self.journal.shows(number) or number in self.unsure else ""

    def order(self) -> list[int]:
        """Return the slices not reviewed, the one most worth correcting first."""
        return self.unsure.order(self.reviewed())

    def masks(self, numbers: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
        """Return copies (H, W) uint8 of slices' masks."""
        return {n: small(np.array(self.case.pixels(n))) for n in numbers}

    def check(self) -> None:
        """Raise ScanError where a mask no longer has the shape of its image."""
        for part in self.case.parts:
            if part.mask is not None and not part.whole:
                raise ScanError(f"the mask '{part.mask.name}' has another shape than its image: choose another")

    def correction(self, number: int, mask: NDArray[np.uint8]) -> ReviewedSlice:
        """Return a reviewed slice as what a network is fine-tuned on; reads its image."""
        part, plane = self.case.where(number)
        record = self.records[part.scan]
        held_out = record.roles.get(plane) == HELD_OUT
        return ReviewedSlice(part.scan, plane, self.case.image(number), mask, held_out, record.person)


def _foreground(mask: NDArray[Any]) -> bool:
    return bool(((mask != 0) & (mask != UNSURE)).any())
