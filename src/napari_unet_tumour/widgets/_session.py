"""The corrections of the case on screen: ticks, hold-out, what changed, and their journal; knows no Qt.

`look` runs on a background thread: it compares a checksum of every slice with the last one, so that strokes, tools,
undo and redo are all noticed alike, and writes what changed.
"""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour import queue
from napari_unet_tumour.corrections import UNSURE, Correction, Record, scan_id
from napari_unet_tumour.corrections.roles import HELD_OUT
from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.widgets._prediction import PREDICTIONS, REVIEWED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.corrections import Store
    from napari_unet_tumour.layout import Layout
    from napari_unet_tumour.widgets._case import Case, Part

    Held = Callable[[Labels, Layout, int], NDArray[np.uint8] | None]

PREDICTED, EDITED, REVIEWED_, HELD = "predicted", "edited", "reviewed", "held out"


@dataclass(frozen=True)
class SliceState:
    """What the strip shows of a slice: "", "predicted", "edited", "reviewed" or "held out", and how unsure (pixels)."""

    name: str = ""
    unsure: float = 0.0


class Session:
    """What is known of a case; made on a background thread, since lazy images may take long to read.

    Parameters
    ----------
    case : Case
        Its parts get their content id.
    store : Store
        Where the journal is.
    held : callable
        Returns what a plane of a mask holds, whatever is tried on; None when it has to be asked again.
    """

    def __init__(self, case: Case, store: Store, held: Held) -> None:
        self.case, self._store, self._held = case, store, held
        self._lock = threading.Lock()
        self._sums: dict[int, int] = {}
        self._first: dict[int, int] = {}
        self._unsure: dict[int, tuple[int, float]] = {}
        self._areas: dict[int, float] = {}
        self._dirty: set[int] = set()
        self._imageless: set[int] = set()
        self._stale: set[str] = set()
        self._aside = False
        self._begun = False
        self.trouble = ""
        self.again = False
        self.as_left = False
        self._paused = False
        self.records: dict[str, Record] = {}
        self.kept: dict[str, Record] = {}
        for part in case.parts:
            self._open(part)
        self._others = [one for one in store.every() if one.scan not in self.records]

    def _open(self, part: Part) -> None:
        part.scan = part.scan or scan_id(part.array, part.layout)
        kept = self._store.load(part.scan)
        person = part.person or ("" if kept is None else kept.person)
        fresh = Record(part.scan, list(part.layout.mask_shape), part.layout.planes, person, part.place())
        if kept is not None and (kept.reviewed or kept.edited):
            self.kept[part.scan] = kept
        self.records[part.scan] = fresh if kept is None else replace(fresh, roles=dict(kept.roles), model=kept.model)
        self._note(part)

    def _note(self, part: Part) -> None:
        """Take a part's mask as it is for the one that the strokes are made on."""
        for plane in range(part.layout.planes if part.whole else 0):
            self._first[part.first + plane] = _sum(part.pixels(plane))

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
            self._imageless.add(number)
            self._dirty.add(number)
        self._stale.add(record.scan)
        self._lock_planes(self.case.where(number)[0])
        return plane in record.reviewed

    def _lock_planes(self, part: Part) -> None:
        if part.mask is not None:
            REVIEWED[part.mask] = frozenset(self.records[part.scan].reviewed)

    def use_model(self, mark: str) -> None:
        """Remember the hash of the model in use."""
        for record in self.records.values():
            if record.model != mark:
                record.model = mark
                self._stale.add(record.scan)

    def adopt_mask(self, part: Part, mask: Labels) -> None:
        """Take a mask layer that was made after the session began."""
        part.mask = mask
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
        return bool(masks) and all(_sum(self.case.pixels(n)) == _sum(mask) for n, mask in masks.items())

    def to_restore(self) -> dict[int, NDArray[np.uint8]]:
        """Return the masks (H, W) on disk by slice, apart from slices that were drawn on since."""
        found: dict[int, NDArray[np.uint8]] = {}
        for part in self.case.parts:
            if part.scan in self.kept:
                masks = self._store.masks(part.scan)
                fits = {n: m for n, m in masks.items() if m.shape == part.layout.plane_shape}
                found |= {part.first + n: mask for n, mask in fits.items() if n < part.layout.planes}
        return {n: mask for n, mask in found.items() if not self.is_edited(n)}

    def pause(self, on: bool = True) -> None:
        """Look no more until `pause(False)`: the pixels on their way from disk are no changes of the person."""
        with self._lock:
            self._paused = on

    def restored(self, number: int, mask: NDArray[np.uint8]) -> None:
        """Note that a slice holds what was on disk; call it before the pixels change."""
        part, plane = self.case.where(number)
        self._sums[number] = _sum(mask)
        if plane not in self.kept[part.scan].edited:
            self._first[number] = self._sums[number]

    def take_up(self) -> None:
        """Go on where the earlier session ended: ticks and strokes."""
        for part in self.case.parts:
            kept, record = self.kept.get(part.scan), self.records[part.scan]
            if kept is not None:
                record.reviewed = list(dict.fromkeys([*kept.reviewed, *record.reviewed]))
                record.edited = sorted({*kept.edited, *record.edited})
                record.model = kept.model
                self._stale.add(part.scan)
                self._lock_planes(part)
        self.kept = {}

    def start_afresh(self) -> None:
        """Keep a copy of what an earlier session left, and begin anew; roles stay for good. Raises OutputError."""
        with self._lock:
            self._set_aside()
            for scan in self.kept:
                self._store.clear(scan)
            self.kept, self._begun = {}, True
            self._stale |= set(self.records)
            self._dirty |= {n for n, one in self._sums.items() if one}

    def _set_aside(self) -> None:
        for scan in self.kept if not self._aside else ():
            self._store.set_aside(scan)
        self._aside = True

    # ---- the journal -----------------------------------------------------------------------------

    def look(self, first: int | None = None) -> None:
        """Notice what has changed and write it; the slice `first` before the others. Any thread."""
        with self._lock:
            self.again = self._paused
            if self._paused:
                return
            if first is not None:
                self._look_at(first)
                self._save()
            for number in range(len(self.case)):
                self._look_at(number)
            self._save()

    def _look_at(self, number: int) -> None:
        part, plane = self.case.where(number)
        if part.mask is None or not part.whole:
            return
        self._weigh(number, part, plane)
        now = self._held(part.mask, part.layout, plane)
        if now is None:
            self.again = True
            return
        found = _sum(now)
        if found == self._sums.get(number, 0):
            return
        self._sums[number] = found
        record = self.records[part.scan]
        was = set(record.edited)
        edited = was | {plane} if self._is_drawn(number, part, plane, now) else was - {plane}
        record.edited = sorted(edited)
        self._dirty.add(number)
        if edited != was:
            self._stale.add(part.scan)

    def _is_drawn(self, number: int, part: Part, plane: int, now: NDArray[np.uint8]) -> bool:
        prediction = None if part.mask is None else PREDICTIONS.get(part.mask)
        known = None if prediction is None or prediction.layout != part.layout else prediction.planes.get(plane)
        if prediction is None or known is None:
            return self._sums[number] != self._first.get(number, 0)
        return bool(prediction.strokes(plane, now if known.region is None else now[known.region]).any())

    def _weigh(self, number: int, part: Part, plane: int) -> None:
        prediction = None if part.mask is None else PREDICTIONS.get(part.mask)
        known = None if prediction is None else prediction.planes.get(plane)
        if known is not None and self._unsure.get(number, (0, 0.0))[0] != id(known.probability):
            self.weigh(number, known.probability.array(), id(known.probability))

    def weigh(self, number: int, probability: NDArray[np.uint8], mark: int = 0) -> None:
        """Note how unsure the network is of a slice, from its probability (L, H, W) uint8."""
        self._unsure[number] = (mark, float(queue.unsureness(probability[None])[0]))
        self._areas[number] = float(queue.areas(probability[None])[0])

    def _save(self) -> None:
        self._begun = self._begun or any(one.reviewed or one.edited for one in self.records.values())
        try:
            if self._begun:
                self._save_dirty()
            self.trouble = ""
        except OutputError as error:
            self.trouble = str(error)

    def _save_dirty(self) -> None:
        if self.kept and self._dirty:
            self._set_aside()
        written: set[str] = set()
        for number in sorted(self._dirty):
            part, plane = self.case.where(number)
            mine = self.is_edited(number) or self.is_reviewed(number)
            if part.scan in self.kept and not mine:
                continue  # what an earlier session left is still offered: a prediction does not replace it
            now = None if part.mask is None else self._held(part.mask, part.layout, plane)
            if now is None:
                self.again = True
                continue
            self._store.save_mask(part.scan, plane, _small(now), sync=mine)  # a prediction can be made again
            self._dirty.discard(number)
            written |= {part.scan} if mine else set()
        for number in sorted(self._imageless):
            part, plane = self.case.where(number)
            self._store.save_image(part.scan, plane, self._image(number))
            self._imageless.discard(number)
        for scan in sorted(self._stale):
            self._store.save(self._merged(scan))
            self._stale.discard(scan)
            written.add(scan)
        for scan in written:
            self._store.settle(scan)

    def _image(self, number: int) -> NDArray[Any]:
        try:
            return self.case.image(number)
        except Exception as error:
            said = str(error).partition("\n")[0] or type(error).__name__
            raise OutputError(f"slice {number} of the scan cannot be read ({said}): check its file") from error

    def _merged(self, scan: str) -> Record:
        """Return the record to write: while the earlier session is still offered, its ticks are kept too."""
        kept, record = self.kept.get(scan), self.records[scan]
        if kept is None:
            return record
        reviewed = list(dict.fromkeys([*kept.reviewed, *record.reviewed]))
        return replace(record, reviewed=reviewed, edited=sorted({*kept.edited, *record.edited}))

    # ---- what the widget asks ----------------------------------------------------------------------

    def states(self) -> list[SliceState]:
        """Return what the strip shows, a state a slice."""
        return [self.state(n) for n in range(len(self.case))]

    def state(self, number: int) -> SliceState:
        """Return what the strip shows of one slice."""
        return SliceState(self._name(number), self._unsure.get(number, (0, 0.0))[1])

    def _name(self, number: int) -> str:
        if self.is_held_out(number):
            return HELD
        if self.is_reviewed(number):
            return REVIEWED_
        if self.is_edited(number):
            return EDITED
        return PREDICTED if self._sums.get(number) or number in self._unsure else ""

    def order(self) -> list[int]:
        """Return the slices not reviewed, the one most worth correcting first."""
        unsure = np.array([self._unsure.get(n, (0, 0.0))[1] for n in range(len(self.case))])
        area = np.array([self._areas.get(n, 0.0) for n in range(len(self.case))])
        return queue.by_worth(area, unsure, self.reviewed())

    @property
    def weighed(self) -> bool:
        """Whether the network has said how sure it is of the slices."""
        return len(self._unsure) >= len(self.case)

    def masks(self, numbers: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
        """Return copies (H, W) uint8 of slices' masks."""
        return {n: _small(np.array(self.case.pixels(n))) for n in numbers}

    def check(self) -> None:
        """Raise ScanError where a mask no longer has the shape of its image."""
        for part in self.case.parts:
            if part.mask is not None and not part.whole:
                raise ScanError(f"the mask '{part.mask.name}' has another shape than its image: choose another")

    def correction(self, number: int, mask: NDArray[np.uint8]) -> Correction:
        """Return a reviewed slice as what a network is fine-tuned on; reads its image."""
        part, plane = self.case.where(number)
        record = self.records[part.scan]
        held_out = record.roles.get(plane) == HELD_OUT
        return Correction(part.scan, plane, self.case.image(number), mask, held_out, record.person)


def _foreground(mask: NDArray[Any]) -> bool:
    return bool(((mask != 0) & (mask != UNSURE)).any())


def _sum(mask: NDArray[Any]) -> int:
    """Return a checksum of the values, whatever their type; 0 for an empty mask."""
    return zlib.crc32(np.ascontiguousarray(mask, np.uint16).tobytes()) if mask.any() else 0


def _small(mask: NDArray[Any]) -> NDArray[Any]:
    return mask.astype(np.uint8) if mask.max(initial=0) <= UNSURE else np.ascontiguousarray(mask)
