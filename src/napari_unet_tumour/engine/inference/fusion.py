"""Fuse two predictions of a scan: the gated branch where a reviewed slice supports it, the base network elsewhere.

A network that was fine-tuned on one or two slices outlines their lesion as the person does, but also marks false
islands elsewhere. So its branch is used for components that are connected, through the slices, to a corrected lesion;
in a scan without corrections, to a component of the base network. The base network decides whether a slice shows a
lesion at all: a component of the branch where it sees nothing is left out, and a component of its own stays where the
branch marks nothing in its place.
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

# Components closer than this fraction of a plane's longer side are connected.
REACH = 0.02
# The base network sees something from this probability on, of 255.
NOTHING = 5
# Largest number of voxels whose components are connected through the slices.
MOST = 1 << 26
ALL_AROUND = np.ones((3, 3, 3))


class AnswerFusion:
    """Collects the two predictions of all planes, then gives one.

    Parameters
    ----------
    settings : SegmentSettings
        Settings of the threshold.
    corrected : mapping of int to numpy.ndarray
        (H, W) labels of corrected planes; pixels of `UNSURE` support nothing. These planes may be predicted too.
    """

    def __init__(self, settings: SegmentSettings, corrected: Mapping[int, NDArray[np.uint8]] | None = None) -> None:
        self._settings, self._corrected = settings, corrected or {}
        self._both: dict[int, CompressedArray] = {}
        drawn = {n: (mask > 0) & (mask != UNSURE) for n, mask in self._corrected.items()}
        self._found = {n: CompressedArray(np.stack([mask] * 3).astype(np.uint8)) for n, mask in drawn.items()}
        self._seen = [*drawn.values()]

    def add(self, number: int, both: NDArray[np.uint8]) -> None:
        """Add the probability (2 L, H, W) uint8 of a plane: of the base network, then of the branch."""
        self._both[number] = CompressedArray(both)
        if number not in self._corrected:
            labels = len(both) // 2
            first, second = (foreground(one, self._settings) for one in (both[:labels], both[labels:]))
            hint = both[:labels].sum(0, dtype=np.uint32) >= NOTHING
            self._found[number] = CompressedArray(np.stack([first, second, hint]).astype(np.uint8))
            self._seen = [np.logical_or.reduce([*self._seen, first, second])]

    def iter_planes(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield every plane's number and its fused prediction (L, H, W) uint8, in the order of `add`."""
        numbers, box = sorted(self._found), self._box()
        found = np.stack([self._found[n].array()[:, *box] > 0 for n in numbers], 1)
        corrected, reach = np.isin(numbers, [*self._corrected]), REACH * max(self._found[numbers[0]].shape[1:])
        takes, drops = connected_support(found[0], found[1], corrected, _depth(numbers), reach, hint=found[2])
        for number, compressed in self._both.items():
            first, second = np.split(compressed.array(), 2)
            fused, n = first.copy(), numbers.index(number)
            fused[:, *box] = fuse(first[:, *box], second[:, *box], takes[n], drops[n])
            yield number, fused

    def _box(self) -> tuple[slice, slice]:
        """Return the rows and columns where there is any foreground."""
        from scipy import ndimage  # takes half a second

        seen = np.logical_or.reduce(self._seen)
        return ndimage.find_objects(seen.astype(np.uint8))[0] if seen.any() else (slice(0, 0), slice(0, 0))


def fuse_single_plane(both: NDArray[np.uint8], settings: SegmentSettings) -> NDArray[np.uint8]:
    """Return the fused prediction (L, H, W) of a plane without its neighbours, from both (2 L, H, W)."""
    fusion = AnswerFusion(settings)
    fusion.add(0, both)
    return next(fusion.iter_planes())[1]


def foreground(probability: NDArray[np.uint8], settings: SegmentSettings) -> NDArray[np.bool_]:
    """Return the foreground (H, W) of a probability (L, H, W)."""
    together = probability.sum(0, dtype=np.uint32)
    return np.asarray(together >= effective_threshold(together, settings))


def connected_support(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    corrected: NDArray[np.bool_],
    depth: Sequence[int],
    reach: float,
    hint: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where the second prediction is taken, and where the first is dropped in its favour; both (N, H, W).

    Parameters
    ----------
    first, second : numpy.ndarray
        (N, H, W) foreground of the two predictions; for corrected planes, both are the corrected mask.
    corrected : numpy.ndarray
        (N,) whether the plane is corrected. In a run of neighbouring planes with a corrected one, only corrected planes
        support the second prediction; in other runs the first prediction does.
    depth : sequence of int
        (N,) positions of the planes; only neighbours are connected.
    reach : float
        Distance in pixels up to which components are connected.
    hint : numpy.ndarray, optional
        (N, H, W) where the base network sees anything; everywhere by default.
    """
    if first.size > MOST:
        depth = [2 * n for n in range(len(first))]
    seen = np.ones_like(first) if hint is None else hint
    near = np.stack([_with_any(_wider(one, reach), other) for one, other in zip(second, seen, strict=True)])
    components = _components(near, depth)
    runs = np.cumsum(np.diff(depth, prepend=depth[0]) > 1)
    supports = corrected | ~np.isin(runs, runs[corrected])
    support = first & supports[:, None, None]
    takes = np.isin(components, _in(components, support & near))
    own = _components(first, depth)
    instead = np.stack([_with_any(one, other) for one, other in zip(first, takes, strict=True)])
    return takes, np.isin(own, _in(own, takes)) & instead & ~takes


def fuse(
    first: NDArray[np.uint8], second: NDArray[np.uint8], takes: NDArray[np.bool_], drops: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return the fused prediction (L, H, W): the second where taken, the lower one where the first is dropped."""
    return np.where(takes, second, np.where(drops, np.minimum(first, second), first))


def _wider(where: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(~where) <= reach) if where.any() else where


def _with_any(where: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the components of a plane (H, W) that overlap another mask."""
    components = _components(where[None], [0])[0]
    return np.asarray(np.isin(components, _in(components, other)))


def _depth(numbers: Sequence[int]) -> list[int]:
    """Return positions of planes: neighbours one apart, others two."""
    apart = np.minimum(np.diff(numbers, prepend=numbers[0]), 2)
    return [int(place) for place in np.cumsum(apart)]


def _components(where: NDArray[np.bool_], depth: Sequence[int]) -> NDArray[np.int32]:
    """Return component numbers, 0 for background; components extend through neighbouring planes."""
    from scipy import ndimage

    spread = np.zeros((max(depth) + 1, *where.shape[1:]), bool)
    spread[list(depth)] = where
    found, _ = ndimage.label(spread, ALL_AROUND)
    return np.asarray(found[list(depth)])


def _in(components: NDArray[np.int32], where: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.setdiff1d(components[where], 0)
