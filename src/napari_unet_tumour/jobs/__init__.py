"""Runs an engine function by name in a worker process: progress, cancel, crash -> one clear error.

`submit` returns at once; everything slow (importing dask, starting the worker, sending the arrays)
happens on a background thread, and torch is never imported in this process.
"""

from __future__ import annotations

import atexit
import queue
import threading
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.jobs.event_loop import EventLoopThread
from napari_unet_tumour.jobs.job import COUNT, CREW, Cancelled, Done, Event, Failed, Job, ProgressEvent

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
    "crew",
    "run",
    "shutdown",
    "submit",
    "warm",
    "workers",
]

TASKS = {
    "warm": "napari_unet_tumour.engine.tasks:iter_warm",
    "warm_torch": "napari_unet_tumour.engine.tasks:warm_torch",
    "describe": "napari_unet_tumour.engine.tasks:describe",
    "segment_planes": "napari_unet_tumour.engine.tasks:iter_segment_planes",
    "segment_block": "napari_unet_tumour.engine.tasks:iter_segment_block",
    "segment_file": "napari_unet_tumour.api.scan_job:iter_segment_file",
    "click": "napari_unet_tumour.engine.tasks:click",
    "outline": "napari_unet_tumour.engine.tasks:iter_outline",
    "finetune": "napari_unet_tumour.engine.tasks:iter_finetune",
    "add_classes": "napari_unet_tumour.engine.tasks:add_classes",
}

_lock = threading.Lock()
_bridge: EventLoopThread | None = None


def submit(
    name: str,
    *args: Any,
    on_event: Callable[[Event], None],
    scheduler: str | None = None,
    insecure: bool = False,
    again: int = 0,
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
        Called with `ProgressEvent` any number of times, then with exactly one of `Done`, `Failed` and
        `Cancelled`, in order, on a background thread.
    scheduler : str, optional
        Address of a dask scheduler, e.g. "tls://gpu-box:8786", with TLS settings from dask's own
        configuration; the local worker by default, or `crew(n)` for several local ones.
    insecure : bool
        Allow an address without TLS outside this machine.
    again : int
        How often the job may begin once more, elsewhere, after its worker was lost.

    Returns
    -------
    Job
        With `cancel()`. Trouble with the worker arrives as `Failed(WorkerError)`, never raised here.
    """
    global _bridge
    task = TASKS[name] if ":" not in name else name
    job = Job(task, args, on_event, scheduler, insecure, again)
    with _lock:
        if _bridge is None:
            _bridge = EventLoopThread(before_exit=_shutdown_first)
        _bridge.perform(job)
    return job


def warm(model: Any, on_event: Callable[[Event], None] = lambda event: None, scheduler: str | None = None) -> Job:
    """Start the worker, import torch there and load a model (path), so that the next job is quick."""
    return submit("warm", model, on_event=on_event, scheduler=scheduler)


def run(
    name: str,
    *args: Any,
    scheduler: str | None = None,
    on_tick: Callable[[Progress], None] | None = None,
    insecure: bool = False,
    again: int = 0,
) -> Any:
    """Run a job and wait for its result; Ctrl-C cancels it.

    Parameters
    ----------
    name, args, scheduler, insecure, again
        As in `submit`.
    on_tick : callable, optional
        Called with every `Progress` on the calling thread.

    Returns
    -------
    Any
        What the function returned.

    Raises
    ------
    UNetTumourError
        What went wrong, in one line.
    KeyboardInterrupt
        On Ctrl-C or when the job was cancelled.
    """
    events: queue.Queue[Event] = queue.Queue()
    job = submit(name, *args, on_event=events.put, scheduler=scheduler, insecure=insecure, again=again)
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


def crew(workers: int) -> str:
    """Return what to give as `scheduler` for so many local worker processes."""
    return f"{CREW}{workers}"


def workers(scheduler: str | None = None, insecure: bool = False) -> int:
    """Return how many workers there are, once one is there; raises WorkerError as `run` does."""
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
    """Cancel all jobs and end the worker; quick, may be called any number of times."""
    global _bridge
    with _lock:
        bridge, _bridge = _bridge, None
    if bridge is not None:
        bridge.close()


def _shutdown_first() -> None:
    # Exit handlers run last in, first out: ours must come before those that dask registers on import.
    atexit.unregister(shutdown)
    atexit.register(shutdown)


atexit.register(shutdown)
