"""The worker's log file: its output, and the tracebacks of errors that are shown as one line."""

from __future__ import annotations

import os
import traceback
from datetime import datetime
from pathlib import Path
from typing import IO

import platformdirs

from napari_unet_tumour.base.text import one_line

MAX_BYTES = 1 << 20


def path() -> Path:
    """Return the path of the log; the folder may not exist yet."""
    home = os.environ.get("NAPARI_UNET_TUMOUR_HOME")
    folder = Path(home) / "log" if home else platformdirs.user_log_path("napari-unet-tumour", appauthor=False)
    return folder / "worker.log"


def open_log() -> IO[str]:
    """Open the log for appending, or empty it if it is longer than `MAX_BYTES`; the null device if not writable."""
    try:
        place = path()
        place.parent.mkdir(parents=True, exist_ok=True)
        long = place.exists() and place.stat().st_size > MAX_BYTES
        return place.open("w" if long else "a", encoding="utf-8", errors="replace")
    except OSError:
        return open(os.devnull, "w")


def write(text: str) -> None:
    """Append a dated entry."""
    with open_log() as log:
        log.write(f"--- {datetime.now().isoformat(timespec='seconds')}\n{text.rstrip()}\n")


def explain(what: str, error: BaseException) -> str:
    """Log the traceback of an unexpected error and return one line with the error and the path of the log."""
    write("".join(traceback.format_exception(error)))
    return f"{what}: {in_a_line(error)}. Details are in {path()}"


def in_a_line(error: BaseException) -> str:
    """Return type and message of an error on one line, at most 200 characters."""
    return one_line(f"{type(error).__name__}: {error}", 200).rstrip(": .")
