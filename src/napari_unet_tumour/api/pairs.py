"""Pairs of scans and true masks: a PAIRS.csv, or two folders with the same file names."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour import scans
from napari_unet_tumour.base import tables
from napari_unet_tumour.base.tables import composed
from napari_unet_tumour.base.text import first_few, shape_text
from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.errors import ScanError, TableError
from napari_unet_tumour.scans.placement import put_on_scan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.scan import Scan

# Value of the column mask for a scan without a tumour.
NONE = "none"


@dataclass(frozen=True)
class Pair:
    """A scan and its true mask.

    Parameters
    ----------
    scan, mask : pathlib.Path
        The two files.
    group : str
        The patient; the scan's own path if not known.
    second : pathlib.Path, optional
        A second reader's mask.
    slices : tuple of int
        The reviewed slices, for fine-tuning; empty if not given.
    tumour : str
        The type of tumour; "" if not given.
    """

    scan: Path
    mask: Path
    group: str
    slices: tuple[int, ...] = ()
    second: Path | None = None
    tumour: str = ""

    @property
    def is_tumour_free(self) -> bool:
        """Whether the table marks the scan as free of tumour; then it has no mask."""
        return self.mask.name.casefold() == NONE


def read_pairs(path: str | Path) -> list[Pair]:
    """Read a PAIRS.csv with the columns scan, mask and optionally group, second, tumour and slices, or synonyms.

    The column second names a second reader's mask, tumour is the type of tumour. The mask "none" stands for a scan
    without a tumour.

    Parameters
    ----------
    path : str or pathlib.Path
        Separated by commas, semicolons or tabs, UTF-8 or UTF-16, with a header line; file names are relative to its
        folder.

    Returns
    -------
    list of Pair
        In the order of the file.

    Raises
    ------
    ScanError
        The file cannot be read, lacks a column or a row's group, or names files that do not exist.
    """
    return read_pairs_table(Path(path).expanduser())[0]


def read_pairs_table(path: Path) -> tuple[list[Pair], str]:
    """Read a PAIRS.csv as `read_pairs` does; also return a line that names the columns that are not used, or ""."""
    scan = ("scan", *(name for name in tables.FILE if name != "scan"))
    columns = {"scan": scan, "mask": tables.MASK, "person": tables.PERSON, "slices": tables.SLICES}
    columns |= {"second": tables.SECOND, "tumour": tables.TUMOUR}
    try:
        table = tables.read_table(path, columns, ("scan", "mask"), "scan,mask or scan,mask,group")
        # The group is optional here: an entirely empty column counts as missing.
        known = "person" in table.columns and any(row["person"] for row in table.rows)
        groups = tables.persons_of(table) if known else []
    except TableError as error:
        raise ScanError(str(error)) from error
    pairs = [_pair(path, line, row) for line, row in zip(table.lines, table.rows, strict=True)]
    pairs = [replace(pair, group=group) for pair, group in zip(pairs, groups, strict=True)] if groups else pairs
    if not pairs:
        raise ScanError(f"{path.name} has no rows: add a line with a scan and its mask")
    _check_files(
        [(one.scan, f"{path.name}: the scan") for one in pairs]
        + [(one.mask, f"{path.name}: the mask") for one in pairs if not one.is_tumour_free]
        + [(one.second, f"{path.name}: the second reader's mask") for one in pairs if one.second is not None]
    )
    return pairs, table.note


def pair_folders(images: str | Path, masks: str | Path, second: str | Path | None = None) -> list[Pair]:
    """Pair the files of two folders by their names without suffix; "NAME_mask" also matches "NAME".

    Parameters
    ----------
    second : str or pathlib.Path, optional
        Folder of a second reader's masks, for some or all of the scans.

    Raises
    ------
    ScanError
        A folder is missing or empty, or the names do not match (the first ones are listed).
    """
    found, truth = scans_in(Path(images)), scans_in(Path(masks))
    by_name = {composed(stem(path)): path for path in truth}
    names = {path: composed(stem(path)) for path in found}
    pairs = [(path, by_name.get(name) or by_name.get(f"{name}_mask")) for path, name in names.items()]
    alone = [path.name for path, mask in pairs if mask is None]
    used = {mask for _, mask in pairs}
    spare = [path.name for path in truth if path not in used]
    if alone or spare:
        problems = [f"no mask for {first_few(alone)}"] if alone else []
        problems += [f"no image for {first_few(spare)}"] if spare else []
        raise ScanError(
            f"{images} and {masks} do not fit: {'; '.join(problems)}: give every image a mask of the same name"
        )
    other = {composed(stem(path)): path for path in scans_in(Path(second))} if second is not None else {}
    return [
        Pair(path, mask, str(path), second=other.get(names[path]) or other.get(f"{names[path]}_mask"))
        for path, mask in pairs
        if mask is not None
    ]


def scans_in(folder: Path) -> list[Path]:
    """Return the files of a folder that can be read as scans, sorted by name; raises ScanError when there are none."""
    try:
        files = sorted(path for path in folder.expanduser().iterdir() if scans.is_listed(path))
    except OSError as error:
        raise ScanError(f"{folder} cannot be read as a folder ({error.strerror}): check the path") from error
    if not files:
        raise ScanError(f"{folder} holds no scan ({', '.join(scans.READERS)}): choose another folder")
    return files


def stem(path: Path) -> str:
    """Return the name without the suffix of a scan; ".nii.gz" counts as one, a folder's dots stay."""
    suffix = scans.suffix_of(path)
    return path.name[: -len(suffix)] if suffix in scans.READERS else path.name


def read_truth(
    pair: Pair,
    scan: Scan,
    shape: tuple[int, ...],
    labels: Sequence[str],
    unsure: bool = False,
    grey: bool = False,
    notes: list[str] | None = None,
) -> NDArray[np.uint8]:
    """Read the true mask of a scan, resampled to the scan's grid by position.

    Parameters
    ----------
    pair : Pair
        Names the files.
    scan : Scan
        The scan, read.
    shape : tuple of int
        Shape of the scan without channels.
    labels : sequence of str
        The model's labels; with a single label every non-zero value is that label.
    unsure : bool
        The mask is a correction: 255 means unsure and is kept, unless the mask contains only 0 and 255 (then it is a
        binary mask). Several other values are several labels, which a one-label model rejects.
    grey : bool
        Return the values as in the file, as uint8.
    notes : list of str, optional
        Takes what was said of the files on reading, and how the mask was moved where the grids differ.

    Returns
    -------
    numpy.ndarray
        `shape` uint8, label values.

    Raises
    ------
    ScanError
        The mask cannot be read, does not overlap the scan, or has values that are no labels of the model.
    """
    if pair.is_tumour_free:
        return np.zeros(shape, np.uint8)
    mask = scans.read_mask(pair.mask, contours_on=scan)
    if notes is not None:
        read = ((pair.scan, scan), (pair.mask, mask))
        said = [f"{path.name}: {note}" for path, one in read for note in one.extra.get("notes", ())]
        notes += [note for note in said if note not in notes]
    values = _on_grid(pair, scan, mask, notes)
    if values.shape != shape:
        raise ScanError(
            f"{pair.mask.name} has {shape_text(values.shape)} pixels and {pair.scan.name} has {shape_text(shape)}: "
            "give the mask of this scan"
        )
    if grey:
        return np.asarray(values, np.uint8)
    there = set(np.unique(values).tolist())
    open_ = (values == UNSURE) & unsure if there - {0, UNSURE} else np.zeros(values.shape, bool)
    several = unsure and len(there - {0, UNSURE}) > 1
    if len(labels) == 2 and not several:
        return np.where(open_, UNSURE, values != 0).astype(np.uint8)
    unknown = sorted(there - set(range(len(labels))) - ({UNSURE} if unsure else set()))
    if unknown:
        add = "add a class (--add-class NAME, add_classes in Python)" if unsure else "choose another model"
        raise ScanError(
            f"{pair.mask.name} has the values {first_few(unknown)}, the model knows 0 to {len(labels) - 1} "
            f"({', '.join(labels)}): change the mask's values, or {add}"
        )
    return np.asarray(values, np.uint8)


def _pair(path: Path, line: int, row: Mapping[str, str]) -> Pair:
    if not row["scan"] or not row["mask"]:
        raise ScanError(f"{path.name} line {line} names no {'mask' if row['scan'] else 'scan'}: fill it in")
    scan, mask = (_path(path.parent, row[name]) for name in ("scan", "mask"))
    try:
        slices = tuple(int(number) for number in re.split(r"[;,\s]+", row.get("slices", "")) if number)
    except ValueError as error:
        raise ScanError(f"{path.name} line {line}: slices must look like 3;4;9, not '{row['slices']}'") from error
    second = row.get("second", "")
    other = _path(path.parent, second) if second else None
    return Pair(scan, mask, str(scan), slices, other, row.get("tumour", ""))


def _path(folder: Path, cell: str) -> Path:
    """Return the file of a cell, which may be written as Windows writes paths."""
    found = tables.existing(folder / Path(cell).expanduser())
    return found if found.exists() else tables.existing(folder / Path(cell.replace("\\", "/")).expanduser())


def _check_files(files: list[tuple[Path, str]]) -> None:
    missing = [(path, what) for path, what in files if not path.exists()]
    if missing:
        more = f" ({len(missing)} files are missing in all)" if len(missing) > 1 else ""
        raise ScanError(f"{missing[0][1]} {missing[0][0]} does not exist{more}: check the paths, relative to the CSV")


def _on_grid(pair: Pair, scan: Scan, mask: Scan, notes: list[str] | None) -> NDArray[Any]:
    """Return the mask's values on the grid of the scan."""
    if mask.axes.endswith("c"):
        mask = replace(mask, array=np.asarray(mask.array)[..., 0], axes=mask.axes[:-1])
    placed = put_on_scan(mask, scan, (pair.mask.name, pair.scan.name))
    if placed.note and notes is not None:
        notes.append(f"{pair.mask.name}: {placed.note}")
    return np.asarray(placed.mask.array)
