"""How much is done at once, and what to do when memory is full: less, smaller, elsewhere, and only then an error."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import torch

from napari_unet_tumour.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Found = TypeVar("Found")

# A batch holds at most so many working pixels, by kind of device.
WORKING = {"cpu": 8 * 256 * 256, "cuda": 128 * 256 * 256, "mps": 32 * 256 * 256}
SMALLEST = 64
# mallopt(3): its options, and where glibc's own adjustment of them ends once large buffers were freed.
GIB = 1 << 30
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
GROWN = (32 << 20, 64 << 20)
# How torch, oneDNN, cuDNN and cuBLAS say it when it is no torch.OutOfMemoryError.
SAID = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "could not create a memory",
    "could not create a primitive",
    "alloc_failed",
)


@dataclass(frozen=True)
class BatchLimits:
    """What fits.

    Parameters
    ----------
    device : torch.device
        Where the network runs.
    batch : int
        Planes or windows at once.
    window : int, optional
        Longest side of what the network sees at once, in working pixels; no bound when 0.
    """

    device: torch.device
    batch: int
    window: int = 0

    def smaller(self, side: int, error: BaseException) -> tuple[BatchLimits, str]:
        """Return the next smaller room and a line that says so.

        Parameters
        ----------
        side : int
            Longest side of what the network was shown.

        Raises
        ------
        DeviceError
            There is none.
        """
        where = "memory" if self.device.type == "cpu" else "GPU's memory"
        if self.batch > 1:
            return replace(self, batch=self.batch // 2), f"the {where} is full: working in smaller batches"
        half = side // 2 // 32 * 32
        if half >= SMALLEST:
            said = "working in smaller windows, which can move an outline by a pixel or so"
            return replace(self, window=half), f"the {where} is full: {said}"
        if self.device.type == "cpu":
            raise DeviceError("the memory is full: close other programs or use a smaller scan") from error
        return BatchLimits(torch.device("cpu"), 1), f"the {where} is full: working on the CPU"


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory is full."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in SAID)


def release_memory(device: torch.device) -> None:
    """Return what a GPU, or the C library, keeps for later use."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # only glibc has it
            ctypes.CDLL(None).malloc_trim(0)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


@contextmanager
def keeping_buffers() -> Iterator[None]:
    """Keep freed buffers for the next step, until the end.

    glibc returns every large buffer to the system at once and asks for it again, zeroed page by page, at the next
    layer, which can take half of a training step on a CPU. Nothing is changed elsewhere, nor where the environment
    says already what glibc should keep.
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ:
        yield
        return
    _thresholds(GIB, GIB)
    try:
        yield
    finally:
        _thresholds(*GROWN)
        release_memory(torch.device("cpu"))


def _thresholds(mapped: int, trimmed: int) -> None:
    """Set from how many bytes on glibc maps a buffer of its own, and how many free ones it keeps."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # only glibc has it
            for option, value in ((MMAP_THRESHOLD, mapped), (TRIM_THRESHOLD, trimmed)):
                ctypes.CDLL(None).mallopt(option, value)


class OomRetry:
    """Repeats a piece of work with less room until it fits.

    Parameters
    ----------
    room : Room
        What is tried first; stays as small as it once had to become.
    notice : str
        What a person should know; replaced by what was last done for lack of memory.
    """

    def __init__(self, room: BatchLimits, notice: str = "") -> None:
        self.room = room
        self.notice = notice

    def run(self, work: Callable[[BatchLimits], Found], side: int) -> Found:
        """Return what `work` gives in the room there is; `side` is the longest side that the network is shown."""
        while True:
            try:
                return work(self.room)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self.room, self.notice = self.room.smaller(min(side, self.room.window or side), error)
            release_memory(self.room.device)
