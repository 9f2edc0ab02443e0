"""Clicks on one slice -> the lesion in the whole volume.

What was clicked is carried to the neighbours as a corrected slice is (`corrections.carry`); there the click network
looks again where the outline is expected. The mean of both answers and of the automatic one decides: each errs
elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet_tumour.base.labels import UNSURE
from napari_unet_tumour.clicks.answer import INSIDE, TOGETHER, Known, answer
from napari_unet_tumour.clicks.picture import Range, likeness, robust_range
from napari_unet_tumour.clicks.window import UNITS
from napari_unet_tumour.corrections.carry import NOTHING, CarryWeights, carry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_unet_tumour.clicks.answer import Click, Net

    Mask = NDArray[np.bool_]
    Plane = NDArray[np.uint8]
    Spacing = Sequence[float | None]

# A lesion has ended where fewer pixels of 256 x 256 than this show it, or less than this share of it looks more like
# the clicked lesion than like what is around that.
SMALLEST, ALIKE = 8, 0.3
# How far a lesion is followed, in mm along the slices; and again from there where at least this share of it is left,
# and at least this share of that looks like the clicked lesion.
REACH_MM, LEFT, CLEARLY = 25.0, 0.5, 0.9
# What is around a lesion lies so far from it, in `UNITS`.
GAP, AROUND = 1.5, 7.0


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices that are neighbours, for `iter_outline`.

    Parameters
    ----------
    read : callable
        Number of a slice -> its pixels (H, W).
    count : int
        How many there are.
    spacing : sequence of float or None
        Height and width of a pixel and distance of the slices in mm; None where unknown, a distance of 0 says that
        they are no neighbours.
    corrected : mapping of int to numpy.ndarray
        (H, W) bool: the mask of slices where it is known, e.g. reviewed ones. They are not answered, nor is what lies
        beyond them. That of the clicked slice takes the place of an answer: it is the lesion.
    weights : CarryWeights, optional
        Those of the model.
    """

    read: Callable[[int], NDArray[Any]]
    count: int
    spacing: Spacing = (None, None, None)
    corrected: Mapping[int, Mask] = field(default_factory=dict)
    weights: CarryWeights | None = None


def iter_outline(
    net: Net, stack: Stack, start: int, clicks: Sequence[Click], known: Callable[[int], Known] | None = None
) -> Iterator[tuple[int, Plane]]:
    """Outline a lesion in neighbouring slices, first upwards, then downwards.

    Parameters
    ----------
    net : callable
        As `answer.answer` takes it.
    stack : Stack
        The slices.
    start : int
        The slice with the clicks.
    clicks : sequence of Click
        On that slice.
    known : callable, optional
        Number of a slice -> what else is known of it, its automatic answer above all.

    Yields
    ------
    tuple
        Number of a slice that changes, and its answer (H, W) uint8, inside from 128 on; the clicked slice first. Away
        from the lesion it is the automatic answer.
    """
    known = known or (lambda n: Known())
    plane, given = stack.read(start), known(start)
    scale = robust_range(plane)
    first, lesion = _first(net, stack, start, clicks, given, scale.of(plane))
    yield start, first
    if not lesion.any():
        return
    seen = given.base is not None and bool((lesion & (given.base >= INSIDE)).any())
    look = _Look(net, stack, known, scale, _guided(lesion, scale.of(plane)), seen)
    done = {start: _only(lesion, first >= INSIDE)}
    near = ndimage.binary_dilation(lesion, iterations=max(1, round(AROUND * max(lesion.shape) / UNITS)))
    done |= {n: _only(_touching(mask, near), mask) for n, mask in stack.corrected.items() if n != start}
    yield from _follow(look, start, done, LEFT * int(lesion.sum()))


def _follow(look: _Look, start: int, done: dict[int, Plane], least: float) -> Iterator[tuple[int, Plane]]:
    """Answer the slices beside the clicked one until the lesion ends, or one is `done` already."""
    first, last = max((n for n in done if n < start), default=-1), min((n for n in done if n > start), default=None)
    between = range(first + 1, look.stack.count if last is None else last)
    asked, ended = set(done), set[bool]()
    while True:
        carried = _carried(look.stack, look.known, done)
        new = [n for n in carried if n in between and n not in asked]
        found: dict[int, Plane] = {}
        for n in sorted(new, key=lambda n: (n < start, abs(n - start))):
            answered = look.at(n, carried[n])
            own = _touching(answered >= INSIDE, carried[n] >= INSIDE)
            if (n > start) not in ended and look.shows(n, own):
                yield n, answered
                found[n] = _only(own, answered >= INSIDE)
            else:
                ended.add(n > start)
        asked |= set(new)
        far = look.going_on(found, start, least)
        if not far:
            return
        done = done | far


@dataclass(frozen=True, eq=False)
class _Look:
    """Answers slices where a carried outline is expected."""

    net: Net
    stack: Stack
    known: Callable[[int], Known]
    scale: Range
    like: Known
    seen: bool

    def at(self, n: int, carried: Plane) -> Plane:
        """Return the answer (H, W) to a slice; nothing of the lesion where nothing was carried."""
        expected = carried >= INSIDE
        if not expected.any():
            return carried
        plane, given = self.stack.read(n), self.known(n)
        told = replace(given, region=expected, like=self.like.like, unlike=self.like.unlike)
        votes = [carried, answer(self.net, plane, (), told, self.scale.of(plane))]
        if self.seen and given.base is not None:
            votes.append(given.base)
        total = np.sum(votes, axis=0, dtype=np.uint16)
        return np.asarray((total + len(votes) // 2) // len(votes), np.uint8)

    def shows(self, n: int, mask: Mask) -> bool:
        """Tell whether a slice's lesion (H, W) is one: neither a speck nor unlike the clicked one."""
        return int(mask.sum()) >= SMALLEST * (max(mask.shape) / UNITS) ** 2 and self._alike(n, mask) >= ALIKE

    def going_on(self, ends: dict[int, Plane], start: int, least: float) -> dict[int, Plane]:
        """Return the outermost new slices on either side where a lesion is too large, and too alike, to end there."""
        sides = [[n for n in ends if n > start], [n for n in ends if n < start]]
        outer = [max(side, key=lambda n: abs(n - start)) for side in sides if side]
        large = [n for n in outer if int((ends[n] == 1).sum()) >= least]
        return {n: ends[n] for n in large if self._alike(n, ends[n] == 1) >= CLEARLY}

    def _alike(self, n: int, mask: Mask) -> float:
        """Return the share of a slice's lesion that is more like the clicked one than like what is around that."""
        assert self.like.like is not None
        assert self.like.unlike is not None
        values = self.scale.of(self.stack.read(n))[mask][None]
        like, unlike = likeness(values, self.like.like), likeness(values, self.like.unlike)
        return float(((like >= unlike) & (like > 0)).mean())


class _Bases(Mapping[int, "Plane"]):
    """Automatic answers (1, H, W) by slice, never nothing at all: what it has not seen may go on all the same."""

    def __init__(self, known: Callable[[int], Known], count: int, shape: tuple[int, ...]) -> None:
        self._known, self._count, self._shape = known, count, shape

    def __getitem__(self, number: int) -> Plane:
        if not 0 <= number < self._count:
            raise KeyError(number)
        base = self._known(number).base
        faint = np.uint8(NOTHING + 1)
        return np.full((1, *self._shape), faint) if base is None else np.maximum(base, faint)[None]

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._count))

    def __len__(self) -> int:
        return self._count


class _Planes(Sequence["NDArray[Any]"]):
    """The pixels of a stack's slices, read when they are looked at."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def __getitem__(self, number: Any) -> Any:
        return self._stack.read(number)

    def __len__(self) -> int:
        return self._stack.count


def _carried(stack: Stack, known: Callable[[int], Known], done: dict[int, Plane]) -> dict[int, Plane]:
    """Return the probability (H, W) of the slices that follow what is outlined already."""
    weights = replace(stack.weights or CarryWeights(), reach=REACH_MM)
    bases = _Bases(known, stack.count, next(iter(done.values())).shape)
    found = carry(_Planes(stack), done, bases, 1, stack.spacing, weights)
    return {n: one[0] for n, one in found.probability.items()}


def _first(
    net: Net, stack: Stack, start: int, clicks: Sequence[Click], given: Known, grey: NDArray[np.float32]
) -> tuple[Plane, Mask]:
    """Return the answer (H, W) to the clicked slice, and the lesion that was meant."""
    mask = stack.corrected.get(start)
    if mask is not None:
        others = mask if given.before is None else mask | (given.before >= INSIDE)
        return np.where(others, np.uint8(255), np.uint8(0)), mask
    first = answer(net, stack.read(start), clicks, given, grey)
    return first, meant(first >= INSIDE, clicks, given)


def _touching(mask: Mask, place: Mask) -> Mask:
    """Return the pieces of a mask that reach into a place."""
    pieces, _ = ndimage.label(mask, np.ones((3, 3)))
    return np.isin(pieces, np.setdiff1d(pieces[place], 0))


def _only(lesion: Mask, mask: Mask) -> Plane:
    """Return a slice's mask as `carry` takes it; what is not the lesion says nothing."""
    return np.where(lesion, 1, np.where(mask, UNSURE, 0)).astype(np.uint8)


def meant(mask: Mask, clicks: Sequence[Click], known: Known) -> Mask:
    """Return the pieces of a mask (H, W) that clicks, boxes and scribbles are about.

    Of each click that is the nearest one, if any lies nearby; it may be one that a click has only cut back.
    """
    pieces, _ = ndimage.label(mask, np.ones((3, 3)))
    wanted: set[int] = set()
    if mask.any():
        away, nearest = ndimage.distance_transform_edt(~mask, return_indices=True)
        places = [(c.row, c.column) for c in clicks if away[c.row, c.column] <= TOGETHER * max(mask.shape) / UNITS]
        wanted |= {int(pieces[tuple(nearest[:, row, column])]) for row, column in places}
    for place in (known.region, None if known.scribble is None else known.scribble > 0):
        if place is not None:
            wanted |= set(np.unique(pieces[place]).tolist())
    return np.isin(pieces, sorted(wanted - {0}))


def _guided(mask: Mask, grey: NDArray[np.float32]) -> Known:
    """Return the grey values of a lesion and of what is around it."""
    # The outline itself may be a pixel off.
    gap, wide = (ndimage.distance_transform_edt(~mask) > away * max(mask.shape) / UNITS for away in (GAP, AROUND))
    return Known(like=grey[mask], unlike=grey[gap & ~wide])
