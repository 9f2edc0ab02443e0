"""Fuse two predictions of a scan: the gated branch where a reviewed slice supports it, the base network elsewhere.

A network that was moved by one or two corrected slices outlines their lesion as the person does, and paints islands
elsewhere. What hangs together with a corrected lesion through the slices is the lesion that it was moved for; the rest
is answered as before. In a scan that nobody has corrected, what the base network found supports it. Whether a slice
shows a lesion at all is the base network's to say: a piece of which it sees nothing is not drawn, and a piece that it
sees stays where the moved one draws nothing instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.base.compressed import CompressedArray
from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.postprocess.threshold import effective_threshold

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.settings import SegmentSettings

# Pieces closer than this share of a plane's longer side belong together.
REACH = 0.02
# From this probability (0..255) on the base network sees something.
NOTHING = 5
# Voxels that are looked at together; above it every plane is for itself.
MOST = 1 << 26
ALL_AROUND = np.ones((3, 3, 3))


class AnswerFusion:
    """Takes the two answers to planes, and gives one when all are there.

    Parameters
    ----------
    settings : SegmentSettings
        What decides which pixels are foreground.
    sure : mapping of int to numpy.ndarray
        (H, W) labels of planes that a person has corrected; `UNSURE` supports nothing. They may be among the planes.
    """

    def __init__(self, settings: SegmentSettings, sure: Mapping[int, NDArray[np.uint8]] | None = None) -> None:
        self._settings, self._sure = settings, sure or {}
        self._both: dict[int, CompressedArray] = {}
        drawn = {n: (mask > 0) & (mask != UNSURE) for n, mask in self._sure.items()}
        self._found = {n: CompressedArray(np.stack([mask] * 3).astype(np.uint8)) for n, mask in drawn.items()}
        self._seen = [*drawn.values()]

    def add(self, number: int, both: NDArray[np.uint8]) -> None:
        """Take the probability (2 L, H, W) uint8 of a plane: the first answer, then the second."""
        self._both[number] = CompressedArray(both)
        if number not in self._sure:
            labels = len(both) // 2
            first, second = (foreground(one, self._settings) for one in (both[:labels], both[labels:]))
            hint = both[:labels].sum(0, dtype=np.uint32) >= NOTHING
            self._found[number] = CompressedArray(np.stack([first, second, hint]).astype(np.uint8))
            self._seen = [np.logical_or.reduce([*self._seen, first, second])]

    def iter_planes(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield every plane's number and its one answer (L, H, W) uint8, in the order in which they came."""
        numbers, box = sorted(self._found), self._box()
        found = np.stack([self._found[n].array()[:, *box] > 0 for n in numbers], 1)
        settled, reach = np.isin(numbers, [*self._sure]), REACH * max(self._found[numbers[0]].shape[1:])
        takes, drops = connected_support(found[0], found[1], settled, _depth(numbers), reach, hint=found[2])
        for number, packed in self._both.items():
            first, second = np.split(packed.array(), 2)
            answer, n = first.copy(), numbers.index(number)
            answer[:, *box] = fuse(first[:, *box], second[:, *box], takes[n], drops[n])
            yield number, answer

    def _box(self) -> tuple[slice, slice]:
        """Return the rows and columns where there is any foreground."""
        from scipy import ndimage  # takes half a second

        seen = np.logical_or.reduce(self._seen)
        return ndimage.find_objects(seen.astype(np.uint8))[0] if seen.any() else (slice(0, 0), slice(0, 0))


def fuse_single_plane(both: NDArray[np.uint8], settings: SegmentSettings) -> NDArray[np.uint8]:
    """Return the one answer (L, H, W) to a plane that is seen by itself, of both (2 L, H, W)."""
    fusion = AnswerFusion(settings)
    fusion.add(0, both)
    return next(fusion.iter_planes())[1]


def foreground(probability: NDArray[np.uint8], settings: SegmentSettings) -> NDArray[np.bool_]:
    """Return where the labels (L, H, W) together are foreground: (H, W)."""
    together = probability.sum(0, dtype=np.uint32)
    return np.asarray(together >= effective_threshold(together, settings))


def connected_support(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    settled: NDArray[np.bool_],
    depth: Sequence[int],
    reach: float,
    hint: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where the second answer is taken, and where the first is dropped for it; both (N, H, W).

    Parameters
    ----------
    first, second : numpy.ndarray
        (N, H, W) foreground of the two answers; of settled planes what a person has drawn.
    settled : numpy.ndarray
        (N,) planes that a person has corrected; among their neighbours they alone support the branch's answer, where
        there are none the base network's.
    depth : sequence of int
        (N,) where the planes lie; only neighbours hang together.
    reach : float
        Pixels by which pieces may be apart and still be one.
    hint : numpy.ndarray, optional
        (N, H, W) where the base network sees anything at all; everywhere when left out.
    """
    if first.size > MOST:
        depth = [2 * n for n in range(len(first))]
    seen = np.ones_like(first) if hint is None else hint
    near = np.stack([_with_any(_wider(one, reach), other) for one, other in zip(second, seen, strict=True)])
    pieces = _pieces(near, depth)
    runs = np.cumsum(np.diff(depth, prepend=depth[0]) > 1)
    supports = settled | ~np.isin(runs, runs[settled])
    fusion = first & supports[:, None, None]
    takes = np.isin(pieces, _in(pieces, fusion & near))
    own = _pieces(first, depth)
    instead = np.stack([_with_any(one, other) for one, other in zip(first, takes, strict=True)])
    return takes, np.isin(own, _in(own, takes)) & instead & ~takes


def fuse(
    first: NDArray[np.uint8], second: NDArray[np.uint8], takes: NDArray[np.bool_], drops: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return one answer (L, H, W) of two: the second where it is taken, the lower one where the first is dropped."""
    return np.where(takes, second, np.where(drops, np.minimum(first, second), first))


def _wider(where: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(~where) <= reach) if where.any() else where


def _with_any(where: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pieces of a plane (H, W) in which there is any of the other."""
    pieces = _pieces(where[None], [0])[0]
    return np.asarray(np.isin(pieces, _in(pieces, other)))


def _depth(numbers: Sequence[int]) -> list[int]:
    """Return places of planes, neighbours side by side and any others one apart."""
    apart = np.minimum(np.diff(numbers, prepend=numbers[0]), 2)
    return [int(place) for place in np.cumsum(apart)]


def _pieces(where: NDArray[np.bool_], depth: Sequence[int]) -> NDArray[np.int32]:
    """Give every piece a number, 0 elsewhere; pieces go on through neighbouring planes."""
    from scipy import ndimage

    spread = np.zeros((max(depth) + 1, *where.shape[1:]), bool)
    spread[list(depth)] = where
    found, _ = ndimage.label(spread, ALL_AROUND)
    return np.asarray(found[list(depth)])


def _in(pieces: NDArray[np.int32], where: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.setdiff1d(pieces[where], 0)
