"""MATLAB v7.3 files as the Cheng brain tumour data set has them: cjdata.image, cjdata.tumorMask, cjdata.PID."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans.checks import check_size, decoding, expect, kind_of
from napari_unet_tumour.scans.nifti import stem
from napari_unet_tumour.scans.patient_id import person_id
from napari_unet_tumour.scans.scan import Scan

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_TYPES = {1: "meningioma", 2: "glioma", 3: "pituitary"}


def read_matlab(path: Path) -> Scan:
    """Read cjdata.image as axes "yx"; `person` is made of cjdata.PID, `extra["tumour"]` is the type.

    Raises
    ------
    ScanError
        The file is damaged, of an older MATLAB format, or has no cjdata.image.
    """
    with decoding(path), _opened(path) as file:
        group = _group(path, file)
        person, image = person_id(_text(group.get("PID"))), _array(path, group, "image")
        extra = {"tumour": _TYPES.get(int(np.asarray(group["label"]).flat[0]), "")} if "label" in group else {}
        return Scan(image, "yx", name=stem(path), source=str(path), modality="MR", extra=extra, person=person)


def read_matlab_mask(path: Path) -> Scan:
    """Read cjdata.tumorMask as axes "yx", uint8, 1 where there is tumour; errors as `read_matlab`."""
    with decoding(path), _opened(path) as file:
        mask = (_array(path, _group(path, file), "tumorMask") > 0).astype(np.uint8)
    return Scan(mask, "yx", name=f"{stem(path)} mask", source=str(path), modality="MR", extra={"labels": True})


def has_mask(path: Path) -> bool:
    """Tell whether the file holds a mask beside its image."""
    with decoding(path), _opened(path) as file:
        return "tumorMask" in _group(path, file)


def _opened(path: Path) -> Any:
    if kind_of(path) == "MATLAB 5":
        raise ScanError(f"{path.name} is a MATLAB file older than v7.3: save it with '-v7.3' in MATLAB")
    expect(path, "HDF5")
    try:
        import h5py
    except ImportError as error:
        raise ScanError(f"{path.name} is a MATLAB file: pip install 'napari-unet-tumour[matlab]' to open it") from error
    return h5py.File(path, "r")


def _group(path: Path, file: Any) -> Any:
    if "cjdata" not in file or "image" not in file["cjdata"]:
        raise ScanError(f"{path.name} has no cjdata.image: only files laid out as the Cheng data set's can be opened")
    return file["cjdata"]


def _array(path: Path, group: Any, name: str) -> NDArray[Any]:
    """Return a matrix the right way round: MATLAB stores columns first."""
    if name not in group:
        raise ScanError(f"{path.name} has no cjdata.{name}: choose another file")
    stored = group[name]
    if len(stored.shape) != 2 or stored.dtype.kind not in "biuf":
        raise ScanError(f"{path.name}: cjdata.{name} is no matrix of numbers: choose another file")
    check_size(path, stored.shape, stored.dtype.itemsize)
    return np.ascontiguousarray(np.asarray(stored).T)


def _text(stored: Any) -> str:
    """Return MATLAB's character codes as text."""
    return "" if stored is None else "".join(chr(int(code)) for code in np.asarray(stored).ravel()[:64])
