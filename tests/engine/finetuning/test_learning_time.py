"""How long fine-tuning takes is said; the network learns where something judges it; the file keeps the corrections."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.corrections.reviewed import with_stacks
from napari_unet_tumour.corrections.stack import stacks_of
from napari_unet_tumour.engine.finetuning import context, habit
from napari_unet_tumour.engine.finetuning import finetune as tuning
from napari_unet_tumour.engine.finetuning.context import prepare_context
from napari_unet_tumour.engine.finetuning.finetune import _iter_loss, finetune, iter_finetune
from napari_unet_tumour.engine.finetuning.hyperparameters import HyperParameters
from napari_unet_tumour.engine.model import load
from napari_unet_tumour.settings import FinetuneSettings

SETTINGS = FinetuneSettings(seconds=60, device="cpu")


@pytest.fixture(scope="module")
def volume(draw):
    """Slices (9, 1, H, W) of one scan with a lesion in slices 2 to 6, and their masks."""
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[: draw.side, : draw.side]
    head = np.hypot(rows - 32, columns - 32) < 28
    lesion = np.stack([(np.hypot(rows - 30, columns - 36) < 8) & (2 <= n <= 6) for n in range(9)])
    return (head * (80 + rng.normal(0, 4, lesion.shape)) + 90 * lesion)[:, None].astype(np.float32), lesion * np.uint8(
        1
    )


@pytest.fixture(scope="module")
def corrected(volume, draw):
    """Return a function that gives corrected slices."""
    one = draw.corrections(1)[0]
    return lambda *numbers, held_out=(): [
        replace(one, image=volume[0][n], mask=volume[1][n], slice=n, held_out=n in held_out) for n in numbers
    ]


def stacks(volume, numbers):
    planes = volume[0]
    layout = replace(layout_of((9, *planes.shape[2:])), slice_distance=1.0)
    return stacks_of("scan", layout, (3.0, 3.0, 6.0), numbers, lambda some: planes[some])


def test_the_file_keeps_what_was_learnt_from_and_no_slice_that_is_scored(lite, volume, corrected):
    given = corrected(4, 5, 6, held_out=(6,))
    tuned = finetune(lite, with_stacks(given, stacks(volume, [4, 5])), replace(SETTINGS, steps=8))
    spec = load(tuned.data).spec
    assert [[*one["masks"]] for one in spec.corrected] == [["4", "5"]]


def test_how_long_it_takes_is_said_and_it_ends_when_all_is_learnt(small_model, corrected, draw):
    recipe = HyperParameters(most=6)
    ticks, tuned = draw.finished(iter_finetune(small_model, corrected(4, 5), SETTINGS, recipe=recipe))
    assert tuned.steps == 6
    assert any(tick.message.startswith("learning, 6 steps in about") for tick in ticks)
    assert all(0 <= tick.done <= tick.total for tick in ticks)
    assert "fitted" not in tuned.note


def test_a_time_that_was_too_short_is_said(small_model, corrected, draw):
    recipe = HyperParameters(most=5000)
    _, tuned = draw.finished(iter_finetune(small_model, corrected(4, 5), replace(SETTINGS, seconds=1), recipe=recipe))
    assert 0 < tuned.steps < 5000
    assert f"{tuned.steps} of 5000 steps fitted into the time" in tuned.note or not tuned.data
    # Most of the time went into steps, so all of them take about as many times as long.
    assert tuned.needed == pytest.approx(5000 / tuned.steps, rel=0.6)


def test_what_is_left_is_said_once_it_was_measured_and_follows_the_pace(small_model, corrected, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(context.time, "monotonic", lambda: clock.now)
    desk = prepare_context(small_model, corrected(4), replace(SETTINGS, seconds=100), None, (), None, HyperParameters())
    learner = SimpleNamespace(taken=0, fresh=[])
    monkeypatch.setattr(tuning, "_steps_of", lambda desk, learner: 10)

    def steps(desk, learner, total):
        for n in range(total):
            clock.now += 2.0 if n < 6 else 6.0  # another program begins to work
            yield 0.5

    monkeypatch.setattr(tuning, "_iter_moved", steps)
    monkeypatch.setattr(tuning, "WeightFineTuner", SimpleNamespace)
    left, said = [], []
    for n, loss in enumerate(_iter_loss(desk, learner), start=1):
        tick = tuning._tick(desk, n, "learning", loss=loss)
        left.append(tick.values.get("seconds_left"))
        said.append(tick.message)
    assert left[:2] == [None, None]
    judging = tuning.JUDGING * 2.0
    assert left[2:6] == [14 + judging, 12 + judging, 10 + judging, 8 + judging]
    assert left[6] > left[5], "it takes longer, and that is said"
    assert said[2] == "learning, 10 steps in about 28 s"
    assert tuning._needed(desk, learner, 10) == 0
    assert tuning._needed(desk, learner, 5) == math.ceil(10 * desk.estimate.pace / tuning.LEARNING)


def test_how_long_it_takes_is_measured_without_learning_to_the_end(small_model, lite, draw):
    for model in (small_model, lite):
        ticks, seconds = draw.finished(tuning.iter_time(model, replace(SETTINGS, seconds=1)))
        assert seconds > 0
        assert all("seconds_left" not in tick.values for tick in ticks)


@pytest.fixture
def sees_more(monkeypatch):
    """Let the network outline more than the tumour, whatever its weights, so that there is a habit to learn."""

    def answered(model, slices, settings):
        found = []
        for one in slices:
            grown = ndimage.binary_dilation(one.mask == 1, iterations=3)
            found.append((one, np.round(255 * ndimage.gaussian_filter(grown.astype(float), 1)).astype(np.uint8)[None]))
        yield
        return found

    monkeypatch.setattr(habit, "_iter_answered", answered)


def test_where_nothing_judges_it_the_network_stays_and_its_outlines_follow(lite, volume, corrected, sees_more):
    found = finetune(lite, with_stacks(corrected(4, 5), stacks(volume, [4, 5])), SETTINGS)
    made = load(found.data)
    assert (found.steps, found.blend) == (1, 0.0)
    assert "from the third corrected slice on" in found.note
    assert made.spec.arguments["experts"] == 0
    assert len(made.spec.habit["scans"]) == 1
    state = made.net.state_dict()
    assert all(torch.allclose(state[name], one, rtol=1e-2, atol=1e-3) for name, one in lite.net.state_dict().items())
    # A slice that is kept for scoring judges it, and so it learns; so it does where steps are asked for.
    three = with_stacks(corrected(4, 5, 6, held_out=(6,)), stacks(volume, [4, 5]))
    assert finetune(lite, three, replace(SETTINGS, seconds=5)).steps > 1
    assert finetune(lite, three[:2], replace(SETTINGS, steps=2)).steps == 2
