"""A connection to dask: to local workers, which are kept alive, or to a scheduler elsewhere. Imports distributed."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dask
import distributed
from distributed import Client, Scheduler
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker
from distributed.security import Security

from napari_unet_tumour.errors import JobError, UNetTumourError, WorkerError
from napari_unet_tumour.jobs import log
from napari_unet_tumour.jobs import worker as worker_process
from napari_unet_tumour.jobs.job import COUNT
from napari_unet_tumour.jobs.local_process import LocalProcess

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from napari_unet_tumour.jobs.job import Job

ANSWER_S = 4.0
STEP_S = 5.0
WORKERS_S = 30.0
ATTEMPTS = 3
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.worker-ttl": None,
    "distributed.admin.system-monitor.interval": "10s",
    # The scheduler keeps this many progress messages, each with its compressed arrays.
    "distributed.admin.low-level-log-length": 4,
}
LOST = "The worker process ended in the middle of the job (killed, crashed or out of memory)"

for _name in ("distributed", "distributed.client"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class ConnectionLost(Exception):
    """The worker of a job is gone."""


class DaskConnection:
    """Runs jobs over one dask client."""

    def __init__(self, client: Any, where: str, scheduler: Any = None, processes: Sequence[LocalProcess] = ()) -> None:
        self._client, self._where = client, where
        self._scheduler, self._processes = scheduler, processes
        self._busy: dict[str, int] = {}
        self._order = asyncio.Lock()
        self._sent = 0
        self._jobs: dict[str, Job] = {}
        self._topic = f"napari-unet-tumour-{uuid.uuid4().hex}"
        client.subscribe_topic(self._topic, self._on_message)

    @property
    def alive(self) -> bool:
        """Whether new jobs can be sent here."""
        hopeless = any(process.hopeless for process in self._processes)
        return self._client.status in ("running", "connecting") and not hopeless

    async def run(self, job: Job) -> Any:
        """Run a job to its end and return its result; raises UNetTumourError."""
        if job.task == COUNT:
            return await self._count()
        self._jobs[job.id] = job
        lost = 0
        try:
            while True:
                begun = job.starts
                try:
                    sent = await self._send(job)
                    return None if sent is None else await self._wait(job, *sent)
                except (KilledWorker, CommClosedError, ConnectionLost) as error:
                    # A job that had not started when its worker was lost does not use up a retry.
                    lost += 1
                    if job.starts > job.retries or (job.starts == begun and lost >= ATTEMPTS):
                        raise JobError(self._lost(job, max(lost, job.starts))) from error
        finally:
            del self._jobs[job.id]

    async def _count(self) -> int:
        for process in self._processes[:1]:
            await process.ready()
        return max(1, len(self._processes), len(await self._workers()))

    async def _workers(self) -> dict[str, Any]:
        """Return the workers by address, the least busy first; waits up to `WORKERS_S` for the first one."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._client.wait_for_workers(1), WORKERS_S)
        found = (await self._client.scheduler.identity())["workers"]
        return dict(sorted(found.items(), key=lambda one: self._busy.get(one[0], 0)))

    async def close(self) -> None:
        """Close the connection and end local workers."""
        for process in self._processes:
            process.end()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._client._close(fast=True), 1)
        if self._scheduler is not None:
            await asyncio.wait_for(self._scheduler.close(fast=True, reason="shutdown"), 2)

    def _lost(self, job: Job, times_lost: int) -> str:
        times = f"{LOST} {times_lost} times, so it is not tried again" if job.retries else LOST
        if not self._processes:
            return f"{times}: run it again, or look into the log of the worker at {self._where}"
        return f"{times}: run it again; if memory was short, close other programs first. Its log is {log.path()}"

    def _on_message(self, event: tuple[float, tuple[str, bytes]]) -> None:
        """Take a worker's message: None when a job starts, else its progress."""
        job = self._jobs.get(event[1][0])
        if job is None:
            return
        progress = worker_process.unpack(event[1][1])
        if progress is None:
            job.starts += 1
            if job.starts > job.retries + 1:
                job.too_many_starts.set()
        else:
            job.report(progress)

    async def _wait(self, job: Job, future: Any, worker: str) -> Any:
        """Wait for a job's result, or until it is cancelled or was started too often."""
        result = asyncio.ensure_future(self._outcome(future))
        ends = [asyncio.ensure_future(event.wait()) for event in (job.stop, job.too_many_starts)]
        self._busy[worker] = self._busy.get(worker, 0) + 1
        try:
            await asyncio.wait({result, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if not result.done() and job.too_many_starts.is_set():
                # A scheduler elsewhere would go on starting it on one worker after the other.
                await self._client.cancel([future], force=True)
                raise ConnectionLost
            if not result.done():
                await self._stop(job, result)
            return await result if result.done() else None
        finally:
            self._busy[worker] -= 1
            for end in ends:
                end.cancel()
            result.cancel()
            future.release()

    async def _send(self, job: Job) -> tuple[Any, str] | None:
        """Send a job to the least busy worker; return its future and that worker, None where it has ended before."""
        # In order of submission, however long the arrays of each job take to send.
        async with self._order:
            for process in self._processes[:1]:
                await process.ready()
            args = job.args
            if job.ended:
                return None
            payload = worker_process.PickledPayload(args)
            worker = next(iter(await self._workers()), None)
            if worker is None:
                raise WorkerError(f"No worker answers at {self._where}: start one, and run again")
            try:
                data = await self._client.scatter(payload, workers=[worker], hash=False, timeout=30)
            except (TimeoutError, ValueError, OSError) as error:
                # The worker was lost in the meantime.
                raise ConnectionLost from error
            self._sent += 1
            future = self._client.submit(
                worker_process.run,
                job.id,
                self._topic,
                job.task,
                data,
                key=f"napari-unet-tumour-{job.id}-{self._sent}",
                pure=False,
                priority=-self._sent,
                retries=0,
            )
            return future, worker

    async def _outcome(self, future: Any) -> Any:
        try:
            kind, value = await future
        except (KilledWorker, CommClosedError):
            raise
        except FutureCancelledError as error:
            # The arrays of a job are lost with the worker that holds them.
            raise ConnectionLost from error
        except asyncio.CancelledError as error:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            # The next job connects again; dask would otherwise keep trying to reconnect this client.
            await self._client._close(fast=True)
            raise WorkerError(f"The connection to {self._where} was lost: run the job again") from error
        except Exception as error:
            raise WorkerError(log.explain(f"The job could not be run by {self._where}", error)) from error
        if kind == "failed":
            raise value
        if kind == "crashed":
            line, details = value
            log.write(details)
            raise JobError(f"The job failed unexpectedly: {line}. Details are in {log.path()}")
        return value.open() if kind == "done" else None

    async def _stop(self, job: Job, result: asyncio.Future[Any]) -> None:
        """Wait until a cancelled job has left the worker; kill a local worker that does not respond."""
        asking = asyncio.ensure_future(self._client.run(worker_process.cancel, job.id))
        try:
            while not job.started:
                if (await asyncio.wait({result}, timeout=0.1))[0]:
                    return
            if not (await asyncio.wait({result}, timeout=STEP_S))[0]:
                for process in self._processes:
                    process.kill()
        finally:
            # Cancelled at once, the call would leave its socket open.
            await asyncio.wait({asking}, timeout=1)
            asking.cancel()


class _QuietScheduler(worker_process.NoHttp, Scheduler):
    pass


async def start_local(begun: Sequence[subprocess.Popen[bytes]]) -> DaskConnection:
    """Start a scheduler in this process, on the loopback with temporary TLS, for worker processes already started."""
    security = Security.temporary()  # type: ignore[no-untyped-call]
    with dask.config.set(QUIET):
        scheduler = await _QuietScheduler(
            host="127.0.0.1", protocol="tls://", security=security, dashboard=False, allowed_failures=0
        )
        client = await Client(  # type: ignore[no-untyped-call]
            scheduler.address,
            asynchronous=True,
            security=security,
            set_as_default=False,
            direct_to_workers=True,
        )
    processes = [
        LocalProcess(scheduler, security, Path(tempfile.mkdtemp(prefix="napari-unet-tumour-")), len(begun), one)
        for one in begun
    ]
    return DaskConnection(client, "the local worker", scheduler, processes)


async def connect(address: str, insecure: bool = False) -> DaskConnection:
    """Connect to a running scheduler; raises WorkerError after a few seconds."""
    _check_address(address, insecure)
    client = Client(address, asynchronous=True, set_as_default=False, timeout=ANSWER_S)  # type: ignore[no-untyped-call]
    try:
        await asyncio.wait_for(client, ANSWER_S + 1)
        await _check_version(client, address)
    except Exception as error:
        await client._close(fast=True)
        if isinstance(error, UNetTumourError):
            raise
        raise WorkerError(
            f"The cluster {address} does not answer ({log.in_a_line(error)}): check the address, that it runs, "
            "and the TLS settings in dask's configuration"
        ) from error
    return DaskConnection(client, address)


def _check_address(address: str, insecure: bool) -> None:
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    if parts.scheme in ("tls", "wss") or insecure or _is_loopback(parts.hostname or ""):
        return
    raise WorkerError(
        f"The cluster address {address} is not encrypted, so scans would travel in the clear: "
        "use tls://..., or allow it on purpose with --insecure"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _check_version(client: Any, address: str) -> None:
    """Raise WorkerError, with both versions, unless scheduler and workers have the versions of this side."""
    there = (await client.scheduler.versions())["packages"].get("distributed")
    if there != distributed.__version__:  # type: ignore[attr-defined]
        raise WorkerError(
            f"The cluster {address} has distributed {there}, this side has {distributed.__version__}: "  # type: ignore[attr-defined]
            "install the same version on both"
        )
    here = worker_process.version()
    try:
        found = await client.run(worker_process.version)
    except ModuleNotFoundError as error:
        raise WorkerError(
            f"A worker of {address} has no napari-unet-tumour, this side has {here}: install it there"
        ) from error
    for worker, there in found.items():
        if there != here:
            raise WorkerError(
                f"The worker {worker} of {address} has napari-unet-tumour {there}, this side has {here}: "
                "install the same version on both"
            )
