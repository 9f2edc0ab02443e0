"""Work beside the window, without a window: the GUI thread is a list of calls that the test makes."""

import threading
from types import SimpleNamespace

import pytest

from napari_unet_tumour import jobs
from napari_unet_tumour.errors import ScanError, WorkerError
from napari_unet_tumour.settings import Progress
from napari_unet_tumour.widgets.common.background import Background, JobStopped


class Gui:
    """Calls that wait for the GUI thread, and what came of them."""

    def __init__(self):
        self.calls, self.told, self.changes, self.generation = [], [], [], 0
        self.background = Background(
            self.calls.append, lambda: self.generation, lambda before, now: self.changes.append((before, now))
        )

    def start(self, work, **options):
        return self.background.start(
            work, lambda result: self.told.append(("done", result)), lambda why: self.told.append(("failed", why)),
            lambda *news: self.told.append(news), **options,
        )  # fmt: skip

    def turn(self, task):
        """Let a task end and make all calls."""
        task.thread.join(20)
        assert not task.thread.is_alive()
        while self.calls:
            self.calls.pop(0)()


@pytest.fixture
def gui():
    return Gui()


def fail(error):
    def work(task):
        raise error

    return work


def test_the_result_comes_on_the_gui_thread_and_not_before(gui):
    task = gui.start(lambda task: 7, kind="count")
    task.thread.join(20)
    assert (gui.told, gui.background.running) == ([], True)
    gui.turn(task)
    assert (gui.told, gui.background.running) == ([("done", 7)], False)
    assert gui.changes == [(None, "count"), ("count", None)]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ScanError("no slices: open another scan"), "no slices: open another scan"),
        (OSError("disk\nfull"), "the scan cannot be read (disk): check its file"),
        (ValueError(), "the scan cannot be read (ValueError): check its file"),
    ],
)
def test_an_error_is_one_line(gui, error, line):
    gui.turn(gui.start(fail(error)))
    assert gui.told == [("failed", line)]
    gui.turn(gui.start(fail(error), wording=lambda error: "another line"))
    assert gui.told[-1] == ("failed", "another line")


def test_what_is_started_takes_the_place_of_what_was_under_way(gui):
    gate = threading.Event()
    first = gui.start(lambda task: gate.wait(20), kind=1)
    second = gui.start(lambda task: "new", kind=2)
    assert (first.wanted, second.wanted) == (False, True)
    gate.set()
    gui.turn(first)
    gui.turn(second)
    assert gui.told == [("done", "new")]
    assert gui.changes == [(None, 1), (1, 2), (2, None)]


@pytest.mark.parametrize("how", ["cancelled", "another case"])
def test_nothing_of_what_nobody_waits_for_arrives(gui, how):
    gate, dropped = threading.Event(), []

    def work(task):
        task.report("half")
        gate.wait(20)
        task.report("all")
        return 1

    task = gui.start(work)
    task.on_drop = lambda: dropped.append(how)
    if how == "cancelled":
        gui.background.cancel()
    else:
        gui.generation += 1
    gate.set()
    gui.turn(task)
    assert (gui.told, gui.background.running) == ([], False)
    assert dropped == [how] * (how == "cancelled")


def test_work_with_threads_of_its_own_reports_until_it_is_finished(gui):
    task = gui.background.open(lambda *news: gui.told.append(news), "run")
    task.report("slice", 1)
    gui.calls.pop()()
    gui.background.finish()
    assert (gui.told, gui.background.running) == ([("slice", 1)], False)


class Worker:
    """Answers jobs with the events that it is given; a job that is cancelled gets none of the others."""

    def __init__(self, *events, hold=False):
        self.events, self.hold, self.cancelled, self.asked = events, hold, threading.Event(), threading.Event()

    def submit(self, name, *args, on_event, scheduler):
        for event in self.events:
            on_event(event)
        self.asked.set()
        return SimpleNamespace(cancel=self.cancelled.set)


def test_a_job_reports_where_that_is_wanted_and_its_result_is_returned(gui, monkeypatch):
    monkeypatch.setattr(jobs, "submit", Worker(jobs.ProgressEvent(Progress(1, 2)), jobs.Done("mask")).submit)
    gui.turn(gui.start(lambda task: task.ask("segment_planes")))
    gui.turn(gui.start(lambda task: task.ask("segment_planes", reports=True)))
    assert gui.told == [("done", "mask"), (Progress(1, 2),), ("done", "mask")]


def test_a_job_that_fails_or_is_stopped_is_one_line(gui, monkeypatch):
    monkeypatch.setattr(jobs, "submit", Worker(jobs.Failed(WorkerError("the worker was lost"))).submit)
    gui.turn(gui.start(lambda task: task.ask("click")))
    monkeypatch.setattr(jobs, "submit", Worker(jobs.Cancelled()).submit)
    gui.turn(gui.start(lambda task: task.ask("click")))
    assert gui.told == [("failed", "the worker was lost"), ("failed", "the worker was stopped: try again")]


def test_cancelling_stops_the_job_too(gui, monkeypatch):
    worker = Worker()
    monkeypatch.setattr(jobs, "submit", worker.submit)
    task = gui.start(lambda task: task.ask("finetune"))
    assert worker.asked.wait(20)
    gui.background.cancel()
    gui.turn(task)
    assert worker.cancelled.is_set()
    assert gui.told == []


def test_work_may_go_on_when_its_job_is_stopped(gui, monkeypatch):
    worker = Worker()
    monkeypatch.setattr(jobs, "submit", worker.submit)

    def work(task):
        try:
            return task.ask("finetune")
        except JobStopped:
            return "the best so far"

    task = gui.start(work)
    assert worker.asked.wait(20)
    task.stop_job()
    gui.turn(task)
    assert gui.told == [("done", "the best so far")]


def test_steps_are_followed_to_their_end_and_closed_when_nobody_waits(gui):
    closed = []

    def steps(task=None):
        try:
            for n in range(3):
                yield Progress(n + 1, 3)
                if task is not None:
                    task.drop()
            return "all"
        finally:
            closed.append(task)

    task = gui.start(lambda task: task.follow(steps()))
    gui.turn(task)
    assert [one.done for (one,) in gui.told[:-1]] == [1, 2, 3]
    assert gui.told[-1] == ("done", "all")
    gui.told.clear()
    gui.turn(gui.start(lambda task: task.follow(steps(), every=60)))
    assert [one.done for (one,) in gui.told[:-1]] == [1], "the others came too soon after it"
    gui.told.clear()
    dropped = gui.start(lambda task: task.follow(steps(task)))
    gui.turn(dropped)
    assert (gui.told, closed[-1]) == ([], dropped)
