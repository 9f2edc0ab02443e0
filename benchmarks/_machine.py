"""Describe the machine that a benchmark runs on."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import NoReturn


def machine() -> dict:
    """Return processor, cores, memory, GPU and load in words and numbers."""
    import psutil
    import torch

    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": name, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "gpu": gpu,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1), "torch": torch.__version__,
        "system": platform.platform(), "load": load,
    }  # fmt: skip


def command() -> str:
    """Return the command line of this run."""
    return " ".join(["python", *sys.argv])


def show(about: dict) -> None:
    """Print the command and the machine, with a warning if the machine is busy."""
    print(f"$ {about['command']}")
    print(", ".join(f"{key} {value}" for key, value in about["machine"].items() if value is not None))
    if (about["machine"]["load"] or 0) > 0.5:
        print("! other programs are running: they disturb every figure below")


def finish(report: dict, text: str, path: str | None) -> NoReturn:
    """Show the figures of a benchmark with a window, write them to a file if one is given, and end the process.

    Qt sometimes crashes when the interpreter closes an open window.
    """
    show(report)
    print(text)
    if path:
        Path(path).write_text(json.dumps(report, indent=1))
    sys.stdout.flush()
    os._exit(0)
