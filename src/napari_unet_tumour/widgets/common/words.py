"""How panels name slices, which a person counts from 1 and arrays from 0, and how they say what failed."""

from __future__ import annotations

from napari_unet_tumour.errors import UNetTumourError


def slice_label(number: int) -> str:
    """Return the name of the slice at an index, e.g. "slice 1" for 0."""
    return f"slice {number + 1}"


def failure_text(error: Exception, failed: str, again: str) -> str:
    """Return one line about an error of work on a thread.

    Parameters
    ----------
    failed : str
        Begins the line for an error that nobody expected, e.g. "The mask could not be measured".
    again : str
        What to do where memory was full, e.g. "measure again".
    """
    if isinstance(error, UNetTumourError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"The memory is full: close other programs or layers, and {again}"
    return f"{failed} ({type(error).__name__}: {error}): please report this"


def unreadable(error: Exception, what: str = "the scan", file: str = "its file") -> str:
    """Return one line about an error of work that reads: a lazy layer may raise anything then.

    Parameters
    ----------
    what, file : str
        What cannot be read, and which file to check, e.g. "the slice" and "the scan's file".
    """
    if isinstance(error, UNetTumourError):
        return str(error)
    said = str(error).partition("\n")[0] or type(error).__name__
    return f"{what} cannot be read ({said}): check {file}"
