"""Search for studies and series, fetch a series, store files."""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.base.atomic_write import atomic_folder
from napari_unet_tumour.base.text import plural
from napari_unet_tumour.dicomweb.server import CHECK_ADDRESS, reason
from napari_unet_tumour.errors import OutputError, ScanError, ServerError
from napari_unet_tumour.settings import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from napari_unet_tumour.dicomweb.server import Server

MOST_RESULTS = 200


@dataclass(frozen=True)
class FoundStudy:
    """A study as a server lists it; what it does not say is ""."""

    uid: str
    patient: str
    date: str
    modalities: str
    description: str


@dataclass(frozen=True)
class FoundSeries:
    """A series as a server lists it; what it does not say is ""."""

    uid: str
    number: str
    modality: str
    images: str
    description: str


def find_studies(server: Server, patient: str = "", date: str = "", modality: str = "") -> list[FoundStudy]:
    """Search for studies, at most `MOST_RESULTS`.

    Parameters
    ----------
    server : Server
        Where.
    patient : str
        Patient ID; "*" and "?" stand for any letters.
    date : str
        YYYYMMDD, or YYYYMMDD-YYYYMMDD.
    modality : str
        "MR", "CT", ...

    Raises
    ------
    ServerError
        The server does not answer, or refuses.
    """
    given = {"PatientID": patient, "StudyDate": date, "ModalitiesInStudy": modality}
    with server.errors("the search", CHECK_ADDRESS):
        found = server.client.search_for_studies(
            search_filters={name: value for name, value in given.items() if value},
            fields=["StudyDescription", "ModalitiesInStudy"],
            limit=MOST_RESULTS,
        )
        _check_listed(found, "0020000D")
    tags = ("0020000D", "00100020", "00080020", "00080061", "00081030")
    return [FoundStudy(*(_text(one, tag) for tag in tags)) for one in found]


def find_series(server: Server, study: str) -> list[FoundSeries]:
    """List the series of a study; raises ServerError."""
    _check_uid(study)
    missing = f"no study {study}: search for its UID with 'dicomweb query'"
    with server.errors("the search", missing):
        found = server.client.search_for_series(study, fields=["SeriesDescription", "NumberOfSeriesRelatedInstances"])
        _check_listed(found, "0020000E")
    if not found:
        raise ServerError(f"{server.url} has {missing}")
    tags = ("0020000E", "00200011", "00080060", "00201209", "0008103E")
    return [FoundSeries(*(_text(one, tag) for tag in tags)) for one in found]


def iter_fetch(server: Server, study: str, series: str, folder: Path) -> Generator[Progress, None, Path]:
    """Fetch all images of a series into a new folder; stopping in between leaves nothing.

    Parameters
    ----------
    server : Server
        Where from.
    study, series : str
        UIDs.
    folder : Path
        Must be absent or empty. The images are stored as the server has them.

    Yields
    ------
    Progress
        Once per image.

    Returns
    -------
    Path
        The folder, with all images.

    Raises
    ------
    ServerError
        The server does not answer, refuses, or does not send all images.
    OutputError
        The folder is in use, or cannot be written.
    """
    _check_uid(study, series)
    missing = f"no series {series} in this study: search for it with 'dicomweb query'"
    with server.errors("the search", missing):
        found = server.client.search_for_instances(study, series)
        _check_listed(found, "00080018")
    # A server may list fewer than it sends, but must send all that it lists.
    listed, arrived = {_text(one, "00080018") for one in found}, set[str]()
    if not listed:
        raise ServerError(f"{server.url} has {missing}")
    with atomic_folder(folder) as beside:
        with server.errors("the transfer", missing), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for image in server.client.iter_series(study, series, media_types=(("application/dicom", "*"),)):
                uid = str(image.SOPInstanceUID)
                if uid not in arrived and str(image.SeriesInstanceUID) == series:
                    arrived.add(uid)
                    _write(image, beside / f"{len(arrived):05d}.dcm")
                yield Progress(len(arrived), max(len(listed), len(arrived)), "fetching")
        if listed - arrived:
            sent = len(listed & arrived)
            raise ServerError(f"{server.url} has sent {sent} of {plural(len(listed), 'image')}: fetch it again")
    return folder


def iter_store(server: Server, files: Sequence[Path]) -> Generator[Progress, None, int]:
    """Store DICOM files, one by one; stopping in between keeps what is stored.

    Yields
    ------
    Progress
        Once per file.

    Returns
    -------
    int
        How many were stored.

    Raises
    ------
    ScanError
        A file is no DICOM file. Nothing was stored.
    ServerError
        The server does not answer or refuses; says which file was not stored, and how many were.
    """
    for file in files:
        _read(file, header_only=True)
    for n, file in enumerate(files):
        stored = f" ({n} of {len(files)} were stored before)" if n else ""
        try:
            with server.errors("storing", CHECK_ADDRESS), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answer = server.client.store_instances([_read(file)])
                failed = [int(one.get("FailureReason", 0)) for one in answer.get("FailedSOPSequence") or []]
        except ServerError as error:
            raise type(error)(f"{file.name} was not stored{stored}: {error}") from error
        if failed:
            raise ServerError(f"{file.name} was not stored{stored}: {server.url} says that {reason(failed[0])}")
        yield Progress(n + 1, len(files), "storing")
    return len(files)


def _write(image: Any, path: Path) -> None:
    try:
        image.save_as(path)
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be written ({error.strerror}): free some space") from error


def _read(path: Path, header_only: bool = False) -> Any:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        found = pydicom.dcmread(path, stop_before_pixels=header_only)
        if all(name in found for name in ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")):
            return found
    except OSError as error:
        raise ScanError(f"{path} cannot be read ({error.strerror}): check the path") from error
    except InvalidDicomError:
        pass
    raise ScanError(f"{path.name} is no DICOM object, which a server could store: save it as DICOM (.dcm)")


def _check_uid(*uids: str) -> None:
    for uid in uids:
        if not re.fullmatch(r"[0-9.]{1,64}", uid):
            raise ServerError(f"{uid} is no UID, which has digits and dots: copy it from 'dicomweb query'")


def _check_listed(found: Sequence[Any], tag: str) -> None:
    """Raise ValueError where an answer does not list DICOM objects."""
    if not all(_text(one, tag) for one in found):
        raise ValueError(f"an item has no {tag}")


def _text(item: dict[str, Any], tag: str) -> str:
    """Return an element of DICOM JSON as text; "" where it is missing or odd."""
    with suppress(KeyError, IndexError, TypeError, AttributeError):
        values = item[tag]["Value"]
        return "/".join(str(one.get("Alphabetic", "") if isinstance(one, dict) else one) for one in values)
    return ""
