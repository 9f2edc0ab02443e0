"""What a person has clicked on one slice for one label, and what their clicks may change; knows no Qt and no napari.

Each click, box or scribble is a mark, and belongs to a lesion: that in whose outline it lies, else that with a mark
near it, else a new one. A lesion's marks are answered together and change nothing of other lesions. A state is kept
for every step of the layer's undo history, so that undo and redo take marks along.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_unet_tumour.base.compressed import CompressedArray
from napari_unet_tumour.clicks.answer import INSIDE, TOGETHER, Known
from napari_unet_tumour.clicks.window import UNITS
from napari_unet_tumour.widgets.correct.click_marks import Mark, MarkKind, clicks_of, flags

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_unet_tumour.clicks.answer import Click

    Plane = NDArray[np.uint8]
    Flags = NDArray[np.bool_]

EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True, eq=False)
class Held:
    """What a slice holds, as (H, W) arrays.

    Parameters
    ----------
    now : numpy.ndarray
        uint8, the mask.
    written : numpy.ndarray
        uint8, what the network last wrote there.
    base : numpy.ndarray, optional
        uint8, the network's answer for the label, inside from 128 on; None where it was not asked.
    """

    now: Plane
    written: Plane
    base: Plane | None = None


@dataclass(frozen=True, eq=False)
class ClickOrder:
    """What is asked of the network, and what its answer may change.

    Parameters
    ----------
    marks : tuple of Mark
        All marks of the slice once it is answered.
    lesions : frozenset of int
        Those whose marks are answered.
    start, now : numpy.ndarray
        (H, W) uint8: the mask that the answer changes, and what the slice held when it was asked.
    drawn : numpy.ndarray
        (H, W) bool: pixels that a person drew or erased by hand; they stay.
    known : Known
        What the network is told beside the clicks.
    """

    marks: tuple[Mark, ...]
    lesions: frozenset[int]
    start: Plane
    now: Plane
    drawn: Flags
    known: Known

    @property
    def own(self) -> tuple[Mark, ...]:
        """The marks that are answered."""
        return tuple(mark for mark in self.marks if mark.lesion in self.lesions)

    @property
    def clicks(self) -> list[Click]:
        """The clicks among them, in the order in which they were made."""
        return clicks_of(self.own, self.now.shape)[0]


@dataclass(frozen=True, eq=False)
class _State:
    """A slice after a step: its marks and the lesions that it was about, its mask, a person's pixels, the answer."""

    marks: tuple[Mark, ...]
    lesions: frozenset[int]
    shown: CompressedArray
    drawn: CompressedArray
    answer: CompressedArray | None
    digest: int


class SliceClicks:
    """The marks of one slice for one label.

    Parameters
    ----------
    label : int
        The value that the clicks draw.
    held : Held
        What the slice holds before the first click.
    theirs : numpy.ndarray
        (H, W) bool: what a person drew or erased by hand before that.
    """

    def __init__(self, label: int, held: Held, theirs: Flags) -> None:
        self.label = label
        self.pending: ClickOrder | None = None
        self._at = 0
        self._states = [_state((), frozenset(), held.now, theirs, None)]

    @property
    def marks(self) -> tuple[Mark, ...]:
        """All marks, those included whose answer is on its way."""
        return self._states[self._at].marks if self.pending is None else self.pending.marks

    def follow(self, now: Plane) -> bool:
        """Follow undo and redo to the state that the slice shows; tell whether there are other marks now."""
        was, digest = self._at, _digest(now)
        alike = [n for n, state in enumerate(self._states) if state.digest == digest]
        if self.pending is None and alike:
            self._at = min(alike, key=lambda n: abs(n - was))
        return self._states[self._at].marks != self._states[was].marks

    def add(self, held: Held, mark: Mark, apart: bool = False) -> ClickOrder:
        """Return what to ask for one more mark; with `apart` it begins another lesion."""
        drawn = self._take_up(held)
        mark = replace(mark, lesion=self._lesion_of(held.now, mark, apart))
        marks = (*(one for one in self.marks if one.pixels != mark.pixels), mark)
        drawn &= ~self._given_up(held.now, drawn, mark)
        return self._order(held, held.now, marks, drawn, mark.lesion, self._states[self._at].answer)

    def remove(self, held: Held, mark: Mark) -> ClickOrder:
        """Return what to ask once a mark is gone: its lesion begins anew with the marks that are left."""
        drawn = self._take_up(held)
        start, restored = self._without(mark.lesion, held.now, drawn)
        marks = tuple(one for one in self.marks if one != mark)
        return self._order(held, start, marks, drawn | restored, mark.lesion, None)

    def settle(self, order: ClickOrder, now: Plane, answer: Plane | None, locked: Flags | None = None) -> Plane:
        """Return the slice's mask with an answer in it.

        Parameters
        ----------
        now : numpy.ndarray
            (H, W) uint8, what the slice holds; what was drawn since it was asked stays.
        answer : numpy.ndarray, optional
            (H, W) uint8, inside from 128 on; None where no mark is left to answer.
        locked : numpy.ndarray, optional
            (H, W) bool, further pixels that stay.
        """
        since, new = now != order.now, order.start
        if answer is not None:
            fixed = order.drawn | self._others(order)
            fixed = fixed if locked is None else fixed | locked
            new = merged(order.start, answer, self.label, fixed)
        new = np.where(since, now, new)
        del self._states[self._at + 1 :]
        self._states.append(_state(order.marks, order.lesions, new, order.drawn | since, answer))
        self._at, self.pending = len(self._states) - 1, None
        return new

    def _take_up(self, held: Held) -> Flags:
        """Return the person's own pixels, with what was drawn since the last step."""
        if self.pending is not None:
            since: Flags = held.now != self.pending.now
            return since | self.pending.drawn
        self.follow(held.now)
        state = self._states[self._at]
        strokes: Flags = (held.now != state.shown.array()) & (held.now != held.written)
        found: Flags = strokes | state.drawn.array().astype(bool)
        return found

    def _order(
        self, held: Held, start: Plane, marks: tuple[Mark, ...], drawn: Flags, lesion: int,
        answer: CompressedArray | None,
    ) -> ClickOrder:  # fmt: skip
        waiting = frozenset[int]() if self.pending is None else self.pending.lesions
        order = ClickOrder(marks, waiting | {lesion}, start, held.now, drawn, Known())
        before = _before(start == self.label, held.base, answer)
        self.pending = replace(
            order, known=replace(clicks_of(order.own, start.shape)[1], base=held.base, before=before)
        )
        return self.pending

    def _lesion_of(self, now: Plane, mark: Mark, apart: bool) -> int:
        new = max((one.lesion for one in self.marks), default=-1) + 1
        if apart:
            return new
        row, column = mark.pixels[-1] if mark.kind is MarkKind.SCRIBBLE else mark.pixels[0]
        pieces, _ = ndimage.label(now == self.label, EIGHT)
        here = pieces[row, column]
        inside = [one for one in self.marks if here and _touches(pieces == here, one)]
        near = min(inside or self.marks, key=lambda one: one.away(row, column), default=None)
        if near is None or not (inside or near.away(row, column) <= TOGETHER * max(now.shape) / UNITS):
            return new
        return near.lesion

    def _given_up(self, now: Plane, drawn: Flags, mark: Mark) -> Flags:
        """Return the strokes that a mark contradicts: drawn ones that it removes, erased ones where it adds."""
        against = drawn & ((now == self.label) if mark.sign < 0 else (now == 0))
        pieces, _ = ndimage.label(against, EIGHT)
        hit = {int(pieces[pixel]) for pixel in mark.seeds} - {0}
        return np.isin(pieces, sorted(hit))

    def _without(self, lesion: int, now: Plane, drawn: Flags) -> tuple[Plane, Flags]:
        """Return the mask as if a lesion had never been clicked, and a person's pixels that come back with it."""
        found, changed, restored = now.copy(), drawn.copy(), np.zeros(now.shape, bool)
        before = self._states[0]
        for state in self._states[1 : self._at + 1]:
            if lesion in state.lesions:
                was = before.shown.array()
                new = (state.shown.array() != was) & ~changed
                found[new] = was[new]
                restored |= new & before.drawn.array().astype(bool)
                changed |= new
            before = state
        return found, restored

    def _others(self, order: ClickOrder) -> Flags:
        """Return the pieces of the mask that belong to other lesions alone."""
        pieces, _ = ndimage.label(order.start == self.label, EIGHT)
        at = {True: set[int](), False: set[int]()}
        for mark in order.marks:
            if mark.sign > 0:
                at[mark.lesion in order.lesions] |= set(np.unique(pieces[flags(mark, pieces.shape)]).tolist())
        return np.isin(pieces, sorted(at[False] - at[True] - {0}))


def _before(inside: Flags, base: Plane | None, answer: CompressedArray | None) -> Plane | None:
    """Return the mask so far as values, None where it is the network's own answer, or nothing."""
    if answer is None and np.array_equal(inside, np.zeros_like(inside) if base is None else base >= INSIDE):
        return None
    return as_values(inside, None if answer is None else answer.array())


def as_values(inside: Flags, values: Plane | None) -> Plane:
    """Return an answer (H, W) uint8 that is inside exactly where told, near `values` where there are any."""
    values = np.where(inside, np.uint8(255), np.uint8(0)) if values is None else values
    return np.where(inside, np.maximum(values, INSIDE), np.minimum(values, INSIDE - 1)).astype(np.uint8)


def merged(mask: Plane, answer: Plane, label: int, fixed: Flags) -> Plane:
    """Return a mask (H, W) in which an answer decides about a label; other labels and `fixed` pixels stay."""
    inside, free = answer >= INSIDE, ~fixed & ((mask == 0) | (mask == label))
    return np.where(free, np.where(inside, label, 0), mask).astype(mask.dtype)


def _touches(piece: Flags, mark: Mark) -> bool:
    return bool((piece & flags(mark, piece.shape)).any())


def _state(marks: Iterable[Mark], lesions: frozenset[int], shown: Plane, drawn: Flags, answer: Plane | None) -> _State:
    kept = None if answer is None else CompressedArray(answer)
    return _State(
        tuple(marks), lesions, CompressedArray(shown), CompressedArray(drawn.astype(np.uint8)), kept, _digest(shown)
    )


def _digest(plane: Plane) -> int:
    return zlib.crc32(np.ascontiguousarray(plane).tobytes())
