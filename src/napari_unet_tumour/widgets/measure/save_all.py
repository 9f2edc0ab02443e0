"""Saving all that there is of a scan in one step: mask, table and page, beside the scan, over no other file."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet_tumour import scans
from napari_unet_tumour.measure import write_csv, write_html
from napari_unet_tumour.widgets.readers_writers import write_labels

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_unet_tumour.widgets.measure.run import MeasureResult

TABLE, PAGE = " lesions.csv", " report.html"


def folder_beside(image: Image | None) -> Path | None:
    """Return the folder beside an image's file or series; None where there is no file, or nothing can be written."""
    path = _file_of(image)
    if path is None:
        return None
    # Not into the folder of a series: whoever reads that later would read the mask too.
    folder = path.parent.parent if path.is_file() and scans.is_dicom(path) else path.parent
    return folder if folder.is_dir() and os.access(folder, os.W_OK) else None


def mask_suffix(image: Image | None) -> str:
    """Return the suffix of the mask's file: the format of the scan where masks are kept in it, else NIfTI."""
    path = _file_of(image)
    if path is None:
        return ".nii.gz"
    return ".dcm" if scans.is_dicom(path) else scans.suffix_of_mask(path)


def _file_of(image: Image | None) -> Path | None:
    """Return the file or folder that an image was read from, where it is still there."""
    given = "" if image is None else str(image.metadata.get("source") or image.source.path or "")
    return Path(given) if given and Path(given).exists() else None


def write_all(found: MeasureResult, mask: tuple[Any, dict[str, Any]], folder: Path, name: str, suffix: str) -> str:
    """Write mask, table and page under names that are free; returns which and where in words.

    Parameters
    ----------
    mask : tuple of (array, dict)
        Data and attributes of the Labels layer, as napari hands them to a writer.
    name : str
        Begins the names of the files.
    suffix : str
        Of the mask's file.

    Raises
    ------
    OutputError
        A file cannot be written; those before it are whole.
    """
    stem = folder / _free_name(folder, name.translate(str.maketrans("/\\:", "___")), suffix)
    table, page = Path(f"{stem}{TABLE}"), Path(f"{stem}{PAGE}")
    written = [Path(one) for one in write_labels(f"{stem} mask{suffix}", *mask)]
    write_csv(table, found.report, found.comparison)
    write_html(page, found.report, found.mask, found.image, found.comparison)
    return f"Saved {', '.join(one.name for one in (*written, table))} and {page.name} in {folder}."


def _free_name(folder: Path, name: str, suffix: str) -> str:
    """Return a name under which there is none of the files yet: "head", "head 2", "head 3" ..."""
    for number in count(1):
        found = name if number == 1 else f"{name} {number}"
        if not any((folder / f"{found}{end}").exists() for end in (f" mask{suffix}", TABLE, PAGE)):
            return found
    raise AssertionError
