"""How far each case of a list is, kept in one file in the person's data folder."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from napari_unet_tumour.base.atomic_write import atomic, shortened
from napari_unet_tumour.errors import OutputError, TableError
from napari_unet_tumour.models.registry import data_dir
from napari_unet_tumour.worklist.folder import find_cases

if TYPE_CHECKING:
    from collections.abc import Sequence

NEW, SEGMENTED, CORRECTED, ACCEPTED = "new", "segmented", "corrected", "accepted"
STATES = (NEW, SEGMENTED, CORRECTED, ACCEPTED)
LOCK_S = 10


@dataclass(frozen=True)
class Case:
    """One scan of a list.

    Parameters
    ----------
    key : str
        Its path below the list's folder.
    path : pathlib.Path
        Its file or DICOM folder.
    state : str
        `NEW`; `SEGMENTED` by a network; `CORRECTED`: a person has changed or drawn its mask; `ACCEPTED` by a person.
    lesions : int or None
        Number of lesions in its mask, None while that is not known.
    volume : float or None
        Their volume.
    volume_units : str
        "ml" or "pixels".
    date : str
        When its state or mask last changed, YYYY-MM-DD; "" while it is new.
    problem : str
        Why it could not be opened or segmented; "" where nothing went wrong.
    broken : bool
        Whether it could not be opened.
    """

    key: str
    path: Path
    state: str = NEW
    lesions: int | None = None
    volume: float | None = None
    volume_units: str = "ml"
    date: str = ""
    problem: str = ""
    broken: bool = False

    @property
    def name(self) -> str:
        """What a person sees: the path below the folder, of the folder itself its name."""
        return self.path.name if self.key == "." else self.key


class Worklist:
    """The scans of a folder and their states. It reads no pixels, and writes nothing into the folder.

    Two windows may have one list open: each change goes into the file as it is then.

    Parameters
    ----------
    folder : str or pathlib.Path
        Holds the scans, in folders or not.

    Raises
    ------
    ScanError
        The folder cannot be read, or holds no scan.
    TableError
        The file of the states is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(os.path.realpath(Path(folder).expanduser()))
        found = find_cases(self.folder)
        mark = hashlib.blake2b(str(self.folder).encode(), digest_size=6).hexdigest()
        self.home = data_dir() / "worklists" / f"{self.folder.name}-{mark}"
        self._file = self.home / "list.json"
        self._unsaved: dict[str, dict[str, Any]] = {}
        states = self._read()
        self._cases = {one.key: _case(one.key, one.path, states.get(one.key, {})) for one in found}

    @property
    def cases(self) -> list[Case]:
        """All cases, sorted by path."""
        return list(self._cases.values())

    def __getitem__(self, key: str) -> Case:
        return self._cases[key]

    def mask_path(self, key: str) -> Path:
        """Return where the mask that a person has changed or drawn is kept; the file need not be there yet."""
        return self._file_of(key, "_mask.nii.gz")

    def network_path(self, key: str) -> Path:
        """Return where the network's own mask is kept; the file need not be there yet."""
        return self._file_of(key, "_network_mask.nii.gz")

    def best_mask(self, key: str) -> Path | None:
        """Return the file of a case's mask: the person's, else the network's, None where there is none."""
        paths = (self.mask_path(key), self.network_path(key))
        return next((path for path in paths if path.exists()), None)

    def _file_of(self, key: str, ending: str) -> Path:
        mark = hashlib.blake2b(key.encode(), digest_size=4).hexdigest()
        stem = key.replace("/", "_").removesuffix(".gz").removesuffix(".nii")
        return self.home / "masks" / shortened(f"{stem}-{mark}", ending, 200)

    def update(self, key: str, **changes: Any) -> Case:
        """Change a case, and write the list.

        Parameters
        ----------
        **changes
            Fields of `Case`.

        Returns
        -------
        Case
            As it is now.

        Raises
        ------
        OutputError
            The list cannot be written. The change holds in this window, and the next one writes it, too.
        """
        if "state" in changes or "volume" in changes:
            changes.setdefault("date", date.today().isoformat())
        case = self._cases[key] = replace(self._cases[key], **changes)
        self._unsaved[key] = _plain(case)
        self._write()
        return case

    def next_open(self, after: str | None = None, without: Sequence[str] = ()) -> Case | None:
        """Return the next case that is neither accepted nor broken, from the one after `after` on, then from the top.

        Parameters
        ----------
        after : str, optional
            Key of a case; from the top without it.
        without : sequence of str
            Keys that do not count.
        """
        keys = list(self._cases)
        start = keys.index(after) + 1 if after in self._cases else 0
        turned = [self._cases[key] for key in (*keys[start:], *keys[:start]) if key != after and key not in without]
        return next((case for case in turned if case.state != ACCEPTED and not case.broken), None)

    def count(self, state: str) -> int:
        """Return how many cases are in a state."""
        return sum(case.state == state for case in self._cases.values())

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            data = json.loads(self._file.read_text(encoding="utf-8"))
            states: dict[str, dict[str, Any]] = data["cases"]
            return {key: dict(one) for key, one in states.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TableError(f"{self._file} is damaged: move it to another folder to begin the list anew") from error

    def _write(self) -> None:
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            with FileLock(self.home / "list.lock", timeout=LOCK_S):
                states = {**self._read(), **self._unsaved}
                data = {"folder": str(self.folder), "cases": states}
                with atomic(self._file, "free some space: the list is written with its next change") as beside:
                    beside.write_text(json.dumps(data, indent=0), encoding="utf-8")
        except OSError as error:  # a lock that times out is one, too
            raise OutputError(f"{self._file} cannot be written ({error.strerror or 'another window writes it'}): "
                              "free some space or close the other window") from error  # fmt: skip
        self._unsaved = {}


_KEPT = tuple(one.name for one in fields(Case) if one.name not in ("key", "path"))


def _case(key: str, path: Path, kept: dict[str, Any]) -> Case:
    known = {name: kept[name] for name in _KEPT if name in kept}
    return Case(key, path, **(known if known.get("state", NEW) in STATES else {}))


def _plain(case: Case) -> dict[str, Any]:
    return {name: value for name, value in asdict(case).items() if name in _KEPT}
