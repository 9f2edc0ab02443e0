"""Planes that lie at the same place -> volumes that follow each other in time."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.dicom.header import DicomPlane

    Place = list[DicomPlane]
    Stack = list[DicomPlane | None]
    Key = Callable[[DicomPlane], Any]

# Planes of one place may lie so many mm apart by rounding or drift, and no further than a share of the next distance.
_ROUNDING, _DRIFT, _SHARE = 1e-3, 0.05, 0.1
# Components of `Plane.turn`: those before the number tell points in time, echoes and b-values apart.
_NUMBER = 6


def stacked(planes: list[DicomPlane], normal: NDArray[np.float64]) -> tuple[list[Stack], list[str]]:
    """Return planes by place along the normal, each place with one plane per volume, and what to say about it.

    Parameters
    ----------
    planes : list of Plane
        Of one orientation, each with a position.
    normal : numpy.ndarray
        (3,) direction of the slices.

    Returns
    -------
    stacks : list of list of (Plane or None)
        In order of place, all of the same length; None where a volume lacks a slice.
    notes : list of str
        What a person should know: slices that a volume lacks, or that were left out.
    """
    along = {id(plane): float(np.dot(normal, plane.position or ())) for plane in planes}
    ordered = sorted(planes, key=lambda plane: (along[id(plane)], plane.turn))
    where = np.array([along[id(plane)] for plane in ordered])
    places = [sorted(place, key=lambda plane: plane.turn) for place in _places(ordered, where)]
    counts = {len(place) for place in places}
    return ([[*place] for place in places], []) if len(counts) == 1 else _uneven(places)


def _places(ordered: list[DicomPlane], along: NDArray[np.float64]) -> list[Place]:
    """Group sorted planes by place: some micrometres apart is one place where the next one is far away."""
    steps = np.diff(along)
    sizes = np.unique(np.maximum(steps, _ROUNDING))
    jumps = sorted((a / b, a, b) for a, b in pairwise(sizes) if a <= _SHARE * b)
    if along[-1] - along[0] <= _DRIFT:
        jumps.append((1.0, along[-1] - along[0], np.inf))
    for _, apart, gap in jumps:
        groups = _cut(ordered, steps, apart)
        spans = [np.ptp(part) for part in np.split(along, np.flatnonzero(steps > apart) + 1)]
        if max(spans) <= _SHARE * gap and (max(spans) <= _ROUNDING or _is_repeat(groups, ordered, along, max(spans))):
            return groups
    return _cut(ordered, steps, _ROUNDING)


def _cut(ordered: list[DicomPlane], steps: NDArray[np.float64], apart: float) -> list[Place]:
    at = [0, *(np.flatnonzero(steps > apart) + 1).tolist(), len(ordered)]
    return [ordered[a:b] for a, b in pairwise(at)]


def _is_repeat(groups: list[Place], ordered: list[DicomPlane], along: NDArray[np.float64], span: float) -> bool:
    """Tell whether the planes of each group follow each other in time, rather than lie side by side."""
    if len(groups) > 1 and span <= _DRIFT and len({len(group) for group in groups}) == 1:
        return True
    if _key(groups, timed=len(groups) == 1) is not None:
        return True
    numbered = np.array([place for _, place in sorted(zip((p.turn[_NUMBER] for p in ordered), along, strict=True))])
    steps = np.diff(numbered)
    return len(groups) > 1 and bool((steps > span).any() and (steps < -span).any())


def _key(places: list[Place], *, timed: bool = False) -> Key | None:
    """Return what tells the planes of every place apart with as many values as there are volumes, or None.

    With `timed` it is an element that speaks of time, echo or b-value, never the running number of the slices.
    """
    most = max(len(place) for place in places)
    first = min(plane.turn[_NUMBER] for place in places for plane in place)
    keys: list[Key] = [
        *((lambda plane, n=n: plane.turn[n]) for n in range(_NUMBER)),
        lambda plane: plane.turn[:_NUMBER],
    ]
    numbered: list[Key] = [
        lambda plane: (plane.turn[_NUMBER] - first) // len(places),
        lambda plane: (plane.turn[_NUMBER] - first) % most,
    ]
    in_range = [key for key in numbered if all(key(plane) < most for place in places for plane in place)]
    return next((key for key in [*keys, *([] if timed else in_range)] if _fits(key, places, most)), None)


def _fits(key: Key, places: list[Place], most: int) -> bool:
    values = [[key(plane) for plane in place] for place in places]
    return len({v for place in values for v in place}) == most > 1 and all(len({*v}) == len(v) for v in values)


def counted(n: int, one: str, several: str) -> str:
    """Return e.g. "1 slice is" or "3 slices are"."""
    return f"{n} {one if n == 1 else several}"


def _uneven(places: list[Place]) -> tuple[list[Stack], list[str]]:
    """Arrange places with unequal numbers of planes: volumes that lack slices, or one volume and what is left over."""
    usual = Counter(len(place) for place in places).most_common(1)[0][0]
    key = _key(places, timed=usual == 1)
    if key is None:
        stacks = [[*place, *[None] * (max(map(len, places)) - len(place))] for place in places]
    else:
        values = sorted({key(plane) for place in places for plane in place})
        found = [{key(plane): plane for plane in place} for place in places]
        stacks = [[one.get(value) for value in values] for one in found]
    lacking = [sum(stack[n] is None for stack in stacks) for n in range(len(stacks[0]))]
    extra = sum(len(place) - 1 for place in places)
    # One slice that was taken again is no second volume.
    if usual == 1 and (key is None or 0 not in lacking or extra == 1):
        return [[place[0]] for place in places], [
            f"{counted(extra, 'slice lies', 'slices lie')} where another one does, left out"
        ]
    return stacks, [
        f"volume {n} of {len(lacking)} lacks {count} of {len(places)} slices: they are shown empty"
        for n, count in enumerate(lacking, start=1)
        if count
    ]
