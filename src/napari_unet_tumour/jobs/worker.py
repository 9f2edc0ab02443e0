"""The worker's side: serve a scheduler, perform one job at a time. Imports neither torch nor napari itself."""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import json
import os
import pickle
import shutil
import sys
import threading
import traceback
import types
import zlib
from typing import Any

import dask
import psutil  # type: ignore[import-untyped]
from distributed import Worker, get_worker
from distributed.security import Security

from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.jobs.log import in_a_line

_cancelled: set[str] = set()


def serve(address: str, folder: str, security: dict[str, str], nice: int) -> None:
    """Run a local worker until the scheduler lets go or the parent dies.

    Parameters
    ----------
    address : str
        The scheduler's.
    folder : str
        For temporary files; removed when the parent dies.
    security : dict of str
        PEM texts by field of `distributed.security.Security`.
    nice : int
        Added to the parent's niceness on POSIX; below normal priority on Windows when not 0.
    """
    faulthandler.enable()
    threading.Thread(target=_leave_with_parent, args=(folder,), daemon=True).start()
    with dask.config.set({"distributed.worker.profile.enabled": False}):
        credentials = Security(require_encryption=True, **security)  # type: ignore[no-untyped-call]
        asyncio.run(_serve(address, folder, credentials, nice))


def _give_way(nice: int) -> None:
    if hasattr(os, "nice"):
        os.nice(nice)
    else:
        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)


class NoHttp:
    """Mixed into dask's servers: the status pages that they serve in the clear are switched off."""

    def start_http_server(self, *args: Any, **kwargs: Any) -> None:
        """Open the server, since dask reads its port, and close it at once."""
        super().start_http_server([], "127.0.0.1:0")  # type: ignore[misc]
        self.http_server.stop()  # type: ignore[attr-defined]


class _QuietWorker(NoHttp, Worker):
    pass


async def _serve(address: str, folder: str, security: Security, nice: int) -> None:
    worker = _QuietWorker(
        address,
        nthreads=1,
        host="127.0.0.1",
        security=security,
        local_directory=folder,
        memory_limit=0,
        dashboard=False,
        death_timeout=30,
    )
    async with worker:
        # Only now: on a busy machine the start would take long. The thread that computes begins later and inherits it.
        _give_way(nice)
        await worker.finished()  # type: ignore[no-untyped-call]


def _leave_with_parent(folder: str) -> None:
    # The parent never writes again: reading ends when it closes the pipe, by purpose or by dying.
    # os.read, since a thread that holds the buffered stdin would block the interpreter's exit.
    while os.read(0, 4096):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


class PickledPayload:
    """Something pickled by us, so that what cannot travel is our error and not dask's; arrays are not copied.

    Parameters
    ----------
    content : object
        Anything that the standard pickle takes; raises TypeError or PicklingError for other things.
    """

    def __init__(self, content: Any) -> None:
        self._buffers: list[pickle.PickleBuffer] = []
        self._head = pickle.dumps(content, protocol=5, buffer_callback=self._buffers.append)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # Through a scheduler dask uses protocol 4, which knows no buffers.
        buffers = [pickle.PickleBuffer(part) for part in self._buffers]
        return _closed_parcel, (self._head, buffers if protocol >= 5 else [part.raw().tobytes() for part in buffers])

    def open(self) -> Any:
        """Return the content."""
        return pickle.loads(self._head, buffers=self._buffers)


def _closed_parcel(head: bytes, buffers: list[Any]) -> PickledPayload:
    parcel = PickledPayload.__new__(PickledPayload)
    parcel._head, parcel._buffers = head, buffers
    return parcel


def cancel(job: str) -> None:
    """Ask a job to stop at its next yield, or before it starts."""
    _cancelled.add(job)


def version() -> str:
    """Return the version of this package where it is called."""
    from napari_unet_tumour.version import __version__

    return __version__


def pack(value: Any) -> bytes:
    """Pickle and compress; masks and probabilities shrink twentyfold at level 1."""
    return zlib.compress(pickle.dumps(value, protocol=5), 1)


def unpack(data: bytes) -> Any:
    """Undo `pack`."""
    return pickle.loads(zlib.decompress(data))


def run(job: str, topic: str, task: str, parcel: PickledPayload) -> tuple[str, Any]:
    """Run "module:function" and send its ticks to a topic.

    Returns
    -------
    tuple
        ("done", Parcel), ("failed", UNetTumourError), ("crashed", (line, traceback)) or
        ("cancelled", None). Nothing is raised: dask would print it and keep the job's frames alive.
    """
    worker = get_worker()

    def tick(progress: Any) -> None:
        worker.log_event(topic, (job, pack(progress)))

    try:
        tick(None)
        return _exhaust(job, _find(task)(*parcel.open()), tick)
    except UNetTumourError as error:
        return "failed", error.with_traceback(None)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - reported to the person as one line
        return "crashed", (in_a_line(error), traceback.format_exc())
    finally:
        _cancelled.discard(job)


def _find(task: str) -> Any:
    module, name = task.split(":")
    return getattr(importlib.import_module(module), name)


def _exhaust(job: str, steps: Any, tick: Any) -> tuple[str, Any]:
    if not isinstance(steps, types.GeneratorType):
        return "done", PickledPayload(steps)
    try:
        while job not in _cancelled:
            tick(next(steps))
    except StopIteration as stop:
        return "done", PickledPayload(stop.value)
    finally:
        steps.close()
    return "cancelled", None


def boot(line: str) -> None:
    """Start `serve` from what the parent writes to stdin, nothing where it has gone."""
    sys.stdout = sys.stderr
    if line:
        serve(**json.loads(line))
