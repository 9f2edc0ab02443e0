"""A fine-tuning as the person sees it, told by the state alone: no window, no worker, no learning."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from napari_unet_tumour import jobs
from napari_unet_tumour.corrections import FineTuneOutcome
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.settings import FinetuneSettings, Progress
from napari_unet_tumour.widgets.correct import finetune_controller
from napari_unet_tumour.widgets.correct.finetune_job import FineTuneJob, FineTuneResult
from napari_unet_tumour.widgets.correct.state import CorrectState, LearningStep, Phase

ENTRY = SimpleNamespace(spec=SimpleNamespace(network="dynunet"), path="")
SETTINGS = FinetuneSettings(seconds=8.0)
ORDER = SimpleNamespace(settings=SETTINGS, entry=ENTRY, scheduler="", note="No slice is kept for scoring yet.")


class Job(FineTuneJob):
    """Reports what the test wants, and ends when the test wants it."""

    gate, ending, kept = threading.Event(), None, False

    def work(self, task):
        task.report(Progress(20, 80, "Learning", {"step": 4, "loss": 0.5, "seconds_left": 6.0, "best": OUTCOME}))
        assert self.gate.wait(20)
        if isinstance(self.ending, Exception):
            raise self.ending
        return FineTuneResult(self.best if self.kept else self.ending)

    def keep_best(self, task):
        self.kept = True
        self.gate.set()


OUTCOME = FineTuneOutcome(b"model", 1.0, steps=20, seconds=5.0)


@pytest.fixture
def one(monkeypatch):
    """Return a controller with its state, and what lets a fine-tuning end."""
    monkeypatch.setattr(finetune_controller, "FineTuneJob", Job)
    monkeypatch.setattr(Job, "gate", threading.Event())
    state, calls, accepted, longer = CorrectState(), [], [], []
    state.open(SimpleNamespace())
    masks = SimpleNamespace(hide_preview=lambda: None)
    controller = finetune_controller.FineTuneController(
        state, calls.append, masks, None, lambda order, data: accepted.append((order, data)), longer.append
    )

    def turn():
        while calls:
            calls.pop(0)()

    def end(ending):
        Job.ending = ending
        task = controller._background.task
        Job.gate.set()
        task.thread.join(20)
        turn()

    controller.start(ORDER)
    assert state.phase is Phase.LEARNING
    assert state.message.text == f"Reading the reviewed slices… {ORDER.note}"
    assert state.step == LearningStep(8.0)
    return SimpleNamespace(
        controller=controller, state=state, turn=turn, end=end, accepted=accepted, calls=calls, longer=longer
    )


def test_it_counts_down_and_ends_with_a_question(one):
    while not one.calls:
        threading.Event().wait(0.01)
    one.turn()
    assert one.state.message.text == "Learning: step 4, 6 s left."
    assert one.state.step == LearningStep(8.0, 2.0, 0.5)
    assert one.state.best
    one.end(OUTCOME)
    assert one.state.phase is Phase.DECIDING
    assert one.state.message.text == f"Learnt in 20 steps in 5.0 s. Accept or reject? {ORDER.note}"
    assert one.state.estimate == 5.0
    one.controller.accept()
    assert one.accepted == [(ORDER, b"model")]
    assert one.state.phase is Phase.READY


def test_reject_leaves_all_as_it_was(one):
    one.end(OUTCOME)
    one.controller.reject()
    assert one.state.message.text == "Rejected: model and mask are as they were."
    assert (one.state.phase, one.accepted) == (Phase.READY, [])


def test_cancel_asks_and_learns_on_until_the_person_has_chosen(one):
    one.controller.ask()
    assert (one.state.stopping, one.state.phase) == (True, Phase.LEARNING)
    one.controller.go_on()
    assert not one.state.stopping
    one.controller.ask()
    one.controller.discard()
    assert one.state.message.text == "Cancelled: model and mask are as they were."
    assert (one.state.stopping, one.state.phase) == (False, Phase.READY)
    Job.gate.set()
    one.turn()
    assert one.state.result is None


def test_the_best_so_far_is_compared(one):
    while not one.calls:
        threading.Event().wait(0.01)
    one.turn()
    one.controller.ask()
    one.controller.keep_best()
    assert (one.state.stopping, one.state.message.text) == (False, "Comparing…")
    one.end(None)
    assert one.state.result.tuned is OUTCOME


@pytest.mark.parametrize(
    ("ending", "line"),
    [
        (
            FineTuneOutcome(b"", 0.0, steps=0, seconds=0.4),
            "The time was too short to learn anything (0 steps in 0.4 s)",
        ),
        (FineTuneOutcome(b"", 0.0, 1, 2.0, note="the model forgot."), "The model forgot (1 step in 2.0 s): model and"),
        (FineTuneOutcome(b"", 0.0, 9, 2.0), "Nothing better was found (9 steps in 2.0 s): model and mask are as they"),
        (ScanError("no slice: review one"), "no slice: review one; model and mask are as they were"),
        (OSError("disk"), "the scan cannot be read (disk): check its file; model and mask are as they were"),
    ],
)
def test_without_a_better_model_all_stays_and_it_says_why(one, ending, line):
    one.end(ending)
    assert one.state.message.text.startswith(line)
    assert (one.state.phase, one.state.result) == (Phase.READY, None)


def test_where_the_time_was_short_the_time_that_is_needed_is_offered(one):
    one.end(OUTCOME)
    assert one.longer == []
    Job.gate.clear()
    one.controller.start(ORDER)
    one.end(replace(OUTCOME, needed=40.0))
    assert one.longer == [40.0]


def test_the_next_one_is_said_to_take_as_long_as_the_last(one):
    one.end(replace(OUTCOME, seconds=12.0, needed=40.0))
    assert one.state.estimate == 40.0
    one.controller.estimate(ENTRY, replace(SETTINGS, device="cuda"), "", measure=False)
    assert one.state.estimate == 0.0, "another device is another matter"
    one.controller.estimate(ENTRY, SETTINGS, "", measure=False)
    assert one.state.estimate == 40.0
    Job.gate.clear()
    one.controller.start(ORDER)
    assert one.state.message.text == (
        f"Reading the reviewed slices… It takes about 40 s on this computer, less for one or two slices. {ORDER.note}"
    )
    one.end(OUTCOME)


@pytest.mark.parametrize(("answers", "said", "asked"), [((0.0, 31.4), 31.0, 2), ((31.4,), 31.0, 1), ((None,), 0.0, 1)])
def test_how_long_it_takes_is_measured_once_before_the_first(one, monkeypatch, answers, said, asked):
    one.end(ScanError("nothing learnt"))
    left, names = list(answers), []

    def submit(name, model, settings, on_event, scheduler):
        names.append((name, settings))
        seconds = left.pop(0)
        on_event(jobs.Done(seconds) if seconds is not None else jobs.Failed(ScanError("no")))
        return SimpleNamespace(cancel=lambda: None)

    monkeypatch.setattr(jobs, "submit", submit)
    for _ in range(3):
        one.controller.estimate(ENTRY, SETTINGS, "", measure=True)
        if one.controller._measuring.task is not None:
            one.controller._measuring.task.thread.join(20)
        one.turn()
    assert one.state.estimate == said
    assert names == [("finetune_time", SETTINGS)] * asked
    assert one.state.phase is Phase.READY, "nobody waits for it"


def test_without_an_estimate_no_seconds_are_promised(one):
    one.turn()
    task = one.controller._background.task
    one.controller._on_progress(one.controller._job, Progress(30, 80, "looking at the slices", {"step": 0}))
    assert one.state.message.text == "Looking at the slices…"
    one.controller._on_progress(one.controller._job, Progress(40, 80, "learning", {"step": 1, "loss": 0.5}))
    assert one.state.message.text == "Learning: step 1…"
    assert task.wanted


def test_another_case_drops_what_was_learnt(one):
    one.state.close()
    one.end(OUTCOME)
    assert (one.state.result, one.controller.running) == (None, False)
