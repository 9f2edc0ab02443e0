"""The index of results: from which scan each file in a folder was made. It is stored in the user's data folder.

A file is overwritten only if it is known as a result of the same scan and unchanged since.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from threading import Lock
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.api import cohort
from napari_unet_tumour.base.json_lines import append_lines, read_lines
from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.models import registry

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class ResultIndex:
    """The results in one folder.

    Parameters
    ----------
    folder : pathlib.Path
        The folder of results.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        digest = hashlib.blake2b(os.fsencode(self._folder), digest_size=12).hexdigest()
        self._path = registry.data_dir() / "written" / f"{digest}.jsonl"
        self._lines = {line["file"]: line for line in read_lines(self._path, ("file", "scan"))}
        self._lock = Lock()
        # The record of a cohort lies in the folder itself and is copied with it to another machine.
        self._moved = {line["file"]: line for line in _lines_of_cohort(self._folder)}

    def owners(self) -> dict[str, str]:
        """Return the scan's real path by the name of a result, for existing files."""
        lines = self._moved | self._lines
        return {name: line["scan"] for name, line in lines.items() if (self._folder / name).exists()}

    def claim(self, scan: Path, files: Iterable[Path]) -> None:
        """Record files that are about to be written, so that they are known after a crash too; raises OutputError."""
        self._append([{"file": one.name, "scan": os.path.realpath(scan)} for one in files if not one.exists()])

    def release(self) -> None:
        """Forget files that were claimed and never written: later, a file of that name may be the user's own."""
        gone = [name for name, line in self._lines.items() if "size" not in line and not (self._folder / name).exists()]
        self._append([{"file": name, "scan": ""} for name in gone if self._lines[name]["scan"]])

    def add(self, scan: Path, files: Iterable[Path]) -> None:
        """Record complete results; raises OutputError."""
        self._append([{"file": one.name, "scan": os.path.realpath(scan), **_content(one)} for one in files])

    def is_ours(self, file: Path, scan: Path) -> bool:
        """Tell whether a file is an unchanged or unfinished result of this scan."""
        found, here = _content(file), os.path.realpath(scan)
        lines = [lines[file.name] for lines in (self._lines, self._moved) if file.name in lines]
        return any(
            line["scan"] == here and all(line[key] == found.get(key) for key in ("size", "hash") if key in line)
            for line in lines
        )

    def _append(self, lines: list[dict[str, Any]]) -> None:
        if not lines:
            return
        self._lines |= {line["file"]: line for line in lines}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written ({error.strerror}): free some space") from error
        with self._lock:
            append_lines(self._path, lines)


def name_key(name: str) -> str:
    """Return a key that is equal for names that a file system may not tell apart: other case or Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()


def _content(file: Path) -> dict[str, Any]:
    stamp, digest = cohort.fingerprint(file)
    return {"size": stamp[0], "hash": digest} if digest else {"size": stamp[0]}


def _lines_of_cohort(folder: Path) -> list[dict[str, Any]]:
    lines = cohort.read_record(folder)
    return [{"file": line["mask"][0], "scan": line["scan"], "size": line["mask"][1]} for line in lines]
