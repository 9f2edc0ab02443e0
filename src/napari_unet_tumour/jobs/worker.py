"""The worker process: serves a scheduler, runs one job at a time. Imports neither torch nor napari itself."""

from __future__ import annotations

import asyncio
import contextlib
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
    """Run a local worker until the scheduler closes it or the parent dies.

    Parameters
    ----------
    address : str
        The scheduler's.
    folder : str
        Folder for temporary files; removed when the parent dies.
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


def _lower_priority(nice: int) -> None:
    if hasattr(os, "nice"):
        os.nice(nice)
    else:
        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)


class NoHttp:
    """A mix-in that switches off the unencrypted status pages of dask's servers."""

    def start_http_server(self, *args: Any, **kwargs: Any) -> None:
        """Start the server, because dask reads its port, and stop it at once."""
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
        # After the start, which would take long on a busy machine. The computing thread starts later and inherits it.
        _lower_priority(nice)
        await worker.finished()  # type: ignore[no-untyped-call]


def _leave_with_parent(folder: str) -> None:
    # The parent writes nothing more: reading ends when it closes the pipe or dies.
    # os.read: a thread that holds the buffered stdin would block the interpreter's exit.
    while os.read(0, 4096):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


class PickledPayload:
    """An object pickled here and not by dask, so that a pickling error is ours; arrays are not copied.

    Parameters
    ----------
    content : object
        Anything that the standard pickle takes; raises TypeError or PicklingError for other objects.
    """

    def __init__(self, content: Any) -> None:
        self._buffers: list[pickle.PickleBuffer] = []
        self._head = pickle.dumps(content, protocol=5, buffer_callback=self._buffers.append)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # Through a scheduler dask uses protocol 4, which has no out-of-band buffers.
        buffers = [pickle.PickleBuffer(part) for part in self._buffers]
        return _payload_of, (self._head, buffers if protocol >= 5 else [part.raw().tobytes() for part in buffers])

    def open(self) -> Any:
        """Return the content."""
        return pickle.loads(self._head, buffers=self._buffers)


def _payload_of(head: bytes, buffers: list[Any]) -> PickledPayload:
    payload = PickledPayload.__new__(PickledPayload)
    payload._head, payload._buffers = head, buffers
    return payload


def cancel(job: str) -> None:
    """Ask a job to stop at its next yield, or before it starts."""
    _cancelled.add(job)


def version() -> str:
    """Return the version of this package in the process that calls it."""
    from napari_unet_tumour.version import __version__

    return __version__


def pack(value: Any) -> bytes:
    """Pickle and compress; level 1 is fast, and shrinks masks and probabilities twentyfold."""
    return zlib.compress(pickle.dumps(value, protocol=5), 1)


def unpack(data: bytes) -> Any:
    """Undo `pack`."""
    return pickle.loads(zlib.decompress(data))


def run(job: str, topic: str, task: str, payload: PickledPayload) -> tuple[str, Any]:
    """Run "module:function" and send its progress to a topic.

    Returns
    -------
    tuple
        ("done", PickledPayload), ("failed", UNetTumourError), ("crashed", (line, traceback)) or
        ("cancelled", None). Nothing is raised: dask would print it and keep the job's frames alive.
    """
    worker = get_worker()

    def report(progress: Any) -> None:
        worker.log_event(topic, (job, pack(progress)))

    try:
        report(None)
        steps = _find(task)(*payload.open())
        if not isinstance(steps, types.GeneratorType):
            return "done", PickledPayload(steps)
        with contextlib.closing(steps):
            while job not in _cancelled:  # unlike `base.steps.exhaust` it stops between two steps
                try:
                    report(next(steps))
                except StopIteration as stop:
                    return "done", PickledPayload(stop.value)
        return "cancelled", None
    except UNetTumourError as error:
        return "failed", error.with_traceback(None)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - reported to the person as one line
        return "crashed", (in_a_line(error), traceback.format_exc())
    finally:
        _cancelled.discard(job)


def _find(task: str) -> Any:
    module, name = task.split(":")
    return getattr(importlib.import_module(module), name)


def boot(line: str) -> None:
    """Start `serve` with the arguments that the parent wrote to stdin; do nothing if the parent has ended."""
    sys.stdout = sys.stderr
    if line:
        serve(**json.loads(line))
