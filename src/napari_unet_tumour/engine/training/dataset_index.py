"""Match images with masks, persons and tumour types, from two folders and a cases file; reads no pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_unet_tumour import scans
from napari_unet_tumour.base import tables
from napari_unet_tumour.engine.training import split
from napari_unet_tumour.errors import TableError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHOWN = 3
VOLUMES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class DatasetItem:
    """The source of a slice.

    Parameters
    ----------
    image, mask : Path
        The two files; the mask of a tumour-free image is None.
    plane : int
        Number of the slice in the file.
    name, person, kind, part : str
        File name without suffix; person, tumour type and value of the split column, "" if not known.
    """

    image: Path
    mask: Path | None
    plane: int = 0
    name: str = ""
    person: str = ""
    kind: str = ""
    part: str = ""


def dataset_items(
    images: Path, masks: Path, cases: Path | None = None, kind_column: str = "tumour"
) -> list[DatasetItem]:
    """Match images, masks and cases.

    Parameters
    ----------
    images, masks : Path
        Folders with the same file names; suffixes may differ.
    cases : Path, optional
        CSV with the column `file` and any of `person`, `split` and `kind_column`.

    Returns
    -------
    list of DatasetItem
        One for every file, sorted by file name.

    Raises
    ------
    TrainingError
        There are no pairs, names do not match, or an image is missing from the cases file.
    """
    pairs = pairs_of(images, masks)
    table = read_cases(cases, [image for image, _ in pairs], kind_column)[0] if cases is not None else {}
    return _with_persons([_source(image, mask, table) for image, mask in pairs])


def pairs_of(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Match the files of two folders by name, sorted; raises TrainingError with the first mismatches."""
    left, right = files_of(images), files_of(masks)
    if not left and not right:
        raise TrainingError(f"{images} and {masks} hold no images ({', '.join(scans.READERS)}): choose other folders")
    unmatched = [f"{left[s].name} has no mask" for s in sorted(left.keys() - right.keys())]
    unmatched += [f"{right[s].name} has no image" for s in sorted(right.keys() - left.keys())]
    if unmatched:
        shown = "; ".join(unmatched[:SHOWN]) + ("; ..." if len(unmatched) > SHOWN else "")
        count = len(left.keys() | right.keys())
        raise TrainingError(
            f"{len(unmatched)} of {count} names in {images} and {masks} do not match: {shown}: "
            "give a mask the same name as its image"
        )
    return sorted(((left[s], right[s]) for s in left), key=lambda pair: pair[0].name)


def read_cases(
    path: Path, images: Sequence[Path], kind_column: str = "tumour"
) -> tuple[dict[str, dict[str, str]], str]:
    """Read a cases table: rows by file name without suffix, and a line that names the unused columns.

    The columns are `file`, `person`, `split` and `kind_column`, or synonyms of these.

    Raises
    ------
    TrainingError
        The file is not a table, an image has no row or two different ones, or a row's person is empty.
    """
    columns = {"file": tables.FILE, "person": tables.PERSON, "split": tables.SPLIT, "kind": _kind_names(kind_column)}
    try:
        table = tables.read_table(path, columns, ("file",), "file,person")
        persons = tables.persons_of(table) if "person" in table.columns else []
    except TableError as error:
        raise TrainingError(str(error)) from error
    rows: dict[str, dict[str, str]] = {}
    for n, row in enumerate(table.rows):
        row = {**row, **({"person": persons[n]} if persons else {})}
        name = _stem(Path(tables.name_in(row["file"])))
        if rows.get(name, row) != row:
            raise TrainingError(f"{path.name} line {table.lines[n]} names {name} again, otherwise: keep one row")
        rows[name] = row
    absent = [image.name for image in images if _stem(image) not in rows]
    if absent:
        shown = ", ".join(absent[:SHOWN]) + (", ..." if len(absent) > SHOWN else "")
        raise TrainingError(f"{path.name} says nothing of {len(absent)} images ({shown}): add a row for each")
    return rows, table.note


def unused_columns(path: Path, kind_column: str = "tumour") -> str:
    """Return a line that names the unused columns of a cases table, or ""; raises TrainingError."""
    return read_cases(path, [], kind_column)[1]


def _kind_names(column: str) -> tuple[str, ...]:
    """Return the accepted names of the column with the tumour type."""
    key = tables.column_key(column)
    return tables.TUMOUR if key in tables.TUMOUR else (key,)


def files_of(folder: Path) -> dict[str, Path]:
    """Return the readable files of a folder by name without suffix, sorted."""
    if not folder.is_dir():
        raise TrainingError(f"{folder} is not a folder: give the folder that holds the files")
    found = [path for path in sorted(folder.iterdir()) if scans.is_listed(path)]
    named: dict[str, Path] = {}
    for path in found:
        if _stem(path) in named:
            raise TrainingError(f"{folder} holds {named[_stem(path)].name} and {path.name}: keep one of them")
        named[_stem(path)] = path
    return named


def _stem(path: Path) -> str:
    """Return the name without a known suffix, in composed Unicode: images and masks may come from other systems."""
    suffix = scans.suffix_of(path)
    name = path.name[: len(path.name) - len(suffix)] if suffix in scans.READERS else path.name
    return tables.composed(name)


def _source(image: Path, mask: Path, table: Mapping[str, Mapping[str, str]]) -> DatasetItem:
    row = table.get(_stem(image), {})
    kind, part = row.get("kind", ""), row.get("split", "")
    return DatasetItem(image, mask, 0, _stem(image), row.get("person", ""), kind, part)


def _with_persons(sources: list[DatasetItem]) -> list[DatasetItem]:
    """Derive persons from the file names if the cases file has none; every volume is a person of its own."""
    if any(source.person for source in sources):
        nameless = [source.name for source in sources if not source.person]
        if nameless:
            raise TrainingError(
                f"the cases file names no person for {nameless[0]} ({len(nameless)} in all): fill it in"
            )
        return sources
    persons = split.persons_from_names([source.name for source in sources])
    if persons is None and all(scans.suffix_of(source.image) in VOLUMES for source in sources):
        persons = [source.name for source in sources]
    if persons is None:
        return sources
    return [DatasetItem(**{**vars(source), "person": person}) for source, person in zip(sources, persons, strict=True)]
