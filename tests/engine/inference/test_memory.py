"""Large buffers are kept while a network is trained, and released afterwards."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

resource = pytest.importorskip("resource", reason="page faults are counted on Unix only")

# In a process of its own: what else this one has allocated would decide what is kept.
SCRIPT = """
import ctypes
import resource
import torch
from napari_unet_tumour.engine.inference.memory import keeping_buffers

# Small pages only: with huge ones ten buffers are 240 faults, among which a few of the interpreter's own count.
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)

def faults():
    # The least of three rounds: a busy system takes pages away at times.
    counts = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            torch.empty(48 << 20, dtype=torch.uint8).fill_(1)
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(counts)

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize() >> 20

plain = faults()
with keeping_buffers():
    faults()
    kept = faults()
    within = resident()
print(plain, kept, within - resident())
"""


pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc can be configured to keep buffers"
)


def faults(**environment: str) -> list[int]:
    """Return the page faults of ten buffers of 48 MB (12,288 pages, or 24 huge ones) before and within the context, and
    how many MB go back to the system at its end."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=mine | environment
    )
    return [int(count) for count in done.stdout.split()]


def test_buffers_are_reused_within_and_returned_after() -> None:
    plain, kept, returned = faults()
    assert plain > 200
    assert kept < plain / 20
    assert returned > 40


def test_what_the_environment_says_stays_so() -> None:
    *_, returned = faults(MALLOC_MMAP_THRESHOLD_=str(1 << 30), MALLOC_TRIM_THRESHOLD_=str(1 << 30))
    assert returned < 20
