"""Notices what changes in the masks of a case and writes it to disk; knows no Qt.

`look` runs on a background thread: it compares a checksum of every slice with the last one, so that strokes, tools,
undo and redo are all noticed alike, and writes what changed.
"""

from __future__ import annotations

import threading
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.corrections.record import merged
from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.widgets.common.words import slice_label
from napari_unet_tumour.widgets.layers import drawn_pixels

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.corrections import Record, Store
    from napari_unet_tumour.widgets.correct.case import CasePart, CorrectionCase
    from napari_unet_tumour.widgets.correct.uncertainty import Uncertainty

    Held = Callable[[Labels, SliceLayout, int], NDArray[np.uint8] | None]


class Autosave:
    """What of a case is on disk, and what is not yet.

    Parameters
    ----------
    case : Case
        Its parts have their content id.
    store : Store
        Where it is written.
    held : callable
        Returns what a plane of a mask holds, whatever is tried on; None when it has to be asked again.
    records : dict of str to Record
        By scan: what is written. The journal notes which slices have strokes.
    kept : dict of str to Record
        By scan: what an earlier session left and nobody has taken up yet; never written over.
    unsure : Unsure
        Told of predictions that are new.

    Attributes
    ----------
    trouble : str
        Why the last look could not write everything, "" where it could.
    notice : str
        What the person should know of another window on the same scan, "" where nothing.
    again : bool
        Whether another look is needed.
    """

    def __init__(
        self,
        case: CorrectionCase,
        store: Store,
        held: Held,
        records: dict[str, Record],
        kept: dict[str, Record],
        unsure: Uncertainty,
    ) -> None:
        self._case, self._store, self._held = case, store, held
        self._records, self._kept, self._unsure = records, kept, unsure
        self._lock = threading.Lock()
        self._sums: dict[int, int] = {}
        self._first: dict[int, int] = {}
        self._dirty: set[int] = set()
        self._imageless: set[int] = set()
        self._stale: set[str] = set()
        self._aside = self._begun = self._paused = False
        self._last: dict[str, Record] = {}
        self._on_disk: dict[int, int] = {}
        self.trouble = self.notice = ""
        self.again = False

    # ---- what others tell it -----------------------------------------------------------------------

    def begin(self, part: CasePart) -> None:
        """Take a part's mask as it is for the one that the strokes are made on."""
        for plane in range(part.layout.planes if part.whole else 0):
            self._first[part.first + plane] = checksum(part.pixels(plane))
        kept = self._kept.get(part.scan)
        for plane in _persons(kept):
            mask = self._store.mask(part.scan, plane)
            self._on_disk[part.first + plane] = 0 if mask is None else checksum(mask)

    def changed(self, scan: str) -> None:
        """Have a scan's record written at the next look."""
        self._stale.add(scan)

    def ticked(self, number: int) -> None:
        """Have a slice's image and mask written at the next look, whether or not the mask changes."""
        self._imageless.add(number)
        self._dirty.add(number)

    def restored(self, number: int, mask: NDArray[np.uint8]) -> None:
        """Note that a slice holds what was on disk; call it before the pixels change."""
        part, plane = self._case.where(number)
        self._sums[number] = checksum(mask)
        if plane not in self._kept[part.scan].edited:
            self._first[number] = self._sums[number]

    def pause(self, on: bool = True) -> None:
        """Look no more until `pause(False)`: the pixels on their way from disk are no changes of the person."""
        with self._lock:
            self._paused = on

    def start_afresh(self) -> None:
        """Keep a copy of what an earlier session left, and begin anew; roles stay for good. Raises OutputError."""
        with self._lock:
            self._set_aside()
            for scan in self._kept:
                with self._store.locked(scan):
                    self._store.clear(scan)
                    self._store.save(self._records[scan])
                self._last[scan] = _copy(self._records[scan])
            self._kept.clear()
            self._on_disk.clear()
            self._begun = True
            self._stale |= set(self._records)
            self._dirty |= {n for n, one in self._sums.items() if one}

    # ---- what it knows -----------------------------------------------------------------------------

    def shows(self, number: int) -> bool:
        """Tell whether a slice's mask held anything at the last look."""
        return bool(self._sums.get(number))

    def is_emptied(self, number: int) -> bool:
        """Tell whether a slice that held something when the work began holds nothing now."""
        return bool(self._first.get(number)) and not self._case.pixels(number).any()

    def _is_mine(self, number: int) -> bool:
        part, plane = self._case.where(number)
        record = self._records[part.scan]
        return plane in record.edited or plane in record.reviewed

    # ---- a look ------------------------------------------------------------------------------------

    def look(self, first: int | None = None) -> None:
        """Notice what has changed and write it; the slice `first` before the others. Any thread."""
        with self._lock:
            self.again = self._paused
            if self._paused:
                return
            if first is not None:
                self._look_at(first)
                self._save()
            for number in range(len(self._case)):
                self._look_at(number)
            self._save()

    def _look_at(self, number: int) -> None:
        part, plane = self._case.where(number)
        if part.mask is None or not part.whole:
            return
        self._unsure.see(number, part, plane)
        now = self._held(part.mask, part.layout, plane)
        if now is None:
            self.again = True
            return
        found = checksum(now)
        if found == self._sums.get(number, 0):
            return
        self._sums[number] = found
        record = self._records[part.scan]
        was = set(record.edited)
        edited = was | {plane} if self._is_drawn(number, part, plane, now) else was - {plane}
        record.edited = sorted(edited)
        self._dirty.add(number)
        if edited != was:
            self._stale.add(part.scan)

    def _is_drawn(self, number: int, part: CasePart, plane: int, now: NDArray[np.uint8]) -> bool:
        cache = part.cache
        known = None if cache is None else cache.planes.get(plane)
        if cache is None or known is None:
            return self._sums[number] != self._first.get(number, 0)
        if part.mask is not None and drawn_pixels.is_erased(part.mask, part.layout, plane):
            return True
        return bool(cache.strokes(plane, now if known.region is None else now[known.region]).any())

    # ---- writing -----------------------------------------------------------------------------------

    def _save(self) -> None:
        self._begun = self._begun or any(one.reviewed or one.edited for one in self._records.values())
        try:
            if self._begun:
                self._save_all()
            self.trouble = ""
        except OutputError as error:
            self.trouble = str(error)

    def _save_all(self) -> None:
        if self._kept and self._dirty:
            self._set_aside()
        for part in {part.scan: part for part in self._case.parts}.values():
            with self._store.locked(part.scan):
                self._save_part(part)

    def _save_part(self, part: CasePart) -> None:
        """Write what is new of a scan; another window may have written of it meanwhile, and goes on to do so."""
        scan, disk = part.scan, self._store.load(part.scan)
        self._heal(part, disk)
        safe = self._save_masks(part, _persons(disk))
        self._save_images(part)
        if scan in self._stale:
            self._save_record(scan, disk)
            safe = True
        if safe:
            self._store.settle(scan)

    def _save_record(self, scan: str, disk: Record | None) -> None:
        """Write the record as it is now; what the person ticks meanwhile has it written again at the next look."""
        self._stale.discard(scan)
        known = _copy(self._merged(scan))
        try:
            record = merged(disk, known, self._last.get(scan))
            self._store.save(record)
        except OutputError:
            self._stale.add(scan)
            raise
        self._records[scan].roles.update(record.roles)
        self._last[scan] = known

    def _heal(self, part: CasePart, disk: Record | None) -> None:
        """Have written again what another window has removed, by beginning anew; notice what it has added."""
        mine, kept = self._records[part.scan], self._kept.get(part.scan)
        last = self._last.get(part.scan)
        for plane in _persons(mine) if last is not None else ():
            if not self._store.has_mask(part.scan, plane):
                self._dirty.add(part.first + plane)
            if plane in mine.reviewed and not self._store.has_image(part.scan, plane):
                self._imageless.add(part.first + plane)
        theirs = _persons(disk)
        if last is not None and not (disk is not None and _holds(disk, mine)):
            self._stale.add(part.scan)
        own = _persons(mine) | _persons(kept) | _persons(last)
        if theirs - own:
            self.notice = "This scan is corrected in another window too: what is done in either is kept on disk."

    def _save_masks(self, part: CasePart, theirs: set[int]) -> bool:
        """Write masks that changed; tell whether they must be safe on disk before the look ends."""
        safe = False
        for number in self._of_part(self._dirty, part):
            plane = self._case.where(number)[1]
            mine = self._is_mine(number)
            if not mine and (part.scan in self._kept or plane in theirs - _persons(self._last.get(part.scan))):
                continue  # what a person did, earlier or in another window, is not replaced by a prediction
            now = None if part.mask is None else self._held(part.mask, part.layout, plane)
            if now is None:
                self.again = True
                continue
            if mine:
                self._keep_others(part.scan, number, plane, plane in theirs)
            self._store.save_mask(part.scan, plane, small(now), sync=mine)  # a prediction can be made again
            self._on_disk[number] = checksum(now)
            self._dirty.discard(number)
            safe = safe or mine
        return safe

    def _keep_others(self, scan: str, number: int, plane: int, marked: bool) -> None:
        """Keep a copy of what another window has drawn on a slice, before this one's takes its place."""
        found = self._store.mask(scan, plane) if marked else None
        if found is not None and checksum(found) != self._on_disk.get(number, 0) and found.any():
            self._store.keep_beside(scan, plane, found)
            where = slice_label(number).capitalize()
            self.notice = f"{where} was drawn in another window too: that mask is kept beside this one on disk."

    def _save_images(self, part: CasePart) -> None:
        for number in self._of_part(self._imageless, part):
            self._store.save_image(part.scan, self._case.where(number)[1], self._image(number))
            self._imageless.discard(number)

    def _of_part(self, numbers: set[int], part: CasePart) -> list[int]:
        """Return the numbers that belong to a part, in order; the window may add to the set meanwhile."""
        return sorted(n for n in [*numbers] if self._case.where(n)[0].scan == part.scan)

    def _image(self, number: int) -> NDArray[Any]:
        try:
            return self._case.image(number)
        except Exception as error:
            said = str(error).partition("\n")[0] or type(error).__name__
            raise OutputError(f"{slice_label(number)} of the scan cannot be read ({said}): check its file") from error

    def _merged(self, scan: str) -> Record:
        """Return the record to write: while the earlier session is still offered, its ticks are kept too."""
        kept, record = self._kept.get(scan), self._records[scan]
        return record if kept is None else record.with_marks_of(kept)

    def _set_aside(self) -> None:
        for scan in self._kept if not self._aside else ():
            self._store.set_aside(scan)
        self._aside = True


def _persons(record: Record | None) -> set[int]:
    """Return the planes that a person has ticked or drawn on."""
    return set() if record is None else {*record.reviewed, *record.edited}


def _holds(disk: Record, mine: Record) -> bool:
    """Tell whether a record on disk has all ticks and strokes of another one."""
    return set(mine.reviewed) <= set(disk.reviewed) and set(mine.edited) <= set(disk.edited)


def _copy(record: Record) -> Record:
    return replace(record, reviewed=[*record.reviewed], edited=[*record.edited], roles=dict(record.roles))


def checksum(mask: NDArray[Any]) -> int:
    """Return a checksum of the values, whatever their type; 0 for an empty mask."""
    return zlib.crc32(np.ascontiguousarray(mask, np.uint16).tobytes()) if mask.any() else 0


def small(mask: NDArray[Any]) -> NDArray[Any]:
    """Return a mask as uint8 where its values allow it, unsure pixels included."""
    fits = mask.min(initial=0) >= 0 and mask.max(initial=0) <= UNSURE
    return mask.astype(np.uint8) if fits else np.ascontiguousarray(mask)
