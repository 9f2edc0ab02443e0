"""What the DICOM server panel asks of a server, on the thread of a task."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet_tumour import dicomweb
from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.widgets.readers_writers import write_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_unet_tumour.dicomweb import FoundSeries, FoundStudy
    from napari_unet_tumour.widgets.common.background import Task

# A person may have to find the series by eye in a file manager: names are short, and differ by the hash.
_LONGEST, _HASH = 40, 8


@dataclass(frozen=True)
class Login:
    """A server and the login for it.

    Parameters
    ----------
    url : str
        Its address.
    user, password : str
        "" for the login of the environment or of ~/.netrc.
    """

    url: str
    user: str = ""
    password: str = ""

    def server(self) -> dicomweb.Server:
        """Return the server; raises ServerError."""
        return dicomweb.Server(self.url, user=self.user, password=self.password)


def folder_of(root: Path, study: FoundStudy, series: FoundSeries) -> Path:
    """Return where a series is kept: patient, date, number and description, and a hash of its UID."""
    parts = (study.patient, study.date, series.number, series.description)
    name = re.sub(r"[^\w.-]+", "_", " ".join(part for part in parts if part), flags=re.ASCII).strip("._")
    return root / f"{name[:_LONGEST] or 'series'}_{sha256(series.uid.encode()).hexdigest()[:_HASH]}"


def fetch(task: Task, login: Login, study: FoundStudy, series: FoundSeries, root: Path) -> tuple[Path, bool]:
    """Fetch a series unless it is there already; returns its folder and whether it was there.

    Raises
    ------
    ServerError, OutputError
        As `dicomweb.iter_fetch`.
    TaskDropped
        The person does not wait any more; nothing is left behind.
    """
    folder = folder_of(root, study, series)
    if folder.is_dir() and any(folder.iterdir()):
        return folder, True
    return task.follow(dicomweb.iter_fetch(login.server(), study.uid, series.uid, folder)), False


def store_mask(task: Task, login: Login, name: str, data: Any, about: dict[str, Any]) -> int:
    """Write a Labels layer as DICOM SEG and store it; returns how many files were stored.

    Raises
    ------
    OutputError
        The layer does not lie on a DICOM series.
    ServerError
        As `dicomweb.iter_store`.
    """
    file = re.sub(r"[^\w.-]+", "_", name) or "mask"
    with tempfile.TemporaryDirectory() as folder:
        try:
            written = write_labels(str(Path(folder) / f"{file}.dcm"), data, about)
        except OutputError as error:
            raise OutputError(f"{name} was not stored: {error}") from error
        return store(task, login, [Path(one) for one in written])


def store(task: Task, login: Login, files: Sequence[Path]) -> int:
    """Store DICOM files; returns how many. Raises as `dicomweb.iter_store`."""
    return task.follow(dicomweb.iter_store(login.server(), files))
