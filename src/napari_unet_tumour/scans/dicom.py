"""DICOM files and folders -> Scan: slices sorted by where they lie, gaps and repeats found and said."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans import geometry
from napari_unet_tumour.scans.dicom_files import Head, Plane, dicom_files, pixels, read_planes
from napari_unet_tumour.scans.safety import check_size, memory_limit
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.settings import Progress

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from numpy.typing import NDArray

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4",)
_LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"
_AT_ONCE = 0.4
_SAME_PLACE = 1e-3
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
    planes: tuple[Plane | None, ...]
    times: int = 1
    step: tuple[float, ...] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def size(self) -> int:
        """Bytes that the stored pixels take, 2 bytes a sample where that is not known."""
        head = self.first.head
        return len(self.planes) * math.prod(head.shape) * (2 if head.dtype is None else head.dtype.itemsize)

    @property
    def first(self) -> Plane:
        """The first plane that is there."""
        return next(plane for plane in self.planes if plane is not None)


def find_series(path: Path) -> list[Series]:
    """List the scans in a DICOM file or folder, most slices first, reading headers only.

    Raises
    ------
    ScanError
        No file holds pixels, or one is cut; names it.
    """
    planes, skipped = _all_planes(path)
    groups: dict[Any, list[Plane]] = defaultdict(list)
    for plane in planes:
        groups[_kind(plane)].append(plane)
    if not groups:
        raise skipped or ScanError(f"{path.name} holds no DICOM files: choose another folder")
    return sorted((arranged(group) for group in groups.values()), key=lambda s: -len(s.planes))


def read_dicom(path: Path) -> Scan:
    """Read a DICOM file or a folder of one series; raises ScanError for a folder of several, which it lists."""
    found = find_series(path)
    if len(found) > 1:
        names = "; ".join(f"{n}: {s.name} ({len(s.planes)} slices)" for n, s in enumerate(found))
        raise ScanError(f"{path.name} holds {len(found)} series ({names}): choose one by its number")
    return read_series(found[0])


def read_series(series: Series) -> Scan:
    """Read the pixels of a series; `iter_series` does the same step by step."""
    steps = iter_series(series)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            scan: Scan = end.value
            return scan


def iter_series(series: Series) -> Generator[Progress, None, Scan]:
    """Read the pixels of a series, a tick a file; stopping in between cancels.

    A series that would fill much of the memory is not read but opened as a dask array, read when it is looked at.

    Returns
    -------
    Scan
        Axes "zyx", "tzyx" where places repeat, "yx" without a third axis, and "c" last in colour; LPS+ in mm.
        `extra["dicom"]` holds the files by slice, `extra["notes"]` what a person should know.

    Raises
    ------
    ScanError
        A file is cut or needs a codec; names it.
    """
    if series.first.head.storage in SEGMENTATIONS:
        from napari_unet_tumour.scans.dicom_seg import read_dicom_seg

        yield Progress(0, 1, "reading a segmentation")
        return read_dicom_seg(series.first.head.path)
    if series.size > _AT_ONCE * memory_limit() and series.first.head.dtype is not None:
        yield Progress(0, 1, "opening a large series")
        return scan_of(series, _when_needed(series))
    heads = list(dict.fromkeys(plane.head for plane in series.planes if plane is not None))
    places = defaultdict(list)
    for at, plane in enumerate(series.planes):
        if plane is not None:
            places[plane.head].append((at, plane))
    stack: NDArray[Any] | None = None
    whole = _whole(series)
    for n, head in enumerate(heads):
        values = pixels(head)
        for at, plane in places[head]:
            real = _valued(plane, values[plane.frame], whole)
            stack = _empty(series, real) if stack is None else stack
            if not np.can_cast(real.dtype, stack.dtype):
                stack = stack.astype(np.promote_types(real.dtype, stack.dtype))
            stack[at] = real
        yield Progress(n + 1, len(heads), "reading slices")
    if stack is None:
        raise ScanError(f"{series.name} has no slices: choose another series")
    if None in series.planes:
        there = [plane is not None for plane in series.planes]
        stack[~np.array(there)] = 0 if series.first.head.storage == _LABELMAP else stack[there].min()
    return scan_of(series, stack)


def _when_needed(series: Series) -> Any:
    """Return a dask array of the stack, a block a plane."""
    import dask
    import dask.array

    lazily: Any = dask
    head, whole = series.first.head, _whole(series)
    kind = np.result_type(_valued(series.first, pixels(head)[series.first.frame], whole).dtype)
    blocks = [lazily.delayed(_block)(plane, head.shape, kind.str, whole) for plane in series.planes]
    return lazily.array.stack([lazily.array.from_delayed(block, head.shape, kind) for block in blocks])


def _block(plane: Plane | None, shape: tuple[int, ...], kind: str, whole: bool) -> NDArray[Any]:
    if plane is None:
        return np.zeros(shape, kind)
    return _valued(plane, pixels(plane.head)[plane.frame], whole).astype(kind, copy=False)


def _all_planes(path: Path) -> tuple[list[Plane], ScanError | None]:
    """Return the planes of every image file, and why the first other file was left out."""
    if path.is_file():
        return read_planes(path), None
    planes: list[Plane] = []
    known: dict[Any, Plane] = {}
    skipped: ScanError | None = None
    for file in dicom_files(path):
        try:
            planes += read_planes(file, known)
        except ScanError as error:
            if "damaged" in str(error):
                raise
            skipped = skipped or error
    return planes, skipped


def _kind(plane: Plane) -> tuple[Any, ...]:
    """Return what planes must share to be slices of one scan."""
    turned = None if plane.orientation is None else tuple(round(v, 3) + 0.0 for v in plane.orientation)
    spaced = None if plane.spacing is None else tuple(round(v, 4) for v in plane.spacing)
    alone = (
        plane.head.instance if plane.position is None and plane.head.modality in ("CR", "DX", "MG", "OT", "US") else ""
    )
    return plane.head.series, plane.head.shape, plane.head.photometric, turned, spaced, plane.position is None, alone


def arranged(planes: list[Plane], gap: float | None = None) -> Series:
    """Sort planes of one kind by place, and find what is missing or there twice; `gap` in mm where it is known."""
    name = planes[0].head.name
    once = list({(p.head.instance or str(p.head.path), p.frame, p.position): p for p in planes}.values())
    notes = [f"{len(planes) - len(once)} files are there twice"] if len(once) < len(planes) else []
    in_turn = sorted(once, key=_turn)
    if any(p.position is None or p.orientation is None for p in once):
        return Series(name, tuple(in_turn), notes=tuple(notes))
    stacks, more = _stacks(once)
    step, planes_, gaps = _spread(stacks, gap)
    return Series(name, planes_, len(planes_) // gaps[0], step, (*notes, *more, *gaps[1]))


def _turn(plane: Plane) -> tuple[float, ...]:
    return plane.turn


def _stacks(planes: list[Plane]) -> tuple[list[list[Plane]], list[str]]:
    """Return planes by place along the normal; every place has as many, or the first of each is kept."""
    normal = _normal(planes[0])
    at = {id(p): float(np.dot(normal, p.position or ())) for p in planes}
    ordered = sorted(planes, key=lambda p: (at[id(p)], p.turn))
    stacks: list[list[Plane]] = []
    for plane in ordered:
        if stacks and at[id(plane)] - at[id(stacks[-1][0])] < _SAME_PLACE:
            stacks[-1].append(plane)
        else:
            stacks.append([plane])
    stacks = [sorted(stack, key=_turn) for stack in stacks]
    if len({len(stack) for stack in stacks}) == 1:
        return stacks, []
    extra = sum(len(stack) - 1 for stack in stacks)
    return [stack[:1] for stack in stacks], [f"{extra} slices lie where another one does and were left out"]


def _normal(plane: Plane) -> NDArray[np.float64]:
    return np.cross((plane.orientation or ())[:3], (plane.orientation or ())[3:])


def _spread(
    stacks: list[list[Plane]], gap: float | None
) -> tuple[tuple[float, ...], tuple[Plane | None, ...], tuple[int, list[str]]]:
    """Return the step between slices, the planes with None where one is missing, and (slices, notes)."""
    places = np.array([stack[0].position for stack in stacks])
    first = stacks[0][0]
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
    notes = [f"{missing} slices are missing and shown empty"] if missing else []
    if off > _UNEVEN:
        notes.append(f"the distance between slices varies: some lie up to {off:.2f} mm from where they are shown")
    return [int(n) for n in numbers], notes


def _tilt_note(step: NDArray[np.float64], plane: Plane) -> list[str]:
    cosine = abs(float(np.dot(step, _normal(plane)))) / float(np.linalg.norm(step))
    angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return (
        [f"the gantry was tilted by {angle:.1f} degrees: the slices are shown sheared as they lie"]
        if angle > _TILT
        else []
    )


def _whole(series: Series) -> bool:
    """Tell whether real values are whole numbers: slope 1 and whole intercepts."""
    return all(p is None or (p.slope == 1.0 and p.intercept.is_integer()) for p in series.planes)


def _empty(series: Series, first: NDArray[Any]) -> NDArray[Any]:
    shape = (len(series.planes), *first.shape)
    check_size(series.first.head.path, shape, first.itemsize)
    return np.empty(shape, first.dtype)


def _valued(plane: Plane, stored: NDArray[Any], whole: bool) -> NDArray[Any]:
    """Return real values: sign bits put right, MONOCHROME1 turned round, slope and intercept applied."""
    values = _signed(plane.head, stored)
    if plane.head.photometric == "MONOCHROME1":
        ends = (
            (-(2 ** (plane.head.bits - 1)), 2 ** (plane.head.bits - 1) - 1)
            if plane.head.signed
            else (0, 2**plane.head.bits - 1)
        )
        values = (sum(ends) - values.astype(np.int64)).astype(values.dtype)
    if not whole:
        real: NDArray[Any] = values.astype(np.float32) * np.float32(plane.slope)
        real += np.float32(plane.intercept)
        return real
    return (
        values.astype(values.dtype.newbyteorder("="), copy=False) if plane.intercept == 0 else _shifted(values, plane)
    )


def _shifted(values: NDArray[Any], plane: Plane) -> NDArray[Any]:
    """Add a whole intercept in the smallest signed dtype that holds the sums."""
    shift = int(plane.intercept)
    low, high = int(values.min()) + shift, int(values.max()) + shift
    kind = next(k for k in (np.int16, np.int32, np.int64) if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
    shifted: NDArray[Any] = values.astype(kind)
    shifted += kind(shift)
    return shifted


def _signed(head: Head, values: NDArray[Any]) -> NDArray[Any]:
    """Extend the sign of values that fill only the lower bits."""
    spare = values.dtype.itemsize * 8 - head.bits
    if not head.signed or spare <= 0 or values.dtype.kind != "i":
        return values
    native: NDArray[Any] = values.astype(values.dtype.newbyteorder("="))
    return np.asarray((native << spare) >> spare)


def scan_of(series: Series, stack: NDArray[Any]) -> Scan:
    """Give the stacked planes (n, rows, columns[, 3]) of a series their axes and their place."""
    head, colours = series.first.head, stack.ndim == 4
    slices = len(series.planes) // series.times
    extra: dict[str, Any] = {"notes": series.notes, "dicom": {"planes": series.planes, "times": series.times}}
    if head.storage == _LABELMAP:
        extra["labels"] = True
    if head.window is not None and not colours and head.photometric != "MONOCHROME1":
        extra["window"] = head.window
    scan = Scan(stack, "", None, "pixel", series.name, str(head.path), head.modality, extra)
    if series.step is None or series.first.spacing is None:
        return _flat(scan, series, colours)
    lps = _lps(series)
    order = geometry.closest_order(lps)
    turned = [2 - axis for axis in order]
    if series.times > 1:
        stack = stack.reshape(series.times, slices, *stack.shape[1:])
    lead = int(series.times > 1)
    stack = stack.transpose(*range(lead), *(n + lead for n in turned), *range(lead + 3, stack.ndim))
    axes = "t" * lead + "zyx" + "c" * colours
    extra["dicom"] = {**extra["dicom"], "order": tuple(turned), "lps": lps}
    return replace(scan, array=stack, axes=axes, affine=geometry.from_lps(lps, order), units="mm")


def _lps(series: Series) -> NDArray[np.float64]:
    """Return the (4, 4) affine from (column, row, slice) to the patient, LPS+ (PS3.3 C.7.6.2.1.1)."""
    plane = series.first
    gap = series.planes.index(plane)
    orientation, spacing = np.asarray(plane.orientation), plane.spacing or (1.0, 1.0)
    lps = np.eye(4)
    lps[:3, 0] = orientation[:3] * spacing[1]
    lps[:3, 1] = orientation[3:] * spacing[0]
    lps[:3, 2] = series.step
    lps[:3, 3] = np.asarray(plane.position) - gap * np.asarray(series.step)
    if not geometry.is_usable(lps):
        raise ScanError(f"{plane.head.path.name} has a broken position or orientation: repair its header first")
    return lps


def _flat(scan: Scan, series: Series, colours: bool) -> Scan:
    """Return pictures without a place in the patient: one as "yx", several as "zyx" or, from one file, "tyx"."""
    stack, spacing = scan.array, series.first.spacing
    affine = None if spacing is None or min(spacing) <= 0 else np.diag([*spacing, 1.0])
    units = "pixel" if affine is None else "mm"
    if len(series.planes) == 1:
        return replace(scan, array=stack[0], axes="yx" + "c" * colours, affine=affine, units=units)
    one_file = all(plane is not None and plane.head is series.first.head for plane in series.planes)
    if one_file:
        return replace(scan, axes="tyx" + "c" * colours, affine=affine, units=units)
    return replace(scan, axes="zyx" + "c" * colours)
