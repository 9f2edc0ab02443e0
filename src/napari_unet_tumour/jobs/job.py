"""A job and its events."""

from __future__ import annotations

import asyncio
import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_unet_tumour.errors import UNetTumourError
    from napari_unet_tumour.settings import Progress

# In place of a scheduler's address, before the number of local workers.
LOCAL_WORKERS = "local-workers:"
# In place of a task: count the workers.
COUNT = "jobs:count"


@dataclass(frozen=True)
class ProgressEvent:
    """The job has made progress."""

    progress: Progress


@dataclass(frozen=True)
class Done:
    """The job has succeeded; `result` is what the function returned."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """The job has failed; `str(error)` is one line for a person."""

    error: UNetTumourError


@dataclass(frozen=True)
class Cancelled:
    """The job was stopped by `Job.cancel` or `shutdown`."""


Event = ProgressEvent | Done | Failed | Cancelled


class Job:
    """One call of a function in the worker; made by `submit`.

    Parameters
    ----------
    task : str
        "module:function".
    args : tuple
        Arguments of the function; arrays must not be changed until the job has ended.
    on_event : callable
        Called with every event on a background thread, in order; the last is the only end event.
    scheduler : str or None
        Address of a dask scheduler; None for the local worker.
    insecure : bool
        Whether an address without TLS outside this machine is allowed.
    retries : int
        How often it is started again after its worker was lost.
    deliver : callable
        Takes the job and an event, on any thread, and passes the event to `on_event`.
    call : callable
        Runs a function on the thread of the event loop, to which `stop` belongs.
    """

    def __init__(
        self, task: str, args: tuple[Any, ...], on_event: Callable[[Event], None], scheduler: str | None,
        insecure: bool, retries: int, deliver: Callable[[Job, Event], None], call: Callable[[Callable[[], None]], None],
    ) -> None:  # fmt: skip
        self.id = uuid.uuid4().hex
        self.task, self.args, self.on_event = task, args, on_event
        self.scheduler, self.insecure, self.retries = scheduler, insecure, retries
        self.starts = 0
        self.stop, self.too_many_starts = asyncio.Event(), asyncio.Event()
        self._lock = threading.Lock()
        self._end: type[Event] | None = None
        self._deliver, self._call = deliver, call

    @property
    def started(self) -> bool:
        """Whether a worker has started it."""
        return self.starts > 0

    @property
    def ended(self) -> bool:
        """Whether it has ended (its last event may not be delivered yet)."""
        return self._end is not None

    def cancel(self) -> None:
        """Stop the job; `Cancelled` follows at once unless it had ended already. May be called on any thread."""
        if self.end(Cancelled()):
            self._call(self.stop.set)

    def end(self, event: Event) -> bool:
        """End the job with an event, and return whether this was the first end; for a user there is `cancel`."""
        with self._lock:
            if self._end is not None:
                return False
            self._end, self.args = type(event), ()
            self._deliver(self, event)
        return True

    def report(self, progress: Progress) -> None:
        """Deliver progress, unless the job has ended."""
        if not self.ended:
            self._deliver(self, ProgressEvent(progress))

    def wants(self, event: Event) -> bool:
        """Tell whether a queued event should still be delivered: after a cancellation only `Cancelled`."""
        return self._end is not Cancelled or isinstance(event, Cancelled)
