"""The local worker process, started again whenever it ends.

dask's Nanny is not used: it starts its worker through multiprocessing, which runs the user's main script a
second time (a script without a __main__ guard would never end, a napari start script imports Qt), and it writes
its settings into the viewer's own environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
from dask.system import CPU_COUNT

from napari_unet_tumour.errors import WorkerError
from napari_unet_tumour.jobs import log

if TYPE_CHECKING:
    from pathlib import Path

START_S = 90.0
TRIES = 3
CHECK_S = 0.02
NICE = 15
BOOT = """
import json, sys
sys.path[:] = json.loads(sys.stdin.readline())
from napari_unet_tumour.jobs import worker
import napari_unet_tumour.engine.tasks
worker.boot(sys.stdin.readline())
"""
GIB = str(1 << 30)


class LocalProcess:
    """One worker process for a scheduler in this process.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        Runs on the current event loop.
    security : distributed.security.Security
        Temporary credentials, given to the worker through its stdin.
    folder : pathlib.Path
        For the worker's temporary files; removed by `end`.
    of : int
        How many workers share the cores.
    begun : subprocess.Popen, optional
        The first worker, if `begin` has started it already.
    """

    def __init__(
        self, scheduler: Any, security: Any, folder: Path, of: int = 1, begun: subprocess.Popen[bytes] | None = None
    ) -> None:
        self._scheduler, self._security, self._folder, self._of = scheduler, security, folder, of
        self._ending = False
        self._popen = self._start(begun)
        self._watch = asyncio.ensure_future(self._restart_when_ended())

    @property
    def pid(self) -> int:
        """Process id of the current worker."""
        return self._popen.pid

    async def ready(self) -> None:
        """Wait until a worker is connected; raises WorkerError if none starts."""
        end = time.monotonic() + START_S
        while not self._scheduler.workers:
            if self.hopeless or time.monotonic() > end:
                raise WorkerError(f"The worker process does not start: its log is {log.path()}")
            await asyncio.sleep(CHECK_S)

    @property
    def hopeless(self) -> bool:
        """Whether several workers in a row ended before they were connected."""
        return self._watch.done()

    def kill(self) -> None:
        """Kill the current worker; another one is started."""
        self._popen.kill()

    def end(self) -> None:
        """Kill the worker for good and remove its files."""
        self._ending = True
        self._watch.cancel()
        self._popen.kill()
        self._wait_and_close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _restart_when_ended(self) -> None:
        failures = 0
        while failures < TRIES:
            served = False
            while self._popen.poll() is None:
                served = served or bool(self._scheduler.workers)
                await asyncio.sleep(0.05)
            self._wait_and_close()
            failures = 0 if served else failures + 1
            self._popen = self._start()

    def _start(self, begun: subprocess.Popen[bytes] | None = None) -> subprocess.Popen[bytes]:
        popen = begin(self._of) if begun is None else begun
        _write(popen, self._arguments())
        return popen

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments of `worker.serve`."""
        names = ("tls_ca_file", "tls_worker_cert", "tls_worker_key")
        return {
            "address": self._scheduler.address,
            "folder": str(self._folder),
            "security": {name: getattr(self._security, name) for name in names},
            "nice": NICE,
        }

    def _wait_and_close(self) -> None:
        self._popen.wait(5)
        if self._popen.stdin is not None:
            self._popen.stdin.close()


def begin(of: int = 1) -> subprocess.Popen[bytes]:
    """Start a worker process that imports its modules and then waits for a `LocalProcess` to send its arguments.

    The imports take as long as the start of the scheduler in this process; both go on at the same time.
    """
    with log.open_log() as out:
        popen = subprocess.Popen(
            [sys.executable, "-P", "-c", BOOT],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            env=_environment(of),
            # Ctrl-C in the terminal must reach the parent only.
            start_new_session=os.name == "posix",
            creationflags=0 if os.name == "posix" else _WINDOWS_FLAGS,
        )
    _write(popen, sys.path)
    return popen


def drop(begun: subprocess.Popen[bytes]) -> None:
    """End a worker that was started and is not needed."""
    begun.kill()
    begun.wait(5)
    if begun.stdin is not None:
        begun.stdin.close()


def _write(popen: subprocess.Popen[bytes], line: Any) -> None:
    assert popen.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # the process has ended; another one will be started
        popen.stdin.write(json.dumps(line).encode() + b"\n")
        popen.stdin.flush()


_WINDOWS_FLAGS = getattr(subprocess, "CREATE_NO_WINDOW", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)


def _environment(of: int) -> dict[str, str]:
    """Return the parent's environment, with the worker's share of the cores, and with freed buffers kept for reuse."""
    threads = str(max(1, min(CPU_COUNT, psutil.cpu_count(logical=False) or CPU_COUNT) // of))
    ours = {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        # Waiting threads sleep. Spinning threads make the network five times slower as soon as another process uses
        # one of the cores.
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_TRIM_THRESHOLD_": GIB,
        "MALLOC_MMAP_THRESHOLD_": GIB,
    }
    return {**os.environ, **ours}
