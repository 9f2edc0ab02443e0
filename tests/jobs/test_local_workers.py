"""Several workers: jobs side by side, and what happens to a job whose worker is lost."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from napari_unet_tumour import jobs
from napari_unet_tumour.errors import WorkerError

T = "job_tasks:"
WORKERS = jobs.local_workers(2)


@pytest.fixture(scope="module", autouse=True)
def two_workers(tmp_path_factory):
    jobs.shutdown()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_UNET_TUMOUR_HOME", str(tmp_path_factory.mktemp("home")))
        patch.syspath_prepend(Path(__file__).parents[1])
        assert jobs.workers(WORKERS) == 2
        yield
        jobs.shutdown()


def together(name, *many):
    with ThreadPoolExecutor(len(many)) as pool:
        return list(pool.map(lambda args: jobs.run(T + name, *args, scheduler=WORKERS, retries=1), many))


@pytest.mark.slow
def test_two_workers_share_the_jobs():
    together("iter_nap", (0.1,), (0.1,))
    start = time.monotonic()
    pids = together("iter_nap", *[(1.5,)] * 4)
    assert len(set(pids)) == 2
    assert sorted(pids.count(pid) for pid in set(pids)) == [2, 2]
    assert time.monotonic() - start < 5.5


def test_a_job_whose_worker_is_killed_is_done_elsewhere_and_its_neighbours_too(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(jobs.run, T + "iter_nap", 1.0, scheduler=WORKERS, retries=1) for _ in range(2)]
        pid = jobs.run(T + "iter_die_once", tmp_path / "note", scheduler=WORKERS, retries=1)
        assert all(one.result() for one in others)
    assert pid > 0
    assert threading.active_count() < 40


def test_a_job_that_kills_two_workers_is_given_up():
    with pytest.raises(WorkerError, match="2 times, so it is not tried again"):
        jobs.run(T + "iter_die_late", scheduler=WORKERS, retries=1)
    assert jobs.run(T + "iter_count", 2, scheduler=WORKERS) == 2


def test_without_leave_a_lost_job_is_not_repeated(tmp_path):
    with pytest.raises(WorkerError, match="ended in the middle of the job"):
        jobs.run(T + "iter_die_once", tmp_path / "note", scheduler=WORKERS)
