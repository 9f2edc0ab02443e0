"""The background threads between the caller and dask: one runs the event loop, one delivers events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from typing import TYPE_CHECKING, Any, cast

from napari_unet_tumour.errors import UNetTumourError, WorkerError
from napari_unet_tumour.jobs import log
from napari_unet_tumour.jobs.job import LOCAL_WORKERS, Cancelled, Done, Failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_unet_tumour.jobs.dask_client import DaskConnection
    from napari_unet_tumour.jobs.job import Event, Job

CLOSE_S = 5.0
CONNECT_S = 2.0

logger = logging.getLogger(__name__)


class EventLoopThread:
    """Owns the threads and one connection per scheduler address; imports dask with the first job, and never torch.

    Parameters
    ----------
    before_exit : callable
        Called once dask has been imported, to register an exit handler that runs before dask's.

    Attributes
    ----------
    loop : asyncio.AbstractEventLoop
        Where `run` belongs.
    """

    def __init__(self, before_exit: Callable[[], None]) -> None:
        self._before_exit = before_exit
        self.loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._leaving = False
        self._connections: dict[str | None, asyncio.Task[DaskConnection]] = {}
        self._jobs: dict[asyncio.Task[Any], Job] = {}
        self._outbox: queue.SimpleQueue[tuple[Job, Event] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=target, name=f"napari-unet-tumour {name}", daemon=True)
            for name, target in (("jobs", self._serve), ("events", self._deliver))
        ]
        for thread in self._threads:
            thread.start()

    def call(self, function: Callable[[], object]) -> None:
        """Call a function on the loop's thread, soon; does nothing if the loop is closed."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function)

    def deliver(self, job: Job, event: Event) -> None:
        """Queue an event for the job's caller; may be called on any thread."""
        self._outbox.put((job, event))

    def close(self) -> None:
        """Cancel all jobs and end both threads, within CLOSE_S seconds."""
        self._leaving = True
        self.call(self._closing.set)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(CLOSE_S)

    async def run(self, job: Job) -> None:
        """Run a job to its end event; on the loop, in a task of its own."""
        task = asyncio.current_task()
        assert task is not None
        self._jobs[task] = job
        try:
            connection = await self._connection(job.scheduler, job.insecure)
            job.end(Done(await connection.run(job)))
        except asyncio.CancelledError:
            job.end(Cancelled())
        except UNetTumourError as error:
            job.end(Failed(error))
        except Exception as error:  # noqa: BLE001 - every job must end with an event
            job.end(Failed(WorkerError(log.explain("The job could not be run", error))))
        finally:
            del self._jobs[task]

    async def _connection(self, scheduler: str | None, insecure: bool) -> DaskConnection:
        known = self._connections.get(scheduler)
        if known is not None and known.done() and not _usable(known):
            await _close(known)
            known = None
        if known is None:
            known = self._connections[scheduler] = self.loop.create_task(self._connect(scheduler, insecure))
        return await asyncio.shield(known)

    async def _connect(self, scheduler: str | None, insecure: bool) -> DaskConnection:
        from napari_unet_tumour.jobs import local_process

        local = scheduler is None or scheduler.startswith(LOCAL_WORKERS)
        workers = int((scheduler or "1").removeprefix(LOCAL_WORKERS)) if local else 0
        # The workers import their modules while this process imports dask.
        begun = [local_process.begin(workers) for _ in range(workers)]
        try:
            from napari_unet_tumour.jobs import dask_client

            self._before_exit()
            if self._leaving:
                raise asyncio.CancelledError
            return await (dask_client.start_local(begun) if local else dask_client.connect(str(scheduler), insecure))
        except BaseException:
            for one in begun:
                local_process.drop(one)
            raise

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._closing.wait())
            self.loop.run_until_complete(self._end_all())
        finally:
            self._outbox.put(None)
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    async def _end_all(self) -> None:
        for job in self._jobs.values():
            job.end(Cancelled())
        await _end_tasks(list(self._jobs))
        for connection in self._connections.values():
            # A half-started cluster cannot be closed cleanly; wait until it has started.
            await asyncio.wait([connection], timeout=CONNECT_S)
            await _close(connection)
        await _end_tasks([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])

    def _deliver(self) -> None:
        for job, event in iter(lambda: cast("tuple[Job, Event]", self._outbox.get()), None):
            try:
                if job.wants(event):
                    job.on_event(event)
            except Exception:
                logger.exception("A job's on_event raised")


async def _end_tasks(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=1)


def _usable(connection: asyncio.Task[DaskConnection]) -> bool:
    return not connection.cancelled() and connection.exception() is None and connection.result().alive


async def _close(connection: asyncio.Task[DaskConnection]) -> None:
    if not connection.done() or connection.cancelled() or connection.exception() is not None:
        return
    try:
        await connection.result().close()
    except Exception:
        logger.debug("Closing a connection failed", exc_info=True)
