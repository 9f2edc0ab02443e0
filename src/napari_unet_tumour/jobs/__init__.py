"""Run an engine function by name in a worker process, with progress and cancellation; a crash becomes one clear error.

`submit` returns at once: importing dask, starting the worker and sending the arrays happen on a background thread.
torch is never imported in this process.
"""

from __future__ import annotations

import asyncio
import atexit
import queue
import threading
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.base.old_names import old_name
from napari_unet_tumour.jobs.event_loop import EventLoopThread
from napari_unet_tumour.jobs.job import COUNT, LOCAL_WORKERS, Cancelled, Done, Event, Failed, Job, ProgressEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_unet_tumour.settings import Progress

__all__ = [
    "TASKS",
    "Cancelled",
    "Done",
    "Event",
    "Failed",
    "Job",
    "ProgressEvent",
    "local_workers",
    "preload",
    "run",
    "shutdown",
    "submit",
    "workers",
]

TASKS = {
    "preload": "napari_unet_tumour.engine.tasks:iter_preload",
    "preload_torch": "napari_unet_tumour.engine.tasks:preload_torch",
    "describe": "napari_unet_tumour.engine.tasks:describe",
    "segment_planes": "napari_unet_tumour.engine.tasks:iter_segment_planes",
    "segment_block": "napari_unet_tumour.engine.tasks:iter_segment_block",
    "segment_file": "napari_unet_tumour.api.scan_job:iter_segment_file",
    "click": "napari_unet_tumour.engine.tasks:click",
    "outline": "napari_unet_tumour.engine.tasks:iter_outline",
    "finetune": "napari_unet_tumour.engine.tasks:iter_finetune",
    "finetune_time": "napari_unet_tumour.engine.tasks:iter_finetune_time",
    "add_classes": "napari_unet_tumour.engine.tasks:add_classes",
}

_lock = threading.Lock()
_loop: EventLoopThread | None = None


def submit(
    name: str,
    *args: Any,
    on_event: Callable[[Event], None],
    scheduler: str | None = None,
    insecure: bool = False,
    retries: int = 0,
) -> Job:
    """Start a job and return at once.

    Parameters
    ----------
    name : str
        Key of `TASKS`, or "module:function". A generator function yields `Progress` and returns its
        result; a plain function only returns.
    *args
        Its arguments; arrays must not be changed until the job has ended.
    on_event : callable
        Called on a background thread, in order: with any number of `ProgressEvent`, then with exactly one of `Done`,
        `Failed` and `Cancelled`.
    scheduler : str, optional
        Address of a dask scheduler, e.g. "tls://gpu-box:8786", with TLS settings from dask's own
        configuration; the local worker by default, or `local_workers(n)` for several.
    insecure : bool
        Allow an address without TLS outside this machine.
    retries : int
        How often the job is started again, on another worker, after its worker was lost.

    Returns
    -------
    Job
        With `cancel()`. Errors of the worker arrive as `Failed(WorkerError)` and are never raised here.
    """
    global _loop
    task = TASKS[name] if ":" not in name else name
    with _lock:
        if _loop is None:
            _loop = EventLoopThread(before_exit=_shutdown_first)
        job = Job(task, args, on_event, scheduler, insecure, retries, _loop.deliver, _loop.call)
        asyncio.run_coroutine_threadsafe(_loop.run(job), _loop.loop)
    return job


def preload(model: Any, on_event: Callable[[Event], None] = lambda event: None, scheduler: str | None = None) -> Job:
    """Start the worker and load a model (path) there, so that the next job starts faster."""
    return submit("preload", model, on_event=on_event, scheduler=scheduler)


def run(
    name: str,
    *args: Any,
    scheduler: str | None = None,
    on_tick: Callable[[Progress], None] | None = None,
    insecure: bool = False,
    retries: int = 0,
) -> Any:
    """Run a job and wait for its result; Ctrl-C cancels it.

    Parameters
    ----------
    name, args, scheduler, insecure, retries
        As in `submit`.
    on_tick : callable, optional
        Called with every `Progress` on the calling thread.

    Returns
    -------
    Any
        The result of the function.

    Raises
    ------
    UNetTumourError
        The job or its worker failed.
    KeyboardInterrupt
        On Ctrl-C or when the job was cancelled.
    """
    events: queue.Queue[Event] = queue.Queue()
    job = submit(name, *args, on_event=events.put, scheduler=scheduler, insecure=insecure, retries=retries)
    try:
        while True:
            match _next(events):
                case ProgressEvent(progress):
                    if on_tick is not None:
                        on_tick(progress)
                case Done(result):
                    return result
                case Failed(error):
                    raise error
                case Cancelled():
                    raise KeyboardInterrupt
    finally:
        job.cancel()


def local_workers(count: int) -> str:
    """Return the value of `scheduler` for `count` local worker processes."""
    return f"{LOCAL_WORKERS}{count}"


def workers(scheduler: str | None = None, insecure: bool = False) -> int:
    """Wait for the first worker and return the number of workers; raises WorkerError as `run` does."""
    found: int = run(COUNT, scheduler=scheduler, insecure=insecure)
    return found


def _next(events: queue.Queue[Event]) -> Event:
    # A wait without timeout cannot be interrupted by Ctrl-C on Windows.
    while True:
        try:
            return events.get(timeout=0.2)
        except queue.Empty:
            continue


def shutdown() -> None:
    """Cancel all jobs and end the worker; fast, and may be called more than once."""
    global _loop
    with _lock:
        loop, _loop = _loop, None
    if loop is not None:
        loop.close()


def __getattr__(name: str) -> Any:
    return old_name(__name__, name)


def _shutdown_first() -> None:
    # Exit handlers run last in, first out: this one must run before those that dask registers on import.
    atexit.unregister(shutdown)
    atexit.register(shutdown)


atexit.register(shutdown)
