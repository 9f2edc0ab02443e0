"""DICOM files and folders -> Scan."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.errors import DamagedError, ScanError, UnsupportedError
from napari_unet_tumour.scans.checks import check_size, memory_limit
from napari_unet_tumour.scans.dicom.files import dicom_files, read_planes
from napari_unet_tumour.scans.dicom.pixels import pixels, rescale
from napari_unet_tumour.scans.dicom.seg import read_dicom_seg
from napari_unet_tumour.scans.dicom.sorting import Series, alike, sort_slices
from napari_unet_tumour.scans.dicom.times import counted
from napari_unet_tumour.scans.dicom.volume import LABELMAP, scan_of
from napari_unet_tumour.settings import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.dicom.header import DicomPlane
    from napari_unet_tumour.scans.scan import Scan

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", LABELMAP)
_AT_ONCE = 0.4


def find_series(path: Path | Sequence[Path]) -> list[Series]:
    """List the scans in a DICOM file, a folder or some files, most slices first, reading headers only.

    Raises
    ------
    ScanError
        No file holds pixels, or one is cut; names it.
    """
    found = _found_in(path)
    groups: dict[Any, list[DicomPlane]] = defaultdict(list)
    for plane in found.planes:
        groups[_kind(plane)].append(plane)
    if not groups:
        name = path.name if isinstance(path, Path) else path[0].parent.name
        raise found.unread or found.skipped or ScanError(f"{name} holds no DICOM files: choose another folder")
    series = [sort_slices(part) for group in groups.values() for part in alike(group)]
    notes = []
    if found.unread is not None:
        notes.append(f"{counted(found.count, 'file', 'files')} of the folder left out: {found.unread}")
    if found.empty:
        notes.append(f"{counted(len(found.empty), 'empty file', 'empty files')} left out: {', '.join(found.empty[:3])}")
    return sorted((replace(s, notes=(*s.notes, *notes)) for s in series), key=_rank)


def _rank(series: Series) -> tuple[bool, int]:
    """Sort masks behind scans, so that a mask beside its series changes no number; then by the count of slices."""
    return series.first.head.storage in SEGMENTATIONS, -len(series.planes)


def read_dicom(path: Path) -> Scan:
    """Read a DICOM file or a folder of one series; raises ScanError for a folder of several, which it lists.

    Masks beside a series (DICOM-SEG, label maps) are no further series.
    """
    found = find_series(path)
    found = [one for one in found if one.first.head.storage not in SEGMENTATIONS] or found
    if len(found) > 1:
        names = "; ".join(f"{n}: {s.name} ({len(s.planes)} slices)" for n, s in enumerate(found))
        raise ScanError(f"{path.name} holds {len(found)} series ({names}): choose one by its number (--series N)")
    return read_series(found[0])


def read_series(series: Series) -> Scan:
    """Read the pixels of a series; `iter_series` does the same step by step."""
    return exhaust(iter_series(series))


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
            real = rescale(plane, values[plane.frame], whole)
            stack = _empty(series, real) if stack is None else stack
            if not np.can_cast(real.dtype, stack.dtype):
                stack = stack.astype(np.promote_types(real.dtype, stack.dtype))
            stack[at] = real
        yield Progress(n + 1, len(heads), "reading slices")
    if stack is None:
        raise ScanError(f"{series.name} has no slices: choose another series")
    if None in series.planes:
        there = [plane is not None for plane in series.planes]
        stack[~np.array(there)] = 0 if series.first.head.storage == LABELMAP else stack[there].min()
    return scan_of(series, stack)


def _when_needed(series: Series) -> Any:
    """Return a dask array of the stack, a block a plane."""
    import dask
    import dask.array

    lazily: Any = dask
    head, whole = series.first.head, _whole(series)
    kind = np.result_type(rescale(series.first, pixels(head)[series.first.frame], whole).dtype)
    blocks = [lazily.delayed(_block)(plane, head.shape, kind.str, whole) for plane in series.planes]
    return lazily.array.stack([lazily.array.from_delayed(block, head.shape, kind) for block in blocks])


def _block(plane: DicomPlane | None, shape: tuple[int, ...], kind: str, whole: bool) -> NDArray[Any]:
    if plane is None:
        return np.zeros(shape, kind)
    return rescale(plane, pixels(plane.head)[plane.frame], whole).astype(kind, copy=False)


@dataclass
class _Found:
    """The planes of some files, and what is left out: the first file without an image, unsupported ones, empty ones."""

    planes: list[DicomPlane] = field(default_factory=list)
    skipped: ScanError | None = None
    unread: UnsupportedError | None = None
    count: int = 0
    empty: list[str] = field(default_factory=list)


def _found_in(path: Path | Sequence[Path]) -> _Found:
    """Return the planes of every image file; a file that is named alone must be one."""
    if isinstance(path, Path) and path.is_file():
        return _Found(read_planes(path))
    files: Iterable[Path] = dicom_files(path) if isinstance(path, Path) else path
    found, known = _Found(), dict[Any, "DicomPlane"]()
    for file in files:
        if not file.stat().st_size:
            found.empty.append(file.name)
            continue
        try:
            found.planes += read_planes(file, known)
        except DamagedError:
            raise
        except UnsupportedError as error:
            found.unread, found.count = found.unread or error, found.count + 1
        except ScanError as error:
            found.skipped = found.skipped or error
    return found


def _kind(plane: DicomPlane) -> tuple[Any, ...]:
    """Return what planes must share to be slices of one scan, beside orientation and spacing."""
    alone = (
        plane.head.instance if plane.position is None and plane.head.modality in ("CR", "DX", "MG", "OT", "US") else ""
    )
    return plane.head.series, plane.head.shape, plane.head.photometric, plane.position is None, alone


def _whole(series: Series) -> bool:
    """Tell whether real values are whole numbers: slope 1 and whole intercepts."""
    return all(p is None or (p.slope == 1.0 and p.intercept.is_integer()) for p in series.planes)


def _empty(series: Series, first: NDArray[Any]) -> NDArray[Any]:
    shape = (len(series.planes), *first.shape)
    check_size(series.first.head.path, shape, first.itemsize)
    return np.empty(shape, first.dtype)
