"""NIfTI files (.nii, .nii.gz) <-> Scan, with order, header and affine kept."""

from __future__ import annotations

import gzip
import logging
import re
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.atomic_write import atomic
from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.scans import geometry
from napari_unet_tumour.scans.checks import check_size, damaged, decoding, expect
from napari_unet_tumour.scans.frame_of_reference import nifti_frame
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.scans.sidecar import facts_beside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_UNIT_CODES = {1: "meter", 2: "mm", 3: "micron"}
_TO_MM = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}
_PLAUSIBLE_MM = (0.05, 20.0)
_LABEL_INTENT = 1002
_MAPPED_FROM = 1 << 30
# The quaternion of the qform is three float32 numbers: 1 less their squares may come out so far below 0.
_ROUNDED = 1e-5
_HEADER = 1024

# Else Python itself prints what nibabel logs of a bad header, beside our one line.
logging.getLogger("nibabel").addHandler(logging.NullHandler())


def read_nifti(path: Path) -> Scan:
    """Read a NIfTI file; 3D gives axes "zyx", 4D "tzyx", RGB voxels "zyxc".

    The array axes are permuted, never flipped or resampled, so that they run closest to the
    patient's (z, y, x).

    Parameters
    ----------
    path : Path
        A .nii or .nii.gz file.

    Returns
    -------
    Scan
        `extra["nifti"]` holds the header, the voxel shape and the order that the writer turns back;
        `extra["notes"]` what a person should know; "sequence" and "contrast_agent" are from the JSON file beside it.

    Raises
    ------
    ScanError
        The file is cut, mislabelled or damaged, or claims absurd sizes.
    """
    packed = path.name.lower().endswith(".gz")
    expect(path, *(("gzip",) if packed else ("NIfTI",)))
    with decoding(path), _opened(path, packed) as file:
        image = _image(path, file)
        shape = _spatial_shape(path, image.shape)
        check_size(path, image.shape, image.get_data_dtype().itemsize, compressed=packed)
        _check_length(path, image, packed)
        header, ras, notes = _placed(path, image)
        values = _values(image)
        if packed:
            _read_to_end(file)
    order = geometry.closest_order(ras)
    units, factor = _units(header, geometry.from_ras(ras, order))
    array, axes = _arrange(values, shape, order)
    kept = {"header": header, "kind": type(image), "order": order, "shape": image.shape, "slope": image.dataobj.slope}
    return Scan(
        array=array,
        axes=axes,
        affine=np.diag([factor, factor, factor, 1.0]) @ geometry.from_ras(ras, order),
        units=units,
        name=stem(path),
        source=str(path),
        extra={
            "nifti": kept,
            "labels": "intent_code" in header and int(header["intent_code"]) == _LABEL_INTENT,
            "notes": notes,
            # Without a sform and a qform nothing but the size of the voxels is in the file.
            "spacing_only": int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0,
            **facts_beside(path.with_name(f"{stem(path)}.json")),
        },
        frame_of_reference=nifti_frame(header),
    )


def write_nifti(path: Path, array: NDArray[Any], scan: Scan, labels: Sequence[str] = ()) -> None:
    """Write a mask or probability on the grid of `scan`, in its source's own order, header and affine.

    Parameters
    ----------
    path : Path
        A .nii or .nii.gz file.
    array : numpy.ndarray
        Any integer or float dtype, the shape of the scan without its channel axis.
    scan : Scan
        Gives the geometry.
    labels : sequence of str
        Names by value; kept in the header's intent name where they fit.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    import nibabel

    kept = scan.extra.get("nifti")
    values = _as_writable(array)
    if kept is None:
        make: Any = nibabel.Nifti1Image
        image = make(_to_voxels(values, scan.axes), geometry.to_ras(scan.world))
        image.header.set_xyzt_units("mm" if scan.units == "mm" else "unknown")
    else:
        header = kept["header"].copy()
        header.set_data_dtype(values.dtype)
        header.set_slope_inter(None, None)
        header["cal_min"], header["cal_max"] = 0, 0
        image = kept["kind"](_back_to_voxels(values, kept), None, header)
    if labels and values.dtype.kind in "iu":
        image.header.set_intent("label", name=(labels[1] if len(labels) == 2 else "labels")[:15])
    with atomic(path) as beside:
        try:
            nibabel.save(image, beside)
        except (ValueError, TypeError, nibabel.spatialimages.HeaderDataError) as error:
            raise OutputError(f"{path.name} cannot hold this result ({error}): choose TIFF") from error


def stem(path: Path) -> str:
    """Return the file name without its suffix; ".nii.gz" and ".ome.tif" count as one."""
    return re.sub(r"(\.nii\.gz|\.ome\.tiff?|\.[^.]*)$", "", path.name, flags=re.IGNORECASE)


@contextmanager
def _opened(path: Path, packed: bool) -> Iterator[Any]:
    """Give the file, unpacked where it is gzipped: nibabel tells that by some spellings of the suffix only."""
    with gzip.open(path) if packed else path.open("rb") as file:
        yield file


def _image(path: Path, file: Any) -> Any:
    """Return nibabel's image, whose voxels are read when they are asked for."""
    import nibabel

    made: Any = nibabel
    start = file.read(_HEADER)
    file.seek(0)
    kind = next((one for one in _kinds() if one.header_class.may_contain_header(start)), None)
    if kind is None:
        raise damaged(path)
    mapped = path.stat().st_size >= _MAPPED_FROM and not isinstance(file, gzip.GzipFile)
    holder = made.FileHolder(filename=str(path)) if mapped else made.FileHolder(fileobj=file)
    with made.imageglobals.LoggingOutputSuppressor():
        header = kind.header_class(start[: kind.header_class.sizeof_hdr])
        try:
            header.get_best_affine()
        except ValueError as error:
            raise _broken_affine(path) from error
        return kind.from_file_map({"image": holder}, mmap="c" if mapped else False)


@cache
def _kinds() -> tuple[Any, ...]:
    """Return nibabel's image classes, which take a rotation that rounding made a hair longer than 1."""
    import nibabel

    made: Any = nibabel
    return tuple(
        type(
            image.__name__,
            (image,),
            {"header_class": type("Header", (image.header_class,), {"quaternion_threshold": _ROUNDED})},
        )
        for image in (made.Nifti1Image, made.Nifti2Image)
    )


def _broken_affine(path: Path) -> ScanError:
    return ScanError(
        f"{path.name} has a broken affine (NaN, an axis of length 0, or no rotation): make it again from its DICOM "
        "series with dcm2niix"
    )


def _placed(path: Path, image: Any) -> tuple[Any, NDArray[np.float64], tuple[str, ...]]:
    """Return a header of its own, the RAS+ affine, and what to say; a broken sform gives way to a good qform."""
    header = image.header.copy()
    if geometry.is_usable(image.affine):
        return header, image.affine, ()
    if int(header["sform_code"]) > 0 and int(header["qform_code"]) > 0:
        ras = header.get_qform()
        if geometry.is_usable(ras):
            header.set_sform(ras, code=int(header["qform_code"]))
            return header, ras, ("its sform is broken: it lies where its qform says",)
    raise _broken_affine(path)


def _read_to_end(file: Any) -> None:
    """Read what is left of a gzipped file: only at its end the checksum of all of it is compared."""
    while file.read(1 << 20):
        pass


def _spatial_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return (x, y, z) or (x, y, z, t) for what nibabel says, trailing axes of 1 dropped."""
    if any(n != 1 for n in shape[4:]) or len(shape) < 2:
        raise ScanError(f"{path.name} has {len(shape)} axes {shape}: only scans of 2 to 4 axes can be opened")
    kept = (*shape, 1, 1)[:4]
    return kept if kept[3] != 1 else kept[:3]


def _check_length(path: Path, image: Any, packed: bool) -> None:
    """Raise ScanError when an uncompressed file is shorter than its header says."""
    needed = image.dataobj.offset + int(np.prod(image.shape, dtype=object)) * image.get_data_dtype().itemsize
    if not packed and path.stat().st_size < needed:
        raise damaged(path)


def _values(image: Any) -> NDArray[Any]:
    """Return the voxels, in their own dtype where the header scales nothing, else as float32."""
    plain = (image.dataobj.slope, image.dataobj.inter) == (1.0, 0.0)
    return np.asanyarray(image.dataobj) if plain else np.asarray(image.dataobj, np.float32)


def _arrange(values: NDArray[Any], shape: tuple[int, ...], order: tuple[int, int, int]) -> tuple[NDArray[Any], str]:
    if values.dtype.names:
        colours = np.ascontiguousarray(values).view(np.uint8).reshape(*shape[:3], -1)
        return colours.transpose(*order, 3), "zyxc"
    if values.dtype.kind == "c":
        values = np.abs(values)
    values = values.reshape(shape)
    return (values.transpose(order), "zyx") if len(shape) == 3 else (values.transpose(3, *order), "tzyx")


def _units(header: Any, affine: NDArray[np.float64]) -> tuple[str, float]:
    """Return ("mm" or "pixel", factor to mm); pixels where nothing but a bare default is known."""
    unit = _UNIT_CODES.get(int(header["xyzt_units"]) & 7, "unknown") if "xyzt_units" in header else "unknown"
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    likely = unit != "unknown" or bool((_PLAUSIBLE_MM[0] <= spacing).all() and (spacing <= _PLAUSIBLE_MM[1]).all())
    if geometry.is_featureless(affine) or not likely:
        return "pixel", 1.0
    return "mm", _TO_MM[unit]


def _as_writable(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        return array.astype(np.int32)
    return array


def _back_to_voxels(array: NDArray[Any], kept: Any) -> NDArray[Any]:
    """Undo `_arrange`."""
    order = list(np.argsort(kept["order"]))
    array = array.transpose(*(n + 1 for n in order), 0) if array.ndim == 4 else array.transpose(order)
    return array.reshape(kept["shape"])


def _to_voxels(array: NDArray[Any], axes: str) -> NDArray[Any]:
    """Turn an array with axes such as "yx", "zyx" or "tzyx" into NIfTI's (x, y, z, t)."""
    letters = axes.replace("c", "")
    if set(letters) - set("tzyx") or len(set(letters)) != len(letters):
        raise OutputError(f"a scan with axes {axes!r} cannot be written as NIfTI: choose TIFF")
    present = [letters.index(letter) for letter in "xyzt" if letter in letters]
    turned = array.transpose(present)
    if "t" in letters and "z" not in letters:
        turned = turned[:, :, np.newaxis]
    return turned
