"""Read tables that people make: cases.csv and pairs.csv, exported by any spreadsheet."""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_unet_tumour.errors import TableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

DELIMITERS = ",;\t|"
FILE = (
    "file", "files", "filename", "filepath", "image", "images", "imagefile", "imagename", "imagepath", "img", "scan",
    "scans", "scanfile", "scanpath", "path", "picture", "volume", "slicefile",
)  # fmt: skip
MASK = (
    "mask", "masks", "maskfile", "maskname", "maskpath", "label", "labels", "labelfile", "labelmap", "labelpath", "seg",
    "segfile", "segpath", "segmentation", "segmentationfile", "truth", "groundtruth", "gt", "annotation", "reference",
)  # fmt: skip
SECOND = (
    "second", "secondmask", "secondmasks", "secondreader", "secondreadermask", "secondrater", "mask2", "reader2",
    "rater2",
)  # fmt: skip
PERSON = (
    "person", "persons", "personid", "patient", "patients", "patientid", "patientnumber", "patientname", "subject",
    "subjects", "subjectid", "participant", "participantid", "group", "groups", "groupid", "individual", "pid", "mrn",
    "proband", "probandid",
)  # fmt: skip
TUMOUR = ("tumour", "tumor", "tumours", "tumors", "tumourtype", "tumortype", "type", "class", "diagnosis")
SPLIT = ("split", "part", "set", "subset", "partition")
SLICES = ("slices", "slice", "reviewed", "reviewedslices")
# Words of a column that may name the person under a name that is not known here; those of what else a person has.
_PERSONAL = re.compile("patient|person|subject|participant|proband|individual|pid|mrn")
_OTHER = re.compile("age|sex|gender|weight|size|height|birth|date|comment|position|orientation|group")
# What spreadsheets and programs write for nothing.
_NOTHING = {"", "na", "n/a", "nan", "none", "null", "-", "?", "#n/a", "<na>"}


@dataclass(frozen=True)
class Table:
    """A table's known columns.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    columns : dict
        Known name of a column -> its name in the file.
    rows : list of dict
        Known name of a column -> stripped value, "" for an empty cell; in the file's order.
    lines : list of int
        Line number of each row in the file.
    unknown : tuple of str
        Columns that are not used.
    """

    path: Path
    columns: dict[str, str]
    rows: list[dict[str, str]]
    lines: list[int]
    unknown: tuple[str, ...]

    @property
    def note(self) -> str:
        """A line that names the columns that are not used, or ""."""
        if not self.unknown:
            return ""
        columns = "column" if len(self.unknown) == 1 else "columns"
        return f"{self.path.name}: not used: the {columns} {', '.join(self.unknown)}"


def read_table(path: Path, known: Mapping[str, Sequence[str]], required: Sequence[str], example: str) -> Table:
    """Read a table separated by commas, semicolons, tabs or bars, in UTF-8 or UTF-16, with columns in any order.

    Parameters
    ----------
    path : pathlib.Path
        A text file whose first line names the columns.
    known : mapping
        Known name of a column -> its spellings, in lower case without spaces, "_" and "-". If "person" is among the
        names, an unknown column that probably identifies a person is an error.
    required : sequence of str
        Columns that the file must have.
    example : str
        A correct first line, for the error message.

    Raises
    ------
    TableError
        The file is not a table, lacks a column or has it twice, or a line has more cells than the first one.
    """
    text = _text(path)
    lines = text.splitlines()
    if lines and re.fullmatch(r"sep=.", lines[0].strip(), re.IGNORECASE):
        text = text.split("\n", 1)[1] if "\n" in text else ""
    delimiter = _delimiter(text, known)
    try:
        cells = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        head = [_plain(name) for name in next(cells, [])]
        found = [(cells.line_num, [_plain(cell) for cell in row]) for row in cells]
    except csv.Error as error:
        raise TableError(f"{path.name} is no table ({error}): save it as CSV (UTF-8)") from error
    columns = _columns(path, head, known)
    _check_columns(path, head, columns, known, required, example)
    at = {name: head.index(spelling) for name, spelling in columns.items()}
    rows, numbers = [], []
    for number, row in found:
        if not any(row):
            continue
        if any(row[len(head) :]):
            raise TableError(
                f"{path.name} line {number} has {len(row)} cells and the first line {len(head)}: "
                f"put a value that contains '{delimiter}' into quotes"
            )
        rows.append({name: row[n] if n < len(row) else "" for name, n in at.items()})
        numbers.append(number)
    used = set(columns.values())
    return Table(path, columns, rows, numbers, tuple(name for name in head if name and name not in used))


def persons_of(table: Table, column: str = "person") -> list[str]:
    """Return the person of each row; values that differ only in case or spaces get one spelling.

    Raises
    ------
    TableError
        A cell of the column is empty: a split by person could put the same person into two parts.
    """
    spelling = table.columns[column]
    empty = [n for n, row in zip(table.lines, table.rows, strict=True) if row[column].casefold() in _NOTHING]
    if empty:
        raise TableError(
            f"{table.path.name} line {empty[0]} names no {spelling} ({len(empty)} rows in all): fill the column in, "
            "since the split by person depends on it"
        )
    first: dict[str, str] = {}
    return [first.setdefault(" ".join(row[column].casefold().split()), row[column]) for row in table.rows]


def name_in(cell: str) -> str:
    """Return a file's name without its folders (Windows or POSIX), in composed Unicode (NFC)."""
    return unicodedata.normalize("NFC", re.split(r"[\\/]", cell)[-1])


def composed(name: str) -> str:
    """Return a name in composed Unicode (NFC): macOS may store its accents as separate characters."""
    return unicodedata.normalize("NFC", name)


def existing(path: Path) -> Path:
    """Return the existing path whose name equals this one in composed Unicode; the path itself where there is none."""
    if path.exists() or path == path.parent:
        return path
    parent = existing(path.parent)
    if not parent.is_dir():
        return path
    fitting = (one for one in parent.iterdir() if composed(one.name) == composed(path.name))
    return next(fitting, parent / path.name)


def csv_text(names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Return rows as CSV text with a header; a missing value is an empty cell."""
    text = io.StringIO()
    table = csv.DictWriter(text, names, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path} cannot be read ({error.strerror}): check the path and permissions") from error
    try:
        text = raw.decode(_encoding(raw))
    except UnicodeDecodeError as error:
        raise TableError(f"{path.name} is no text file of comma-separated values: save it as CSV (UTF-8)") from error
    if "\0" in text:
        raise TableError(f"{path.name} is no text file of comma-separated values: save it as CSV (UTF-8)")
    return text


def _encoding(raw: bytes) -> str:
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # Without a byte order mark: in UTF-16, every other byte of Latin letters is 0.
    start = raw[:200]
    if len(raw) % 2 == 0 and start and not any(start[1::2]):
        return "utf-16-le"
    if len(raw) % 2 == 0 and start and not any(start[::2]):
        return "utf-16-be"
    return "utf-8-sig"


def _plain(cell: str | None) -> str:
    """Return a cell without surrounding white space or byte order marks, in composed Unicode (NFC)."""
    return composed((cell or "").strip().strip("\ufeff\u200b").strip())


def column_key(name: str) -> str:
    """Return the name of a column in small letters, without spaces, "_", "-" and "."."""
    return re.sub(r"[\s_\-.]+", "", unicodedata.normalize("NFKC", name).casefold())


def _delimiter(text: str, known: Mapping[str, Sequence[str]]) -> str:
    """Return the delimiter with which the first line has most known columns."""
    spellings = {word for words in known.values() for word in words}
    first = next((line for line in text.splitlines() if line.strip()), "")

    def count(delimiter: str) -> tuple[int, int]:
        names = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True), [])
        return sum(column_key(name) in spellings for name in names), len(names)

    return max(DELIMITERS, key=count)


def _columns(path: Path, head: Sequence[str], known: Mapping[str, Sequence[str]]) -> dict[str, str]:
    columns = {}
    for name, spellings in known.items():
        fitting = [one for one in head if column_key(one) in spellings]
        exact = [one for one in fitting if column_key(one) == spellings[0]]
        chosen = exact if len(exact) == 1 else fitting
        if len(chosen) > 1:
            raise TableError(
                f"{path.name} has {len(chosen)} columns for one thing ({', '.join(chosen)}): keep one of them"
            )
        if chosen:
            columns[name] = chosen[0]
    return columns


def _check_columns(
    path: Path,
    head: Sequence[str],
    columns: Mapping[str, str],
    known: Mapping[str, Sequence[str]],
    required: Sequence[str],
    example: str,
) -> None:
    missing = [name for name in required if name not in columns]
    if missing:
        shown = ", ".join(name for name in head if name)
        shown = (shown if len(shown) <= 60 else f"{shown[:60]}...") or "nothing"
        raise TableError(
            f"{path.name} has no column {' and no column '.join(map(repr, missing))} (found: {shown}): "
            f"its first line must name the columns, e.g. {example}"
        )
    if "person" in known and "person" not in columns:
        likely = [name for name in head if _PERSONAL.search(column_key(name)) and not _OTHER.search(column_key(name))]
        if likely:
            raise TableError(
                f"{path.name} has a column '{likely[0]}' that may say whose a scan is, which the split by person "
                f"depends on: name it '{known['person'][0]}', or another name if it does not"
            )
