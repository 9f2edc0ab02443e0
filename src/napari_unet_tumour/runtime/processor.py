"""The capabilities of this computer, without torch."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import runpy
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

THREADS = "NAPARI_UNET_TUMOUR_THREADS"
# The driver's library, which is there only with the card's driver.
DRIVERS = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "libcuda.so")


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """Return the number of computing threads: from the environment, else one per core."""
    for name in (THREADS, "OMP_NUM_THREADS"):
        wanted = os.environ.get(name, "")
        if wanted.isdigit() and int(wanted) > 0:
            return int(wanted)
    import psutil  # type: ignore[import-untyped]

    return min(cores(), psutil.cpu_count(logical=False) or cores())


@lru_cache(maxsize=1)
def has_gpu() -> bool:
    """Tell whether torch may find a GPU: the installed torch is built for GPUs, and a driver lists some."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    built = _torch_build()
    return bool(built.get("hip")) or (bool(built.get("cuda")) and _cards() > 0)


@lru_cache(maxsize=1)
def is_wanting() -> bool:
    """Tell whether this is an Intel or AMD processor without AVX2."""
    intel = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
    return intel and not _features().get("AVX2", True)


@lru_cache(maxsize=1)
def has_bfloat16() -> bool:
    """Tell whether an Intel or AMD processor multiplies bfloat16 (AVX-512 BF16, AMX): torch is faster there."""
    try:
        known = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return bool(_features().get("AVX512_SPR", False))
    return any(flag in known for flag in (" avx512_bf16", " amx_bf16"))


def _features() -> dict[str, bool]:
    """Return the processor features that numpy found."""
    import numpy as np  # `information` asks for the rest without it

    core = getattr(np, "_core", None)
    found: dict[str, bool] = getattr(getattr(core, "_multiarray_umath", None), "__cpu_features__", {})
    return found


def _torch_build() -> dict[str, Any]:
    """Return the build information of the installed torch, without importing it; empty if not installed."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return {}
    return runpy.run_path(str(Path(spec.origin).parent / "version.py"))


def _cards() -> int:
    """Return the number of CUDA GPUs that the driver lists, 0 without a driver."""
    for name in DRIVERS:
        try:
            driver = ctypes.CDLL(name)
            count = ctypes.c_int(0)
            if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
                return count.value
        except (OSError, AttributeError):
            continue
    return 0
