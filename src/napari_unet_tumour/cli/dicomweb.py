"""dicomweb: search a server, fetch a series, store results."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.base.text import plural
from napari_unet_tumour.cli._output import EVERY, print_line, table, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from napari_unet_tumour.cli._options import Commands
    from napari_unet_tumour.settings import Progress

LOGIN = (
    "The login is taken from the environment (NAPARI_UNET_TUMOUR_DICOMWEB_TOKEN, or NAPARI_UNET_TUMOUR_DICOMWEB_USER "
    "and NAPARI_UNET_TUMOUR_DICOMWEB_PASSWORD) or from ~/.netrc, never from the command line. A hospital's own "
    "certificate is trusted where REQUESTS_CA_BUNDLE names its file."
)


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "dicomweb",
        help="search a DICOMweb server, fetch a series, store masks and reports",
        description=f"Search a DICOMweb server, fetch a series, store masks and reports. {LOGIN}",
    )
    actions = command.add_subparsers(title="actions", required=True, metavar="ACTION")
    query = actions.add_parser(
        "query", help="list studies, or the series of one", description="List studies, or the series of one."
    )
    _add_url(query)
    query.add_argument("--patient", default="", metavar="ID", help="patient ID; * and ? stand for any letters")
    query.add_argument("--date", default="", metavar="DATE", help="YYYYMMDD or YYYYMMDD-YYYYMMDD")
    query.add_argument("--modality", default="", metavar="MR", help="studies with this modality")
    query.add_argument("--study", metavar="UID", help="list the series of this study")
    query.set_defaults(run=_query)
    fetch = actions.add_parser(
        "fetch", help="fetch a series into a folder", description="Fetch all images of a series into a new folder."
    )
    _add_url(fetch)
    fetch.add_argument("study", metavar="STUDY", help="UID of the study")
    fetch.add_argument("series", metavar="SERIES", help="UID of the series")
    fetch.add_argument("out", metavar="OUT", help="the folder, new or empty")
    fetch.add_argument("--open", action="store_true", help="open it in napari then")
    fetch.set_defaults(run=_fetch)
    store = actions.add_parser(
        "store",
        help="store DICOM files",
        description="Store DICOM files: masks (DICOM-SEG, RT Structure Set) and reports (SR).",
    )
    _add_url(store)
    store.add_argument("files", nargs="+", metavar="FILE", help="DICOM files")
    store.set_defaults(run=_store)


def _add_url(action: argparse.ArgumentParser) -> None:
    action.add_argument("url", metavar="URL", help="the server, e.g. https://pacs.example.org/dicom-web")


def _query(args: argparse.Namespace) -> int:
    from napari_unet_tumour import dicomweb

    server = dicomweb.Server(args.url)
    if args.study:
        series = dicomweb.find_series(server, args.study)
        table(
            ("number", "modality", "images", "description", "series"),
            [(one.number, one.modality, one.images, one.description, one.uid) for one in series],
        )
        return 0
    studies = dicomweb.find_studies(server, args.patient, args.date, args.modality)
    if not studies:
        print_line("no study is found")
        return 0
    table(
        ("patient", "date", "modalities", "description", "study"),
        [(one.patient, one.date, one.modalities, one.description, one.uid) for one in studies],
    )
    if len(studies) >= dicomweb.MOST_RESULTS:
        warn(f"note: these are the first {len(studies)} studies: narrow the search with --patient or --date")
    return 0


def _fetch(args: argparse.Namespace) -> int:
    from napari_unet_tumour import dicomweb
    from napari_unet_tumour.cli.demo import has_screen
    from napari_unet_tumour.errors import UNetTumourError

    if args.open and not has_screen():
        raise UNetTumourError("there is no screen to open a window on: leave out --open")
    out = Path(args.out).expanduser()
    folder = exhaust(dicomweb.iter_fetch(dicomweb.Server(args.url), args.study, args.series, out), _printer())
    print_line(f"{plural(sum(1 for _ in folder.iterdir()), 'image')} in {folder}")
    if not args.open:
        return 0
    return subprocess.call([sys.executable, "-m", "napari", "--plugin", "napari-unet-tumour", str(folder)])


def _store(args: argparse.Namespace) -> int:
    from napari_unet_tumour import dicomweb

    server = dicomweb.Server(args.url)
    count = exhaust(dicomweb.iter_store(server, [Path(one).expanduser() for one in args.files]), _printer())
    print_line(f"{plural(count, 'file')} stored")
    return 0


def _printer() -> Callable[[Progress], None]:
    """Return what prints progress every few seconds."""
    printed = time.monotonic()

    def show(progress: Progress) -> None:
        nonlocal printed
        if time.monotonic() - printed >= EVERY:
            printed = time.monotonic()
            warn(f"{progress.message}: {progress.done} of {progress.total}")

    return show
