"""Clicks on a plane -> the outlined lesions: windows around the clicks, looked at again where a lesion asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet_tumour.clicks.picture import draw, robust
from napari_unet_tumour.clicks.window import UNITS, Window, side_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Grey = NDArray[np.float32]
    Mask = NDArray[np.bool_]

# (N, channels, SIDE, SIDE) float32 -> probability (N, SIDE, SIDE) float32.
Net = Callable[["Grey"], "Grey"]
Box = tuple[float, float, float, float]

# From this value on a pixel of an answer is inside.
INSIDE = 128
# Lengths in `UNITS` of a plane. The first look at a place of which nothing is known, the narrowest and the widest look.
FIRST, NARROWEST, WIDEST = 112.0, 28.0, 290.0
# Clicks that are nearer to each other than this are about one lesion.
TOGETHER = 40.0
# A second look is worth it where the lesion asks for a side that differs by more than this factor.
AGAIN, LOOKS = 1.25, 3
# Of larger planes every n-th pixel tells where pieces lie.
FINE = 512
# How far the pixel of a click that the network does not follow spreads over like pixels.
SPREAD, ALIKE = 3.0, 0.5


@dataclass(frozen=True)
class Click:
    """A click on a plane.

    Parameters
    ----------
    row, column : int
        The pixel.
    sign : int
        +1: the lesion is here; -1: it is not.
    """

    row: int
    column: int
    sign: int = 1


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a plane beside its pixels and the clicks; arrays are (H, W).

    Parameters
    ----------
    base : numpy.ndarray, optional
        uint8, the automatic answer; inside from 128 on (see `relevelled`).
    before : numpy.ndarray, optional
        uint8, the answer or the person's mask before the last click; inside from 128 on.
    region : numpy.ndarray, optional
        bool, a rough region that a lesion lies in or near: a box, or the mask of the slice before.
    scribble : numpy.ndarray, optional
        int8, 1 and -1 where a person painted what is and what is not the lesion.
    like, unlike : numpy.ndarray, optional
        (n,) float32 z-scores of the lesion and of what is around it, from another slice.
    """

    base: NDArray[np.uint8] | None = None
    before: NDArray[np.uint8] | None = None
    region: Mask | None = None
    scribble: NDArray[np.int8] | None = None
    like: Grey | None = None
    unlike: Grey | None = None


def answer(
    net: Net, plane: NDArray[Any], clicks: Sequence[Click], known: Known | None = None, grey: Grey | None = None
) -> NDArray[np.uint8]:
    """Outline what was clicked.

    Parameters
    ----------
    net : callable
        Pictures (N, 8, 96, 96) float32 -> probability (N, 96, 96) float32: the click network, or `grey_values.guess`.
    plane : numpy.ndarray
        (H, W) of any real type.
    clicks : sequence of Click
        Within the plane, in the order in which they were made: of two on one pixel the later one counts.
    known : Known, optional
        What else is known.
    grey : numpy.ndarray, optional
        `picture.robust(plane)`, where it is at hand.

    Returns
    -------
    numpy.ndarray
        (H, W) uint8, 0..255 for 0..1; inside from 128 on. The pixel of a click that adds is inside, of one that removes
        outside. Far from all clicks it is what it was before: `known.before`, else `known.base`, else 0.
    """
    known = known or Known()
    grey = robust(plane) if grey is None else grey
    start = known.before if known.before is not None else known.base
    current = np.zeros(grey.shape, np.uint8) if start is None else start
    clicks = _last_of_each_pixel([*_points(known.scribble, grey.shape), *clicks])
    found = current.copy()
    if grey.any():
        _look(net, grey, clicks, known, current >= INSIDE, found)
    _obey(found, grey, clicks, known.scribble)
    return found


def relevelled(values: NDArray[np.uint8], old: int, new: int) -> NDArray[np.uint8]:
    """Return values 0..255 stretched so that what reached the level `old` reaches `new`, and only that (levels 1..255).

    An automatic answer that is inside from some threshold on becomes one that is inside from `INSIDE` on, and back.
    """
    known = np.arange(256, dtype=np.float64)
    below = known / max(old - 1, 1) * (new - 1)
    above = new + (known - old) / max(255 - old, 1) * (255 - new)
    table = np.where(known < old, below, above).round().clip(0, 255).astype(np.uint8)
    return np.asarray(table[values])


@dataclass(eq=False)
class _Group:
    """Clicks that are about one lesion, the corners of its boxes (top, left, bottom, right), and its window."""

    clicks: list[Click]
    boxes: list[Box]
    window: Window


def _look(net: Net, grey: Grey, clicks: list[Click], known: Known, current: Mask, found: NDArray[np.uint8]) -> None:
    """Write the network's answers into `found`."""
    groups = _groups(grey.shape, clicks, known, current)
    answers: list[Grey] = [np.zeros((0, 0), np.float32)] * len(groups)
    waiting = list(range(len(groups)))
    for n in range(LOOKS):
        if not waiting:
            break
        pictures = np.stack([_picture(groups[g], grey, known) for g in waiting])
        for g, one in zip(waiting, net(pictures), strict=True):
            answers[g] = groups[g].window.put(one, grey.shape)
        if n < LOOKS - 1:
            waiting = [g for g in waiting if _moved(groups[g], answers[g], grey.shape)]
    _put(groups, answers, found)


def _groups(shape: tuple[int, ...], clicks: list[Click], known: Known, current: Mask) -> list[_Group]:
    """Sort clicks by lesion: near each other, or in one piece of the mask or of the rough region so far."""
    unit = max(shape) / UNITS
    near, rough = _Pieces(current), _Pieces(np.zeros((1, 1), bool) if known.region is None else known.region)
    count = len(rough.boxes)
    owner = list(range(len(clicks) + count))

    def root(n: int) -> int:
        while owner[n] != n:
            n = owner[n]
        return n

    places = np.array([(c.row, c.column) for c in clicks], float).reshape(-1, 2)
    pieces = [near.at(click, round(3 * unit)) for click in clicks]
    for n, click in enumerate(clicks):
        away = np.hypot(*(places[:n] - places[n]).T)
        for m in range(n):
            if away[m] <= TOGETHER * unit or (pieces[n] and pieces[m] == pieces[n]):
                owner[root(m)] = root(n)
        if known.region is not None and (inside := rough.at(click, 0)):
            owner[root(len(clicks) + inside - 1)] = root(n)
    members: dict[int, list[int]] = {}
    for n in range(len(owner)):
        members.setdefault(root(n), []).append(n)
    groups = []
    for numbers in members.values():
        own = [n for n in numbers if n < len(clicks)]
        boxes = [rough.boxes[n - len(clicks)] for n in numbers if n >= len(clicks)]
        extent = boxes + [near.boxes[piece - 1] for piece in {pieces[n] for n in own} if piece]
        chosen = [clicks[n] for n in own]
        groups.append(_Group(chosen, boxes, _window(extent, chosen, shape)))
    return groups


class _Pieces:
    """Connected pieces of a mask, and the boxes around them; of a large mask thinned ones."""

    def __init__(self, mask: Mask) -> None:
        self._thin = max(1, max(mask.shape) // FINE)
        self._pieces, _ = ndimage.label(mask[:: self._thin, :: self._thin], np.ones((3, 3)))
        self.boxes: list[Box] = [
            tuple(float(edge * self._thin) for edge in (r.start, c.start, r.stop, c.stop))  # type: ignore[misc]
            for r, c in ndimage.find_objects(self._pieces)
        ]

    def at(self, click: Click, reach: int) -> int:
        """Return the piece that a click lies in, or within `reach` pixels of it; 0 for none."""
        row, column = (
            min(at // self._thin, size - 1)
            for at, size in zip((click.row, click.column), self._pieces.shape, strict=True)
        )
        if here := int(self._pieces[row, column]):
            return here
        reach = -(-reach // self._thin)
        part = self._pieces[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        return int(part.max(initial=0))


def _window(boxes: list[Box], clicks: list[Click], shape: tuple[int, ...]) -> Window:
    """Return the window around a lesion's boxes (perhaps none) and its clicks."""
    unit = max(shape) / UNITS
    corners = [*boxes, *((c.row, c.column, c.row + 1, c.column + 1) for c in clicks)]
    top, left = (min(one[axis] for one in corners) for axis in (0, 1))
    bottom, right = (max(one[axis] for one in corners) for axis in (2, 3))
    side = side_for(max(bottom - top, right - left) / unit)
    side = min(max(side, NARROWEST if boxes else FIRST), WIDEST) * unit
    return Window((top + bottom - side) / 2, (left + right - side) / 2, side)


def _picture(group: _Group, grey: Grey, known: Known) -> Grey:
    window, lowest = group.window, float(grey.min())
    add, remove = (
        [window.inside(c.row, c.column) for c in group.clicks if c.sign == sign and window.covers(c.row, c.column)]
        for sign in (1, -1)
    )
    base, before = (None if one is None else window.take(one) / np.float32(255) for one in (known.base, known.before))
    region = None if known.region is None else window.take(known.region)
    return draw(window.take(grey, lowest), add, remove, base, region, before, known.like, known.unlike)


def _moved(group: _Group, found: Grey, shape: tuple[int, ...]) -> bool:
    """Fit a group's window to what was found there; False where the look was good enough."""
    rows, columns = group.window.region(shape)
    pieces, _ = ndimage.label(found >= 0.5, np.ones((3, 3)))
    seeds = [
        pieces[c.row - rows.start, c.column - columns.start]
        for c in group.clicks
        if c.sign > 0 and rows.start <= c.row < rows.stop and columns.start <= c.column < columns.stop
    ]
    for top, left, bottom, right in group.boxes:
        low, high = (
            (max(0, int(top) - rows.start), max(0, int(left) - columns.start)),
            (int(bottom) - rows.start, int(right) - columns.start),
        )
        seeds += np.unique(pieces[low[0] : max(0, high[0]), low[1] : max(0, high[1])]).tolist()
    wanted = {int(one) for one in seeds} - {0}
    around = ndimage.find_objects(pieces)
    boxes = [
        (rows.start + r.start, columns.start + c.start, rows.start + r.stop, columns.start + c.stop)
        for r, c in (around[one - 1] for one in wanted)
    ]
    if not boxes:
        return False
    window = _window([tuple(map(float, box)) for box in boxes], [c for c in group.clicks if c.sign > 0], shape)  # type: ignore[misc]
    if 1 / AGAIN <= window.side / group.window.side <= AGAIN:
        return False
    group.window = window
    return True


def _put(groups: list[_Group], answers: list[Grey], found: NDArray[np.uint8]) -> None:
    """Paste the answers; where windows overlap a pixel is that of the lesion whose clicks are nearest."""
    nearest = np.full(found.shape, np.inf, np.float32) if len(groups) > 1 else None
    for group, one in zip(groups, answers, strict=True):
        region = group.window.region(found.shape)
        values = np.clip(np.rint(one * 255), 0, 255).astype(np.uint8)
        if nearest is None:
            found[region] = values
            continue
        away = _away(group, region)
        closer = away < nearest[region]
        found[region] = np.where(closer, values, found[region])
        nearest[region] = np.minimum(away, nearest[region])


def _away(group: _Group, region: tuple[slice, slice]) -> Grey:
    """Return the distance of a region's pixels to a group's nearest click or box's middle."""
    points = [(float(c.row), float(c.column)) for c in group.clicks]
    points += [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in group.boxes]
    rows, columns = (np.arange(part.start, part.stop, dtype=np.float32) for part in region)
    away = np.full((len(rows), len(columns)), np.inf, np.float32)
    for row, column in points:
        np.minimum(away, np.hypot(rows[:, None] - row, columns - column), out=away)
    return away


def _points(scribble: NDArray[np.int8] | None, shape: tuple[int, ...]) -> list[Click]:
    """Return a click for every so many pixels of a scribble."""
    if scribble is None:
        return []
    cell = max(1, round(6 * max(shape) / UNITS))
    found: dict[tuple[int, int, int], Click] = {}
    for row, column in np.argwhere(scribble):
        sign = 1 if scribble[row, column] > 0 else -1
        found.setdefault((row // cell, column // cell, sign), Click(int(row), int(column), sign))
    return list(found.values())


def _last_of_each_pixel(clicks: list[Click]) -> list[Click]:
    return list({(c.row, c.column): c for c in clicks}.values())


def _obey(values: NDArray[np.uint8], grey: Grey, clicks: list[Click], scribble: NDArray[np.int8] | None) -> None:
    """Bring every click's pixel, and a scribble's, to its side."""
    reach = int(np.ceil(SPREAD * max(values.shape) / UNITS))
    for click in clicks:
        add = click.sign > 0
        if (values[click.row, click.column] >= INSIDE) == add:
            continue
        rows = slice(max(0, click.row - reach), click.row + reach + 1)
        columns = slice(max(0, click.column - reach), click.column + reach + 1)
        part = values[rows, columns]
        down, across = np.arange(part.shape[0]) + rows.start, np.arange(part.shape[1]) + columns.start
        away = np.hypot(down[:, None] - click.row, across - click.column)
        alike = (away <= reach) & (abs(grey[rows, columns] - grey[click.row, click.column]) <= ALIKE)
        part[alike] = np.maximum(part[alike], INSIDE) if add else np.minimum(part[alike], INSIDE - 1)
    if scribble is not None:
        values[scribble > 0] = np.maximum(values[scribble > 0], INSIDE)
        values[scribble < 0] = np.minimum(values[scribble < 0], INSIDE - 1)
    # The spread of one click may reach another's pixel.
    for click in clicks:
        here = values[click.row, click.column]
        values[click.row, click.column] = max(here, INSIDE) if click.sign > 0 else min(here, INSIDE - 1)
