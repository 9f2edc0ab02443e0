"""Work beside the window, in threads or the worker: answers nobody waits for are dropped, errors are one line."""

from __future__ import annotations

import queue
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from napari_unet_tumour import jobs
from napari_unet_tumour.errors import WorkerError
from napari_unet_tumour.widgets.common.words import unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_unet_tumour.settings import Progress

    Put = Callable[[Callable[[], None]], None]

Result = TypeVar("Result")


class TaskDropped(Exception):
    """Ends work whose result nobody waits for; `Background` says nothing about it."""


class JobStopped(WorkerError):
    """The worker's job was stopped, by `Task.stop_job` or since the worker was shut down."""


class Task:
    """One piece of work that is under way. `report`, `ask` and `wanted` may be used on any thread.

    Parameters
    ----------
    put : callable
        Makes a call on the GUI thread.
    is_current : callable
        Tells whether what the work is about is still the same, e.g. the scan.
    on_news : callable
        Gets on the GUI thread what the work reports.
    kind : object
        What is done, for whoever follows `Background`.

    Attributes
    ----------
    thread : threading.Thread, optional
        Where it is done.
    on_drop : callable
        Called when it is dropped: stops work that has threads of its own.
    """

    def __init__(
        self, put: Put, is_current: Callable[[], bool], on_news: Callable[..., None], kind: Any = None
    ) -> None:
        self.kind = kind
        self._put, self._is_current, self._on_news = put, is_current, on_news
        self._dropped = threading.Event()
        self._events: queue.SimpleQueue[jobs.Event] | None = None
        self._job: jobs.Job | None = None
        self.thread: threading.Thread | None = None
        self.on_drop: Callable[[], None] = lambda: None

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for it."""
        return not self._dropped.is_set() and self._is_current()

    def report(self, *news: Any) -> None:
        """Hand news to the GUI thread; they are dropped if nobody waits any more by then."""
        self._put(partial(self._on_report, news))

    def ask(
        self,
        name: str,
        *args: Any,
        scheduler: str | None = None,
        reports: bool = False,
        heard: Callable[[Progress], None] = lambda progress: None,
    ) -> Any:
        """Have the worker do a job and wait for its result.

        Where `reports`, its progress is reported to the GUI thread; `heard` gets it on this one.

        Raises
        ------
        UNetTumourError
            The job or its worker failed; `JobStopped` where it was stopped.
        TaskDropped
            Nobody waits any more.
        """
        events = self._events = queue.SimpleQueue()
        self._job = jobs.submit(name, *args, on_event=events.put, scheduler=scheduler)
        if not self.wanted:
            self.stop_job()
        while True:
            match events.get():
                case jobs.ProgressEvent(progress):
                    heard(progress)
                    if reports:
                        self.report(progress)
                case jobs.Done(result):
                    return result
                case jobs.Failed(error):
                    raise error
                case _ if self._dropped.is_set():
                    raise TaskDropped
                case _:
                    raise JobStopped("the worker was stopped: try again")

    def follow(self, steps: Generator[Progress, None, Result], every: float = 0.0) -> Result:
        """Take steps to their end and return what they return, or stop between two where nobody waits any more.

        Parameters
        ----------
        steps : generator of Progress
            Each is reported.
        every : float
            Progress that comes sooner than so many seconds after what was reported last is not.

        Raises
        ------
        TaskDropped
            Nobody waits any more; the steps are closed.
        """
        told = float("-inf")
        while self.wanted:
            try:
                progress = next(steps)
            except StopIteration as end:
                found: Result = end.value
                return found
            if time.monotonic() - told >= every:
                told = time.monotonic()
                self.report(progress)
        steps.close()
        raise TaskDropped

    def stop_job(self) -> None:
        """Stop what the worker does; `ask` ends at once with `JobStopped`."""
        if self._job is not None:
            self._job.cancel()
        if self._events is not None:
            self._events.put(jobs.Cancelled())

    def drop(self) -> None:
        """Stop: nothing of it arrives any more."""
        self._dropped.set()
        self.on_drop()
        self.stop_job()

    def _on_report(self, news: tuple[Any, ...]) -> None:
        if self.wanted:
            self._on_news(*news)


class Background:
    """Does one thing at a time: what is started takes the place of what was under way.

    Parameters
    ----------
    put : callable
        Makes a call on the GUI thread, e.g. `MainThreadQueue.put`.
    generation : callable, optional
        Returns a number; work that was started at another one is dropped.
    changed : callable, optional
        Called with the kinds of the work before and now, None where there is none.
    """

    def __init__(
        self,
        put: Put,
        generation: Callable[[], int] = lambda: 0,
        changed: Callable[[Any, Any], None] = lambda before, now: None,
    ) -> None:
        self._put, self._generation, self._changed = put, generation, changed
        self.task: Task | None = None

    @property
    def running(self) -> bool:
        """Whether something is under way."""
        return self.task is not None

    def start(
        self,
        work: Callable[[Task], Result],
        then: Callable[[Result], None],
        failed: Callable[[str], None],
        on_news: Callable[..., None] = lambda *news: None,
        wording: Callable[[Exception], str] = unreadable,
        kind: Any = None,
    ) -> Task:
        """Call `work` on a thread; then one of `then` and `failed` on the GUI thread, unless it is dropped.

        Parameters
        ----------
        work : callable
            Gets the task, to report news, to ask the worker, and to see whether anybody still waits.
        then, failed : callable
            Get its result, or one line that says what went wrong.
        on_news : callable
            Gets what the work reports.
        wording : callable
            Makes a line of an error.
        kind : object
            See `Task`.
        """
        task = self.open(on_news, kind)
        name = f"napari-unet-tumour {getattr(kind, 'value', 'work')}"
        args = (task, work, then, failed, wording)
        task.thread = threading.Thread(target=self._work, args=args, name=name, daemon=True)
        task.thread.start()
        return task

    def open(self, on_news: Callable[..., None], kind: Any = None) -> Task:
        """Return a task for work that has threads of its own; `finish` ends it."""
        before, at = self.task, self._generation()
        task = Task(self._put, lambda: self._generation() == at, on_news, kind)
        self._set(task)
        if before is not None:
            before.drop()
        return task

    def finish(self) -> None:
        """Note that the work has ended."""
        self._set(None)

    def cancel(self) -> None:
        """Drop what is under way."""
        task = self.task
        self._set(None)
        if task is not None:
            task.drop()

    def _set(self, task: Task | None) -> None:
        before, self.task = self.task, task
        if before is not task:
            self._changed(None if before is None else before.kind, None if task is None else task.kind)

    def _work(
        self,
        task: Task,
        work: Callable[[Task], Result],
        then: Callable[[Result], None],
        failed: Callable[[str], None],
        wording: Callable[[Exception], str],
    ) -> None:
        try:
            call = partial(then, work(task))
        except TaskDropped:
            return
        except Exception as error:  # noqa: BLE001 - a lazy layer may raise anything when it is read
            call = partial(failed, wording(error))
        self._put(partial(self._end, task, call))

    def _end(self, task: Task, call: Callable[[], None]) -> None:
        if task is self.task:
            self._set(None)
        if task.wanted:
            call()
