import contextlib
import gc
import os
import queue
import signal
import socket
import subprocess
import sys
import textwrap
import time
import weakref
from pathlib import Path

import dask
import numpy as np
import psutil
import pytest
from distributed.security import Security

from napari_unet_tumour import jobs
from napari_unet_tumour.errors import ModelError, WorkerError
from napari_unet_tumour.jobs import Cancelled, Done, Failed, ProgressEvent, dask_client

HERE = Path(__file__).parents[1]
T = "job_tasks:"


@pytest.fixture(scope="module", autouse=True)
def worker(tmp_path_factory):
    jobs.shutdown()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_UNET_TUMOUR_HOME", str(tmp_path_factory.mktemp("home")))
        patch.syspath_prepend(HERE)
        jobs.run(T + "iter_count", 1)
        yield
        jobs.shutdown()


class Watched:
    """A submitted job whose events are kept with their arrival times."""

    def __init__(self, name, *args, **how):
        self.events = queue.Queue()
        self.job = jobs.submit(name, *args, on_event=lambda e: self.events.put((time.perf_counter(), e)), **how)

    def next(self, timeout=30):
        return self.events.get(timeout=timeout)

    def all(self):
        """Return every event up to the end, and make sure that nothing follows it."""
        found = [self.next()[1]]
        while isinstance(found[-1], ProgressEvent):
            found.append(self.next()[1])
        time.sleep(0.05)
        assert self.events.empty()
        return found

    def end(self):
        return self.all()[-1]


def worker_pid():
    return jobs.run(T + "surroundings")["pid"]


def wait_until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_progress_arrives_in_order_then_the_result():
    *ticks, end = Watched(T + "iter_count", 30).all()
    assert [t.progress.done for t in ticks] == list(range(1, 31))
    assert ticks[7].progress.values["part"].tolist() == [[7] * 3] * 2
    assert end == Done(30)


def test_large_arrays_travel_unchanged():
    volume = np.random.default_rng(0).normal(size=(24, 433, 433))
    volume.setflags(write=False)
    mask = np.zeros((24, 1, 256, 256), np.uint8)
    start = time.perf_counter()
    back = jobs.run(T + "iter_echo", volume, {"mask": mask}, "text")
    assert time.perf_counter() - start < 5
    assert np.array_equal(back[0], volume)
    assert np.array_equal(back[1]["mask"], mask)
    assert back[2] == "text"


def test_plain_functions_run_too():
    assert jobs.run(T + "surroundings")["pid"] != os.getpid()


def test_unknown_task_is_a_programming_error():
    with pytest.raises(KeyError):
        jobs.submit("no-such-task", on_event=print)


def test_worker_is_polite_and_fast():
    found = jobs.run(T + "surroundings")
    assert int(found["OMP_NUM_THREADS"]) >= 1
    assert found["OMP_WAIT_POLICY"] == "PASSIVE"
    assert found["MALLOC_TRIM_THRESHOLD_"] == found["MALLOC_MMAP_THRESHOLD_"] == str(1 << 30)
    if os.name == "posix":
        assert found["nice"] == min(os.nice(0) + 15, 19)
    assert os.environ.get("MALLOC_TRIM_THRESHOLD_") is None


def test_only_tls_on_the_loopback_listens():
    def heard(*pids: int) -> set[tuple[str, int]]:
        found = [c for pid in pids for c in psutil.Process(pid).net_connections() if c.status == "LISTEN"]
        return {(c.laddr.ip, c.laddr.port) for c in found}

    jobs.shutdown()
    before = heard(os.getpid())  # what other tests in this process have opened
    listening = heard(os.getpid(), worker_pid()) - before
    assert len(listening) == 2
    for address in listening:
        assert address[0] == "127.0.0.1"
        with socket.create_connection(address) as plain:
            plain.settimeout(5)
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                assert b"HTTP" not in plain.recv(100)


def test_jobs_run_in_order_but_for_tiny_ones_that_wait_together():
    order = queue.Queue()
    sizes = [(3000, 1000), (1,), (2000, 500), (1,), (1,)]
    for n, size in enumerate(sizes):
        jobs.submit(T + "iter_echo", n, np.zeros(size), on_event=lambda event, n=n: order.put((n, event)))
    seen = [order.get(timeout=60) for _ in range(2 * len(sizes))]
    # What a job gives back travels on its own, a large result longer; the ticks tell when each was worked on.
    # dask may begin two tiny ones that wait together, 3 and 4, in either order.
    ticks = [n for n, event in seen if isinstance(event, ProgressEvent)]
    assert ticks[:3] == [0, 1, 2]
    assert sorted(ticks) == list(range(len(sizes)))
    assert sorted(event.result[0] for _, event in seen if isinstance(event, Done)) == list(range(len(sizes)))


def test_submit_returns_at_once():
    volume = np.zeros((24, 256, 256))
    spent = []
    watched = []
    for _ in range(10):
        start = time.perf_counter()
        watched.append(Watched(T + "iter_echo", volume))
        spent.append(time.perf_counter() - start)
    assert sorted(spent)[5] < 0.005
    assert all(isinstance(w.end(), Done) for w in watched)


def test_cancel_is_felt_while_a_step_is_busy_and_the_next_job_works():
    long = Watched(T + "iter_long_step", 2.0)
    assert long.next()[1].progress.message == "asleep"
    time.sleep(0.1)
    start = time.perf_counter()
    long.job.cancel()
    when, event = long.next()
    assert event == Cancelled()
    assert when - start < 0.5
    assert jobs.run(T + "iter_count", 2) == 2
    assert long.events.empty()


def test_a_step_that_does_not_stop_costs_the_worker_not_the_next_job(monkeypatch):
    monkeypatch.setattr(dask_client, "STEP_S", 1.0)
    before = worker_pid()
    long = Watched(T + "iter_long_step", 120.0)
    long.next()
    long.job.cancel()
    assert long.end() == Cancelled()
    assert jobs.run(T + "iter_count", 2) == 2
    assert worker_pid() != before


def test_cancel_closes_the_generator_at_its_next_yield(tmp_path):
    note = tmp_path / "note"
    steps = Watched(T + "iter_many_steps", note)
    steps.next()
    steps.job.cancel()
    assert steps.end() == Cancelled()
    wait_until(note.exists)


def test_cancel_before_the_start_and_after_the_end():
    first, second = Watched(T + "iter_long_step", 0.5), Watched(T + "iter_count", 3)
    second.job.cancel()
    assert second.all() == [Cancelled()]
    assert first.end() == Done("late")
    first.job.cancel()
    assert first.events.empty()


def test_kill_fails_one_job_and_spares_the_waiting_and_the_next():
    pid = worker_pid()
    running, waiting = Watched(T + "iter_long_step", 60.0), Watched(T + "iter_count", 3)
    running.next()
    os.kill(pid, signal.SIGKILL)
    end = running.end()
    assert isinstance(end, Failed)
    assert isinstance(end.error, WorkerError)
    assert "run it again" in str(end.error)
    assert "\n" not in str(end.error)
    assert waiting.end() == Done(3)
    assert jobs.run(T + "iter_count", 2) == 2


@pytest.mark.parametrize("task", ["iter_die", "iter_die_when_unpickled"])
def test_a_job_that_always_kills_its_worker_ends(task):
    args = () if task == "iter_die" else (Deadly(),)
    with pytest.raises(WorkerError, match="worker process"):
        jobs.run(T + task, *args)
    assert jobs.run(T + "iter_count", 2) == 2


class Deadly:
    def __reduce__(self):
        return os._exit, (1,)


def test_our_errors_arrive_as_themselves():
    with pytest.raises(ModelError, match=r"^m.safetensors is cut or damaged: get the file again$"):
        jobs.run(T + "iter_model_error")


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("iter_surprise", "ValueError: two lines"),
        ("iter_exit", "SystemExit: 3"),
        ("iter_memory", "MemoryError"),
        ("no_such", "AttributeError"),
    ],
)
def test_other_errors_become_one_line_and_a_traceback_in_the_log(task, says):
    with pytest.raises(WorkerError, match=says) as caught:
        jobs.run(T + task)
    assert "\n" not in str(caught.value)
    log = Path(str(caught.value).split("Details are in ")[1])
    assert "Traceback" in log.read_text()


def test_a_result_that_cannot_travel_is_an_error():
    with pytest.raises(WorkerError):
        jobs.run(T + "iter_unpicklable")
    assert jobs.run(T + "iter_count", 2) == 2


def test_results_and_arguments_are_released():
    class Array(np.ndarray):
        pass

    sent = np.zeros((100, 100)).view(Array)
    gone = weakref.ref(sent)
    watched = Watched(T + "iter_echo", sent)
    watched.all()
    del sent
    link = jobs._loop._connections[None].result()
    wait_until(lambda: gc.collect() >= 0 and gone() is None)
    wait_until(lambda: not link._scheduler.tasks and not link._client.futures)


def test_an_observer_that_raises_does_no_harm(caplog):
    seen = queue.Queue()

    def observe(event):
        seen.put(event)
        raise ValueError("observer")

    jobs.submit(T + "iter_count", 2, on_event=observe)
    assert [type(seen.get(timeout=30)) for _ in range(3)] == [ProgressEvent, ProgressEvent, Done]
    assert jobs.run(T + "iter_count", 2) == 2
    assert "on_event raised" in caplog.text


def test_run_passes_progress_on_and_cancels_when_the_listener_raises():
    seen = []
    assert jobs.run(T + "iter_count", 3, on_tick=lambda p: seen.append(p.done)) == 3
    assert seen == [1, 2, 3]

    def stop(progress):
        raise KeyboardInterrupt

    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        jobs.run(T + "iter_long_step", 1.0, on_tick=stop)
    assert time.perf_counter() - start < 0.9


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(dask_client, "ANSWER_S", 1.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"tcp://127.0.0.1:{deaf.getsockname()[1]}"
        start = time.perf_counter()
        end = Watched(T + "iter_count", 1, scheduler=address).end()
        assert time.perf_counter() - start < 8
    assert isinstance(end, Failed)
    assert isinstance(end.error, WorkerError)
    assert address in str(end.error)
    assert "\n" not in str(end.error)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "tls://127.0.0.1:9", "gpu box", "xyz://127.0.0.1:9"])
def test_nonsense_addresses_are_named(address, monkeypatch):
    monkeypatch.setattr(dask_client, "ANSWER_S", 1.0)
    with pytest.raises(WorkerError, match=address):
        jobs.run(T + "iter_count", 1, scheduler=address)


@pytest.mark.parametrize("address", ["tcp://192.0.2.1:8786", "192.0.2.1:8786", "gpu-box:8786", "ws://gpu-box:8786"])
def test_an_open_address_elsewhere_needs_a_flag(address):
    with pytest.raises(WorkerError, match="not encrypted"):
        jobs.run(T + "iter_count", 1, scheduler=address)


def test_shutdown_leaves_nothing_and_may_be_repeated():
    pid = worker_pid()
    folder = Path(jobs.run(T + "surroundings")["folder"])
    assert folder.exists()
    busy = Watched(T + "iter_long_step", 60.0)
    busy.next()
    start = time.perf_counter()
    jobs.shutdown()
    assert time.perf_counter() - start < 3
    assert busy.end() == Cancelled()
    assert not psutil.pid_exists(pid)
    assert not folder.exists()
    jobs.shutdown()
    assert jobs.run(T + "iter_count", 1) == 1


CLUSTER = """
import asyncio, sys
sys.path.insert(0, {here!r})
from distributed import Scheduler, Worker

async def serve():
    async with Scheduler(protocol="tls", host="127.0.0.1", dashboard_address=":0") as scheduler:
        async with Worker(scheduler.address, host="127.0.0.1", dashboard_address=":0", nthreads=1):
            print(scheduler.address, flush=True)
            await scheduler.finished()

asyncio.run(serve())
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A scheduler and a worker in another process, with TLS files named in dask's configuration."""
    made = Security.temporary()
    settings = {}
    for field in (
        "ca_file",
        "scheduler_cert",
        "scheduler_key",
        "worker_cert",
        "worker_key",
        "client_cert",
        "client_key",
    ):
        file = tmp_path / field
        file.write_text(getattr(made, f"tls_{field}"))
        role, _, kind = field.partition("_")
        settings["ca-file" if role == "ca" else f"{role}.{kind}"] = str(file)
    for name, value in settings.items():
        variable = "DASK_DISTRIBUTED__COMM__TLS__" + name.replace(".", "__").replace("-", "_").upper()
        monkeypatch.setenv(variable, value)
    code = CLUSTER.format(here=str(HERE))
    with (
        dask.config.set({f"distributed.comm.tls.{name}": value for name, value in settings.items()}),
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as it,
    ):
        yield it, it.stdout.readline().strip()
        it.kill()


def test_a_scheduler_with_tls_does_the_same(cluster):
    _, address = cluster
    volume = np.asfortranarray(np.random.default_rng(0).normal(size=(5, 6, 7)))
    assert address.startswith("tls://")
    assert jobs.run(T + "iter_count", 3, scheduler=address) == 3
    assert np.array_equal(jobs.run(T + "iter_echo", volume, scheduler=address)[0], volume)
    with pytest.raises(ModelError):
        jobs.run(T + "iter_model_error", scheduler=address)
    long = Watched(T + "iter_many_steps", HERE / "no" / "where", scheduler=address)
    long.next()
    long.job.cancel()
    assert long.end() == Cancelled()


def test_other_versions_are_refused_with_both_named(cluster):
    _, address = cluster
    for name, said in (
        ("distributed.__version__", r"The cluster \S+ has distributed 20\S+, this side has 1999\.1"),
        ("napari_unet_tumour.version.__version__", r"The worker \S+ of \S+ has \S+ \S+, this side has 1999\.1"),
    ):
        jobs.shutdown()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(name, "1999.1")
            with pytest.raises(WorkerError, match=said):
                jobs.run(T + "iter_count", 1, scheduler=address)
    jobs.shutdown()


# When its scheduler has gone, dask's client tries to connect again and forgets to close the socket of a failed try.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_a_scheduler_that_is_lost_is_named(cluster):
    process, address = cluster
    lost = Watched(T + "iter_long_step", 60.0, scheduler=address)
    lost.next()
    process.kill()
    end = lost.end()
    assert isinstance(end, Failed)
    assert isinstance(end.error, WorkerError)
    assert address in str(end.error)
    gc.collect()


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from napari_unet_tumour import jobs
{body}
"""


def script(tmp_path, body, *, how=(), **kwargs):
    file = tmp_path / "script.py"
    file.write_text(SCRIPT.format(here=str(HERE), body=textwrap.dedent(body)))
    start = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-W", "error", *how, str(file)], capture_output=True, text=True, timeout=60, **kwargs
    )
    return ended, time.perf_counter() - start


@pytest.mark.parametrize(
    "body",
    [
        "print(jobs.run('job_tasks:surroundings')['pid'])",
        "import time; jobs.preload('x'); time.sleep(0.3)",
        "jobs.preload('x')",
        "pass",
        """
        print(jobs.run('job_tasks:surroundings')['pid'], flush=True)
        jobs.submit('job_tasks:iter_long_step', 60.0, on_event=lambda event: None)
        import time; time.sleep(0.5)
        """,
        "print(jobs.run('job_tasks:surroundings')['pid'], flush=True); jobs.shutdown(); jobs.shutdown()",
    ],
    ids=["done", "starting", "importing", "unused", "busy", "shutdown"],
)
def test_a_script_without_main_guard_ends_cleanly(tmp_path, body):
    ended, _ = script(tmp_path, body)
    assert (ended.returncode, ended.stderr) == (0, "")
    if ended.stdout.strip():
        wait_until(lambda: not psutil.pid_exists(int(ended.stdout)))


def test_the_viewers_process_stays_light(tmp_path):
    ended, _ = script(
        tmp_path,
        """
        light = not {"distributed", "dask", "torch"} & set(sys.modules)
        jobs.run('job_tasks:iter_count', 3)
        print(light, "torch" in sys.modules, "monai" in sys.modules, "pandas" in sys.modules)
        """,
    )
    assert ended.stdout.split() == ["True", "False", "False", "False"]


def test_the_worker_dies_with_its_parent(tmp_path):
    ended, _ = script(
        tmp_path,
        """
        import os
        folder = jobs.run('job_tasks:surroundings')['folder']
        print(jobs.run('job_tasks:surroundings')['pid'], folder, flush=True)
        jobs.submit('job_tasks:iter_long_step', 60.0, on_event=lambda event: os.kill(os.getpid(), 9))
        import time; time.sleep(30)
        """,
    )
    pid, folder = ended.stdout.split()
    wait_until(lambda: not psutil.pid_exists(int(pid)) and not Path(folder).exists())


def test_ctrl_c_in_run_stops_cleanly(tmp_path):
    ended, took = script(
        tmp_path,
        """
        import os, signal
        stop = lambda progress: os.kill(os.getpid(), signal.SIGINT)
        try:
            jobs.run('job_tasks:iter_long_step', 60.0, on_tick=stop)
        except KeyboardInterrupt:
            print("stopped")
        """,
    )
    assert (ended.stdout, ended.stderr) == ("stopped\n", "")
    assert took < 15
