"""Reading a case and its mask on a thread, so that the window opens it at once; knows no Qt and no viewer."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_unet_tumour import scans
from napari_unet_tumour.errors import ScanError, UNetTumourError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_unet_tumour.scans.scan import Scan


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """A case in memory.

    Parameters
    ----------
    key : str
        The case.
    images : tuple of Scan
        What its file or folder holds; empty where it could not be read.
    mask : Scan or None
        Its mask on the grid of the first image.
    mask_file : pathlib.Path or None
        Where the mask was read from.
    problem : str
        Why it could not be read, else "".
    """

    key: str
    images: tuple[Scan, ...] = ()
    mask: Scan | None = None
    mask_file: Path | None = None
    problem: str = ""


def load_case(key: str, path: Path, mask: Path | None, images: tuple[Scan, ...] = ()) -> LoadedCase:
    """Read a case, or only its mask where its images are given; an error becomes its `problem`."""
    try:
        images = images or tuple(scans.read_all(path))
        if not images:
            raise ScanError(f"{path.name} holds no image: choose another scan")
        found = None if mask is None else scans.read_mask(mask, onto=images[0])
    except UNetTumourError as error:
        return LoadedCase(key, problem=str(error))
    except MemoryError:
        return LoadedCase(key, problem="the memory is full: close other programs, then click this row")
    except Exception as error:  # noqa: BLE001 - else the list would wait for this case for ever
        return LoadedCase(key, problem=f"{path.name} cannot be read ({type(error).__name__}: {error}): check the file")
    return LoadedCase(key, images, found, mask)


def load_in_background(
    key: str,
    path: Path,
    mask: Path | None,
    on_loaded: Callable[[LoadedCase], None],
    images: tuple[Scan, ...] = (),
) -> None:
    """Read a case on a thread and hand it over there."""

    def work() -> None:
        on_loaded(load_case(key, path, mask, images))

    threading.Thread(target=work, name="read a case", daemon=True).start()
