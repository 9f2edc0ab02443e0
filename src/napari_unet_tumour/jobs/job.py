"""A job and its events, as the caller and the threads behind it see them."""

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

# What stands for so many local workers in place of an address, and for the job that counts them.
CREW = "local-workers:"
COUNT = "jobs:count"


@dataclass(frozen=True)
class ProgressEvent:
    """The job has come further."""

    progress: Progress


@dataclass(frozen=True)
class Done:
    """The job has ended well; `result` is what the function returned."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """The job has ended with an error; `str(error)` is one line for a person."""

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
    again : int
        How often it may begin once more after its worker was lost.
    """

    def __init__(
        self, task: str, args: tuple[Any, ...], on_event: Callable[[Event], None], scheduler: str | None,
        insecure: bool = False, again: int = 0,
    ) -> None:  # fmt: skip
        self.id = uuid.uuid4().hex
        self.task, self.args, self.on_event = task, args, on_event
        self.scheduler, self.insecure, self.again = scheduler, insecure, again
        self.starts = 0
        self.stop, self.overdone = asyncio.Event(), asyncio.Event()
        self._lock = threading.Lock()
        self._end: type[Event] | None = None
        self._deliver: Callable[[Job, Event], None] | None = None
        self._call: Callable[[Callable[[], None]], None] = _call_now

    @property
    def started(self) -> bool:
        """Whether a worker has begun with it."""
        return self.starts > 0

    @property
    def ended(self) -> bool:
        """Whether the end is decided (its event may still be on the way)."""
        return self._end is not None

    def cancel(self) -> None:
        """Stop the job; `Cancelled` follows at once, unless it had ended already. Any thread."""
        if self.end(Cancelled()):
            self._call(self.stop.set)

    def end(self, event: Event) -> bool:
        """Decide the end, if nobody has; the worker's side calls this, a user calls `cancel`."""
        with self._lock:
            if self._end is not None or self._deliver is None:
                return False
            self._end, self.args = type(event), ()
            self._deliver(self, event)
        return True

    def tick(self, progress: Progress) -> None:
        """Pass a tick on, unless the job has ended."""
        if not self.ended and self._deliver is not None:
            self._deliver(self, ProgressEvent(progress))

    def wants(self, event: Event) -> bool:
        """Tell whether an event on its way is still worth delivering."""
        return self._end is not Cancelled or isinstance(event, Cancelled)

    def attach(self, deliver: Callable[[Job, Event], None], call: Callable[[Callable[[], None]], None]) -> None:
        """Say where events go, before the job begins.

        Parameters
        ----------
        deliver : callable
            Takes the job and an event, on any thread, and brings it to `on_event`.
        call : callable
            Runs a function on the thread of the event loop, to which `stop` belongs.
        """
        self._deliver, self._call = deliver, call


def _call_now(function: Callable[[], None]) -> None:
    function()
