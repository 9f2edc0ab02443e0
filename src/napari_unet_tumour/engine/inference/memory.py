"""Batch sizes, and what to do when memory is full: smaller batches, smaller windows, the CPU, and then an error."""

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

# Most working pixels in a batch, by type of device.
WORKING = {"cpu": 8 * 256 * 256, "cuda": 128 * 256 * 256, "mps": 32 * 256 * 256}
SMALLEST = 64
# mallopt(3): two of its options, and the values that glibc itself reaches after large buffers were freed.
GIB = 1 << 30
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
GROWN = (32 << 20, 64 << 20)
# Out-of-memory messages of torch, oneDNN, cuDNN and cuBLAS that are not a torch.OutOfMemoryError.
MESSAGES = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "could not create a memory",
    "could not create a primitive",
    "alloc_failed",
)


@dataclass(frozen=True)
class BatchLimits:
    """How much the network processes at once.

    Parameters
    ----------
    device : torch.device
        Where the network runs.
    batch : int
        Number of planes or windows at once.
    window : int, optional
        Longest side of the network's input in working pixels; 0 for no limit.
    """

    device: torch.device
    batch: int
    window: int = 0

    def smaller(self, side: int, error: BaseException) -> tuple[BatchLimits, str]:
        """Return the next smaller limits and a message about them.

        Parameters
        ----------
        side : int
            Longest side of the network's input.

        Raises
        ------
        DeviceError
            The limits cannot be smaller.
        """
        where = "memory" if self.device.type == "cpu" else "GPU's memory"
        if self.batch > 1:
            return replace(self, batch=self.batch // 2), f"the {where} is full: working in smaller batches"
        half = side // 2 // 32 * 32
        if half >= SMALLEST:
            change = "working in smaller windows, which can move an outline by a pixel or so"
            return replace(self, window=half), f"the {where} is full: {change}"
        if self.device.type == "cpu":
            raise DeviceError("the memory is full: close other programs or use a smaller scan") from error
        return BatchLimits(torch.device("cpu"), 1), f"the {where} is full: working on the CPU"


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory is full."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error).lower() for part in MESSAGES)


def release_memory(device: torch.device) -> None:
    """Return the memory that the GPU driver and the C library cache."""
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
    """Keep freed buffers for reuse while the context is open.

    glibc returns every large buffer to the system at once and gets it again, zeroed page by page, at the next layer,
    which can take half of a training step on a CPU. Does nothing on other systems, or if the environment already
    configures glibc.
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
    """Set the buffer size from which glibc uses mmap, and how many free bytes it keeps."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # only glibc has it
            for option, value in ((MMAP_THRESHOLD, mapped), (TRIM_THRESHOLD, trimmed)):
                ctypes.CDLL(None).mallopt(option, value)


class OomRetry:
    """Repeats work with smaller limits until it fits into memory.

    Parameters
    ----------
    limits : BatchLimits
        The first limits to try; once reduced they stay reduced.
    notice : str
        A note for the user; replaced by the last message about memory.
    """

    def __init__(self, limits: BatchLimits, notice: str = "") -> None:
        self.limits = limits
        self.notice = notice

    def run(self, work: Callable[[BatchLimits], Found], side: int) -> Found:
        """Return the result of `work` with limits that fit; `side` is the longest side of the network's input."""
        while True:
            try:
                return work(self.limits)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self.limits, self.notice = self.limits.smaller(min(side, self.limits.window or side), error)
            release_memory(self.limits.device)
