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
from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.widgets.layers.predictions import PREDICTIONS

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
        self.trouble = ""
        self.again = False

    # ---- what others tell it -----------------------------------------------------------------------

    def begin(self, part: CasePart) -> None:
        """Take a part's mask as it is for the one that the strokes are made on."""
        for plane in range(part.layout.planes if part.whole else 0):
            self._first[part.first + plane] = checksum(part.pixels(plane))

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
                self._store.clear(scan)
            self._kept.clear()
            self._begun = True
            self._stale |= set(self._records)
            self._dirty |= {n for n, one in self._sums.items() if one}

    # ---- what it knows -----------------------------------------------------------------------------

    def shows(self, number: int) -> bool:
        """Tell whether a slice's mask held anything at the last look."""
        return bool(self._sums.get(number))

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
        prediction = None if part.mask is None else PREDICTIONS.get(part.mask)
        known = None if prediction is None or prediction.layout != part.layout else prediction.planes.get(plane)
        if prediction is None or known is None:
            return self._sums[number] != self._first.get(number, 0)
        return bool(prediction.strokes(plane, now if known.region is None else now[known.region]).any())

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
        written = self._save_masks()
        self._save_images()
        for scan in sorted(self._stale):
            self._store.save(self._merged(scan))
            self._stale.discard(scan)
            written.add(scan)
        for scan in written:
            self._store.settle(scan)

    def _save_masks(self) -> set[str]:
        """Write masks that changed; return the scans that must be safe on disk before the look ends."""
        written: set[str] = set()
        for number in sorted(self._dirty):
            part, plane = self._case.where(number)
            mine = self._is_mine(number)
            if part.scan in self._kept and not mine:
                continue  # what an earlier session left is still offered: a prediction does not replace it
            now = None if part.mask is None else self._held(part.mask, part.layout, plane)
            if now is None:
                self.again = True
                continue
            self._store.save_mask(part.scan, plane, small(now), sync=mine)  # a prediction can be made again
            self._dirty.discard(number)
            written |= {part.scan} if mine else set()
        return written

    def _save_images(self) -> None:
        for number in sorted(self._imageless):
            part, plane = self._case.where(number)
            self._store.save_image(part.scan, plane, self._image(number))
            self._imageless.discard(number)

    def _image(self, number: int) -> NDArray[Any]:
        try:
            return self._case.image(number)
        except Exception as error:
            said = str(error).partition("\n")[0] or type(error).__name__
            raise OutputError(f"slice {number} of the scan cannot be read ({said}): check its file") from error

    def _merged(self, scan: str) -> Record:
        """Return the record to write: while the earlier session is still offered, its ticks are kept too."""
        kept, record = self._kept.get(scan), self._records[scan]
        if kept is None:
            return record
        reviewed = list(dict.fromkeys([*kept.reviewed, *record.reviewed]))
        return replace(record, reviewed=reviewed, edited=sorted({*kept.edited, *record.edited}))

    def _set_aside(self) -> None:
        for scan in self._kept if not self._aside else ():
            self._store.set_aside(scan)
        self._aside = True


def checksum(mask: NDArray[Any]) -> int:
    """Return a checksum of the values, whatever their type; 0 for an empty mask."""
    return zlib.crc32(np.ascontiguousarray(mask, np.uint16).tobytes()) if mask.any() else 0


def small(mask: NDArray[Any]) -> NDArray[Any]:
    """Return a mask as uint8 where its values allow it, unsure pixels included."""
    return mask.astype(np.uint8) if mask.max(initial=0) <= UNSURE else np.ascontiguousarray(mask)
