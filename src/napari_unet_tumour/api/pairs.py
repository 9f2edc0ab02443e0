"""Scans and their true masks: a PAIRS.csv, or two folders with the same names."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour import scans
from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.errors import ScanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.scan import Scan

SHOWN = 3
# In the column mask: the scan shows no tumour.
NONE = "none"


@dataclass(frozen=True)
class Pair:
    """A scan and its true mask.

    Parameters
    ----------
    scan, mask : pathlib.Path
        The two files.
    group : str
        The patient; the scan's own path when it is not known.
    second : pathlib.Path, optional
        A second reader's mask.
    slices : tuple of int
        Which slices a person has reviewed, for fine-tuning; empty when not given.
    """

    scan: Path
    mask: Path
    group: str
    slices: tuple[int, ...] = ()
    second: Path | None = None

    @property
    def is_tumour_free(self) -> bool:
        """Whether the table says that the scan shows no tumour, and so has no mask."""
        return self.mask.name == NONE


def read_pairs(path: str | Path) -> list[Pair]:
    """Read a PAIRS.csv with the columns scan, mask and, optionally, group, second (reader's mask) and slices.

    The word "none" as mask says that a scan shows no tumour.

    Parameters
    ----------
    path : str or pathlib.Path
        Comma-separated, UTF-8, with a head line; file names are relative to its folder.

    Returns
    -------
    list of Pair
        In the order of the file.

    Raises
    ------
    ScanError
        The file cannot be read, lacks a column, or names files that do not exist.
    """
    path = Path(path).expanduser()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, skipinitialspace=True)
            _check_columns(path, table.fieldnames or [])
            pairs = [_pair(path, table.line_num, row) for row in table if any(row.values())]
    except OSError as error:
        raise ScanError(f"{path} cannot be read ({error.strerror}): check the path and permissions") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ScanError(f"{path.name} is no text file of comma-separated values: save it as CSV (UTF-8)") from error
    if not pairs:
        raise ScanError(f"{path.name} has no rows: add a line with a scan and its mask")
    _check_files(
        [(one.scan, f"{path.name}: the scan") for one in pairs]
        + [(one.mask, f"{path.name}: the mask") for one in pairs if not one.is_tumour_free]
        + [(one.second, f"{path.name}: the second reader's mask") for one in pairs if one.second is not None]
    )
    return pairs


def pair_folders(images: str | Path, masks: str | Path, second: str | Path | None = None) -> list[Pair]:
    """Pair the files of two folders by their names without suffix; "NAME_mask" fits "NAME" too.

    Parameters
    ----------
    second : str or pathlib.Path, optional
        Folder of a second reader's masks, of some of the scans or all.

    Raises
    ------
    ScanError
        A folder is missing or empty, or the names differ (the first ones are listed).
    """
    found, truth = scans_in(Path(images)), scans_in(Path(masks))
    by_name = {stem(path): path for path in truth}
    pairs = [(path, by_name.get(stem(path)) or by_name.get(f"{stem(path)}_mask")) for path in found]
    alone = [path.name for path, mask in pairs if mask is None]
    used = {mask for _, mask in pairs}
    spare = [path.name for path in truth if path not in used]
    if alone or spare:
        problems = [f"no mask for {_some(alone)}"] * bool(alone) + [f"no image for {_some(spare)}"] * bool(spare)
        raise ScanError(
            f"{images} and {masks} do not fit: {'; '.join(problems)}: give every image a mask of the same name"
        )
    other = {stem(path): path for path in scans_in(Path(second))} if second is not None else {}
    return [
        Pair(path, mask, str(path), second=other.get(stem(path)) or other.get(f"{stem(path)}_mask"))
        for path, mask in pairs
        if mask is not None
    ]


def scans_in(folder: Path) -> list[Path]:
    """Return the files of a folder that can be read as scans, sorted by name; raises ScanError when there are none."""
    try:
        files = sorted(path for path in folder.expanduser().iterdir() if _is_scan(path))
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
    pair: Pair, scan: Scan, shape: tuple[int, ...], labels: Sequence[str], unsure: bool = False, grey: bool = False
) -> NDArray[np.uint8]:
    """Read the true mask of a scan.

    Parameters
    ----------
    pair : Pair
        Names the files.
    scan : Scan
        The scan, read.
    shape : tuple of int
        Shape that the mask must have (the scan without channels).
    labels : sequence of str
        The model's labels; with a single one any non-zero value is that label.
    unsure : bool
        The mask is a correction: the value 255 = not sure stays, a mask of 0 and 255 alone is one of a single label,
        and several other values are several labels, which a model with a single one does not know.
    grey : bool
        The values are returned as the file has them, as uint8.

    Returns
    -------
    numpy.ndarray
        `shape` uint8, label values.

    Raises
    ------
    ScanError
        The mask cannot be read, lies on another grid, or has values that the model does not know.
    """
    if pair.is_tumour_free:
        return np.zeros(shape, np.uint8)
    mask = scans.read_mask(pair.mask)
    values: NDArray[Any] = np.asarray(mask.array)
    values = values[..., 0] if mask.axes.endswith("c") else values
    _check_grid(pair, scan, mask, values.shape, shape)
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
            f"{pair.mask.name} has the values {_some(unknown)}, the model knows 0 to {len(labels) - 1} "
            f"({', '.join(labels)}): change the mask's values, or {add}"
        )
    return np.asarray(values, np.uint8)


def _check_columns(path: Path, names: Sequence[str]) -> None:
    missing = [name for name in ("scan", "mask") if name not in names]
    if missing:
        raise ScanError(
            f"{path.name} has no column {' and no column '.join(missing)} (found: {_short(', '.join(names))}): "
            "the first line must be scan,mask or scan,mask,group"
        )


def _pair(path: Path, line: int, row: dict[str, str | None]) -> Pair:
    if not row["scan"] or not row["mask"]:
        raise ScanError(f"{path.name} line {line} names no {'mask' if row['scan'] else 'scan'}: fill it in")
    scan, mask = (path.parent / Path(str(row[name]).strip()).expanduser() for name in ("scan", "mask"))
    try:
        slices = tuple(int(number) for number in (row.get("slices") or "").split(";") if number.strip())
    except ValueError as error:
        raise ScanError(f"{path.name} line {line}: slices must look like 3;4;9, not '{row['slices']}'") from error
    second = (row.get("second") or "").strip()
    other = path.parent / Path(second).expanduser() if second else None
    return Pair(scan, mask, (row.get("group") or "").strip() or str(scan), slices, other)


def _check_files(files: list[tuple[Path, str]]) -> None:
    missing = [(path, what) for path, what in files if not path.exists()]
    if missing:
        more = f" ({len(missing)} files are missing in all)" if len(missing) > 1 else ""
        raise ScanError(f"{missing[0][1]} {missing[0][0]} does not exist{more}: check the paths, relative to the CSV")


def _check_grid(pair: Pair, scan: Scan, mask: Scan, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if found != wanted:
        raise ScanError(
            f"{pair.mask.name} has {_by(found)} pixels and {pair.scan.name} has {_by(wanted)}: "
            "they are no pair, or one was resampled"
        )
    if scan.affine is None or mask.affine is None or scan.affine.shape != mask.affine.shape:
        return
    # First and last voxel: together they see every shift, flip and other spacing.
    last = np.array([scan.array.shape[axis] - 1 for axis in scan.spatial], float)
    shift = scan.affine - mask.affine
    ends = np.stack([shift[:-1, -1], shift[:-1, :-1] @ last + shift[:-1, -1]])
    if np.abs(ends).max() > 0.5 * min(scan.spacing):
        raise ScanError(
            f"{pair.mask.name} lies at another place, or turned, in the patient than {pair.scan.name} (their affines "
            "differ): resample the mask to the scan's grid"
        )


def _is_scan(path: Path) -> bool:
    known = scans.suffix_of(path) in scans.READERS
    return known and not path.name.startswith(".") and (path.is_file() or path.suffix.lower() == ".zarr")


def _some(names: Sequence[Any]) -> str:
    shown = ", ".join(map(str, names[:SHOWN]))
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def _short(text: str, most: int = 60) -> str:
    return (text if len(text) <= most else f"{text[:most]}...") or "nothing"


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
