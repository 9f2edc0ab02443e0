"""Files <-> Scan: `read` and `write_mask`, and the formats by suffix in READERS and WRITERS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.scans import dicom, matlab, nifti, nrrd_mha, ome_zarr, pictures
from napari_unet_tumour.scans.checks import unreadable
from napari_unet_tumour.scans.dicom import files as dicom_files
from napari_unet_tumour.scans.dicom import rtstruct as dicom_rtstruct
from napari_unet_tumour.scans.dicom import seg as dicom_seg
from napari_unet_tumour.scans.dicom.rtstruct import is_rtstruct
from napari_unet_tumour.scans.float_labels import whole_labels
from napari_unet_tumour.scans.ome_zarr_metadata import is_zarr
from napari_unet_tumour.scans.patient_id import person_in
from napari_unet_tumour.scans.placement import put_on_scan
from napari_unet_tumour.scans.scan import Scan

One = TypeVar("One")
Reader = Callable[[Path], Scan]
Writer = Callable[[Path, NDArray[Any], Scan, Sequence[str]], None]
Check = Callable[[Path, Scan, Sequence[str]], None]

READERS: dict[str, Reader] = {
    ".nii": nifti.read_nifti,
    ".nii.gz": nifti.read_nifti,
    ".png": pictures.read_picture,
    ".jpg": pictures.read_picture,
    ".jpeg": pictures.read_picture,
    ".tif": pictures.read_tiff,
    ".tiff": pictures.read_tiff,
    ".nrrd": nrrd_mha.read_nrrd,
    ".mha": nrrd_mha.read_metaimage,
    ".mat": matlab.read_matlab,
    ".dcm": dicom.read_dicom,
    ".labelmap.dcm": dicom.read_dicom,
    ".rtstruct.dcm": dicom.read_dicom,
    ".dicom": dicom.read_dicom,
    ".ima": dicom.read_dicom,
    ".zarr": ome_zarr.read_zarr,
}
# Where a mask is read in another way than a scan.
MASK_READERS: dict[str, Reader] = {
    ".png": pictures.read_label_picture,
    ".jpg": pictures.read_label_picture,
    ".jpeg": pictures.read_label_picture,
    ".tif": pictures.read_label_tiff,
    ".tiff": pictures.read_label_tiff,
    ".mat": matlab.read_matlab_mask,
}
WRITERS: dict[str, Writer] = {
    ".nii": nifti.write_nifti,
    ".nii.gz": nifti.write_nifti,
    ".png": pictures.write_picture,
    ".tif": pictures.write_tiff,
    ".tiff": pictures.write_tiff,
    ".dcm": dicom_seg.write_dicom_seg,
    ".labelmap.dcm": dicom_seg.write_dicom_labelmap,
    ".rtstruct.dcm": dicom_rtstruct.write_rtstruct,
    ".zarr": ome_zarr.write_zarr,
}
# What sees, before a network runs, that a scan can have a mask of this kind.
CHECKS: dict[str, Check] = {
    ".dcm": dicom_seg.check_dicom_seg,
    ".labelmap.dcm": dicom_seg.check_dicom_labelmap,
    ".rtstruct.dcm": dicom_rtstruct.check_rtstruct,
}
_DOUBLE = (".nii.gz", ".labelmap.dcm", ".rtstruct.dcm")
_MASK_SUFFIXES = {".png": ".png", ".jpg": ".png", ".jpeg": ".png", ".tif": ".tif", ".tiff": ".tif", ".zarr": ".zarr"}


def suffix_of(path: str | Path) -> str:
    """Return the suffix in lower case; ".nii.gz", ".labelmap.dcm" and ".rtstruct.dcm" count as one."""
    name = Path(path).name.lower()
    return next((double for double in _DOUBLE if name.endswith(double)), Path(name).suffix)


def suffix_of_mask(path: str | Path) -> str:
    """Return the suffix of a scan's mask: of the scan's own format where masks are kept in it, else ".nii.gz"."""
    return _MASK_SUFFIXES.get(suffix_of(path), ".nii.gz")


def read(path: str | Path, series: int | None = None) -> Scan:
    """Read a scan: a file by its suffix or, failing that, its first bytes; or a folder of slices.

    Parameters
    ----------
    path : str or Path
        .nii, .nii.gz, .png, .jpg, .tif, a DICOM file, a DICOM folder or a folder of numbered slices.
    series : int, optional
        Which series of a DICOM folder, from 0, as `dicom.find_series` lists them, or which image of a zarr, as
        `ome_zarr.find_images` does; needed where there are several.

    Returns
    -------
    Scan
        The array in memory, with its axes and, where known, its place in the patient.

    Raises
    ------
    ScanError
        One line that names the file and says what to do.
    """
    path = _existing(path)
    if is_dicom(path):
        if is_rtstruct(path):
            return dicom_rtstruct.read_rtstruct(path)
        if series is None:
            return dicom.read_dicom(path)
        return dicom.read_series(_chosen(path, dicom.find_series(path), series))
    if is_zarr(path):
        scan = ome_zarr.read_zarr(path, None if series is None else _chosen(path, ome_zarr.find_images(path), series))
    else:
        scan = pictures.read_folder(path) if path.is_dir() else _reader(path)(path)
    return replace(scan, person=scan.person or person_in(path))


def _chosen(path: Path, found: Sequence[One], series: int) -> One:
    if not 0 <= series < len(found):
        raise ScanError(f"{path.name} holds {len(found)} series: choose a number from 0 to {len(found) - 1}")
    return found[series]


def can_read(path: str | Path) -> bool:
    """Tell by suffix or first bytes whether there is a reader for a file or folder."""
    return Path(path).is_dir() or suffix_of(path) in READERS or is_dicom(Path(path))


def is_listed(path: str | Path) -> bool:
    """Tell whether a file in a folder counts as a scan: a known suffix, not hidden, no folder but a zarr."""
    path = Path(path)
    known = suffix_of(path) in READERS and not path.name.startswith(".")
    return known and (path.is_file() or suffix_of(path) == ".zarr")


def read_all(path: str | Path) -> list[Scan]:
    """Read every series that a DICOM file or folder holds, every image of a zarr; anything else as `read` does."""
    path = _existing(path)
    if suffix_of(path) == ".mat" and matlab.has_mask(path):
        return [matlab.read_matlab(path), matlab.read_matlab_mask(path)]
    if is_zarr(path):
        return [read(path, series=n) for n in range(len(ome_zarr.find_images(path)))]
    if not is_dicom(path) or is_rtstruct(path):
        return [read(path)]
    return [dicom.read_series(series) for series in dicom.find_series(path)]


def read_mask(path: str | Path, onto: Scan | None = None, contours_on: Scan | None = None) -> Scan:
    """Read a mask: as `read`, but pictures give labels by what is seen, and whole numbers become integers.

    Parameters
    ----------
    path : str or Path
        Any file that `read` reads; of a MATLAB file its mask.
    onto : Scan, optional
        Put the mask onto this scan's grid by place, see `placement.put_on_scan`.
    contours_on : Scan, optional
        Where the file holds contours (an RT Structure Set): fill them in on this scan's grid. Without it the series
        that they were drawn on has to lie beside the file.

    Returns
    -------
    Scan
        An integer or bool array; raises ScanError where the file holds grey values between the labels. With `onto`
        `extra["notes"]` also says how the mask was moved.
    """
    path = Path(path)
    if is_rtstruct(path):
        return dicom_rtstruct.read_rtstruct(path, onto if contours_on is None else contours_on)
    scan = MASK_READERS.get(suffix_of(path), read)(path) if path.is_file() else read(path)
    array = whole_labels(scan)
    if array is None:
        raise ScanError(f"{path.name} holds fractions, so it is no mask: choose a file of whole label values")
    mask = replace(scan, array=array)
    if onto is None:
        return mask
    placed = put_on_scan(mask, onto)
    notes = (*mask.extra.get("notes", ()), *([placed.note] if placed.note else []))
    return replace(placed.mask, extra={**placed.mask.extra, "notes": notes})


def check_mask(path: str | Path, scan: Scan, labels: Sequence[str] = ("background", "tumour")) -> None:
    """See that a mask of a scan could be written, before there is one; raises what `write_mask` would raise.

    Parameters
    ----------
    path : str or Path
        Its suffix chooses the format.
    scan : Scan
        As `read` gave it.
    labels : sequence of str
        Names by value; index 0 is background.
    """
    check = CHECKS.get(suffix_of(path))
    if check is not None:
        check(Path(path), scan, labels)


def write_mask(
    path: str | Path, mask: NDArray[Any], scan: Scan, labels: Sequence[str] = ("background", "tumour")
) -> Path:
    """Write a mask (or probability) onto the grid of the scan that it belongs to.

    Parameters
    ----------
    path : str or Path
        Its suffix chooses the format: a key of WRITERS.
    mask : numpy.ndarray
        The shape of `scan.array` without its channel axis; label values, or probability as float (0..1).
    scan : Scan
        As `read` gave it; its geometry is written back exactly.
    labels : sequence of str
        Names by value; index 0 is background.

    Returns
    -------
    Path
        The file, whole: it was written beside and renamed.

    Raises
    ------
    OutputError
        Unknown suffix, another grid, or a folder that does not take the file; nothing is left behind.
    """
    path = Path(path)
    writer = WRITERS.get(suffix_of(path))
    if writer is None:
        raise OutputError(f"{path.name} cannot be written as {suffix_of(path)!r}: choose one of {', '.join(WRITERS)}")
    expected = tuple(n for n, letter in zip(scan.array.shape, scan.axes, strict=True) if letter != "c")
    if mask.shape != expected:
        raise OutputError(
            f"{path.name}: the mask is {mask.shape} and the scan {scan.name!r} is {expected}: "
            "resample the mask to the scan's grid first"
        )
    writer(path, mask, scan, labels)
    return path


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.exists():
        raise unreadable(path, FileNotFoundError())
    return path


def is_dicom(path: Path) -> bool:
    """Tell whether a file or, failing a suffix that is known, its first bytes, or a folder's files are DICOM."""
    if is_zarr(path):
        return False
    if path.is_dir():
        return next(dicom_files.dicom_files(path), None) is not None
    return READERS.get(suffix_of(path)) is dicom.read_dicom or (
        suffix_of(path) not in READERS and path.is_file() and dicom_files.is_dicom_file(path)
    )


def _reader(path: Path) -> Reader:
    try:
        return READERS[suffix_of(path)]
    except KeyError:
        known = ", ".join(READERS)
        raise ScanError(f"{path.name} has a suffix that is not known here: choose one of {known}") from None
