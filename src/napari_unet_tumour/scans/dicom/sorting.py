"""Planes -> series: sorted by where they lie, with gaps, repeats, tilt and uneven spacing found and said."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.scans.dicom.times import counted, stacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.dicom.header import DicomPlane

# Headers hold decimal text: directions that differ by less, and spacings by a smaller share, are one.
_SAME_DIRECTION, _SAME_SPACING = 1e-3, 1e-3
_ROUNDING, _UNEVEN = 0.1, 0.05
_TILT = 0.5


@dataclass(frozen=True)
class Series:
    """Planes that make one scan.

    Parameters
    ----------
    name : str
        What a person sees: the series' description, never a patient's name.
    planes : tuple of Plane
        Sorted as the array will be: time first, then place; None where a slice is missing.
    times : int
        How many planes share each place.
    step : tuple of float, optional
        From one slice to the next in mm, LPS+; None when places are not known.
    notes : tuple of str
        What a person should know: missing slices, repeats, tilt, uneven spacing.
    """

    name: str
    planes: tuple[DicomPlane | None, ...]
    times: int = 1
    step: tuple[float, ...] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def size(self) -> int:
        """Bytes that the stored pixels take, 2 bytes a sample where that is not known."""
        head = self.first.head
        return len(self.planes) * math.prod(head.shape) * (2 if head.dtype is None else head.dtype.itemsize)

    @property
    def first(self) -> DicomPlane:
        """The first plane that is there."""
        return next(plane for plane in self.planes if plane is not None)


def alike(planes: list[DicomPlane]) -> list[list[DicomPlane]]:
    """Part planes by orientation and spacing; what differs only in the last figures of the text stays together."""
    parts: list[list[DicomPlane]] = []
    known: dict[Any, list[DicomPlane]] = {}
    for plane in planes:
        key = plane.orientation, plane.spacing
        if key not in known:
            known[key] = next((part for part in parts if _is_like(plane, part[0])), [])
            if not known[key]:
                parts.append(known[key])
        known[key].append(plane)
    return parts


def _is_like(one: DicomPlane, other: DicomPlane) -> bool:
    a, b = one.orientation, other.orientation
    turned = a is not None and b is not None and float(np.abs(np.subtract(a, b)).max()) > _SAME_DIRECTION
    c, d = one.spacing, other.spacing
    spaced = c is not None and d is not None and not np.allclose(c, d, rtol=_SAME_SPACING, atol=0)
    return (a is None) == (b is None) and (c is None) == (d is None) and not turned and not spaced


def sort_slices(planes: list[DicomPlane], gap: float | None = None) -> Series:
    """Sort planes of one kind by place, and find what is missing or there twice; `gap` in mm where it is known."""
    name = planes[0].head.name
    once = list({(p.head.instance or str(p.head.path), p.frame, p.position): p for p in planes}.values())
    notes = (
        [f"{counted(len(planes) - len(once), 'file is', 'files are')} there twice"] if len(once) < len(planes) else []
    )
    if any(p.position is None or p.orientation is None for p in once):
        in_turn = sorted(once, key=_is_turned)
        return Series(name, tuple(in_turn), notes=tuple(notes))
    stacks, more = stacked(once, _normal(once[0]))
    step, planes_, gaps = _spread(stacks, gap)
    return Series(name, planes_, len(planes_) // gaps[0], step, (*notes, *more, *gaps[1]))


def _is_turned(plane: DicomPlane) -> tuple[float, ...]:
    return plane.turn


def _normal(plane: DicomPlane) -> NDArray[np.float64]:
    return np.cross((plane.orientation or ())[:3], (plane.orientation or ())[3:])


def _spread(
    stacks: Sequence[Sequence[DicomPlane | None]], gap: float | None
) -> tuple[tuple[float, ...], tuple[DicomPlane | None, ...], tuple[int, list[str]]]:
    """Return the step between slices, the planes with None where one is missing, and (slices, notes)."""
    there = [next(plane for plane in stack if plane is not None) for stack in stacks]
    places, first = np.array([plane.position for plane in there]), there[0]
    if len(stacks) == 1:
        step = _normal(first) * (gap or first.head.thickness or 1.0)
        return tuple(step.tolist()), tuple(stacks[0]), (1, [])
    numbers, notes = _numbers((places - places[0]) @ _normal(first), gap)
    step = (places[-1] - places[0]) / numbers[-1]
    filled = dict(zip(numbers, stacks, strict=True))
    whole = range(numbers[-1] + 1)
    planes = tuple(filled[n][t] if n in filled else None for t in range(len(stacks[0])) for n in whole)
    return tuple(step.tolist()), planes, (len(whole), [*notes, *_tilt_note(step, first)])


def _numbers(along: NDArray[np.float64], gap: float | None) -> tuple[list[int], list[str]]:
    """Return the slice number of every place, with holes where slices are missing, and what to say about it."""
    gaps = np.diff(along)
    multiples = gaps / gaps.min()
    whole = bool((np.abs(multiples - np.round(multiples)) < _ROUNDING).all())
    usual = gap or float(gaps.min() if whole else np.median(gaps))
    counts = np.maximum(np.round(gaps / usual), 1).astype(int)
    numbers = np.concatenate([[0], np.cumsum(counts)])
    off = np.abs(along - numbers * along[-1] / numbers[-1]).max()
    if off > 0.1 * usual or (gap is None and numbers[-1] > 4 * len(numbers)):
        numbers = np.arange(len(along))
        off = np.abs(along - numbers * along[-1] / numbers[-1]).max()
    missing = int(numbers[-1]) + 1 - len(numbers)
    notes = [f"{counted(missing, 'slice is', 'slices are')} missing and shown empty"] if missing else []
    if off > _UNEVEN:
        notes.append(f"the distance between slices varies: some lie up to {off:.2f} mm from where they are shown")
    return [int(n) for n in numbers], notes


def _tilt_note(step: NDArray[np.float64], plane: DicomPlane) -> list[str]:
    cosine = abs(float(np.dot(step, _normal(plane)))) / float(np.linalg.norm(step))
    angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return (
        [f"the gantry was tilted by {angle:.1f} degrees: the slices are shown sheared as they lie"]
        if angle > _TILT
        else []
    )
