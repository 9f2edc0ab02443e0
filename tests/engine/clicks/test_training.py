from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_unet_tumour.clicks.window import SIDE
from napari_unet_tumour.engine.clicks.scenes import Scenes, Slices
from napari_unet_tumour.engine.clicks.training import ClickLearner, ClickTraining, loss_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def slices() -> Slices:
    """Heads of noise with a bright disc each; the automatic answer misses every other one."""
    rng = np.random.default_rng(0)
    rows, columns = np.ogrid[:256, :256]
    images, masks, answers = (np.zeros((12, 256, 256), np.uint8) for _ in range(3))
    for n in range(12):
        row, column, radius = rng.uniform(70, 180), rng.uniform(70, 180), rng.uniform(8, 30)
        disc = np.hypot(rows - row, columns - column) <= radius
        images[n] = rng.integers(40, 90, (256, 256)) + 90 * disc
        masks[n], answers[n] = disc, 220 * disc * (n % 2)
    return Slices(images, (masks, masks), answers, np.ones(12, bool))


def test_scenes_are_of_every_kind_and_fit_the_network(slices: Slices) -> None:
    scenes = Scenes(slices, 0).batch(60)
    pictures = np.stack([scene.picture() for scene in scenes])
    assert pictures.shape == (60, 8, SIDE, SIDE)
    assert np.isfinite(pictures).all()
    assert any(scene.base is None for scene in scenes)
    assert any(scene.base is not None for scene in scenes)
    assert any(scene.region is not None for scene in scenes)
    assert any(not scene.truth.any() for scene in scenes)
    assert all(scene.add or scene.remove or scene.region is not None for scene in scenes)
    assert 0.02 < np.mean([scene.truth.mean() for scene in scenes if scene.truth.any()]) < 0.5


def test_first_clicks_are_mostly_right(slices: Slices) -> None:
    scenes = [scene for scene in Scenes(slices, 1).batch(80) if scene.add and scene.base is None and scene.truth.any()]
    inside = [scene.truth[int(scene.add[0][0]), int(scene.add[0][1])] for scene in scenes]
    assert np.mean(inside) > 0.8


def test_the_same_seed_makes_the_same_scenes(slices: Slices) -> None:
    first, again, other = (Scenes(slices, seed).batch(4) for seed in (0, 0, 1))
    assert all((a.picture() == b.picture()).all() for a, b in zip(first, again, strict=True))
    assert not all((a.picture() == b.picture()).all() for a, b in zip(first, other, strict=True))


def test_an_answer_is_clicked_on_where_it_is_wrong(slices: Slices) -> None:
    rng = np.random.default_rng(0)
    scene = next(one for one in Scenes(slices, 2).batch(20) if one.truth.any() and not one.remove)
    clicks = len(scene.add)
    scene.answered(np.zeros((SIDE, SIDE), np.float32), rng)
    assert len(scene.add) == clicks + 1
    assert scene.before is not None
    scene.answered(np.ones((SIDE, SIDE), np.float32), rng)
    assert len(scene.add) + len(scene.remove) == clicks + 2


def test_a_training_learns_and_goes_on_where_it_stopped(slices: Slices, tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = ClickTraining(minutes=1.0, batch=4, replicas=2)
    learner = ClickLearner(slices, settings, tmp_path)
    losses = [np.mean(learner.step(), 0)[0] for _ in range(6)]
    assert losses[-1] < losses[0]
    states = [one.net.state_dict() for one in learner.replicas]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0] if "num_batches" not in name)
    learner.save()
    again = ClickLearner(slices, settings, tmp_path)
    assert (again.steps, again.seconds) == (learner.steps, learner.seconds)
    assert all(torch.equal(a, b) for a, b in zip(again.mean.parameters(), learner.mean.parameters(), strict=True))
    assert torch.equal(next(again.replicas[0].net.parameters()), next(learner.replicas[0].net.parameters()))


def test_a_training_ends_with_its_time_and_leaves_checkpoint_and_log(slices: Slices, tmp_path: Path) -> None:
    learner = ClickLearner(slices, ClickTraining(minutes=0.01, batch=2, replicas=1), tmp_path)
    rows = list(learner.iter_fit())
    assert rows[-1]["minutes"] >= 0.01
    assert (tmp_path / "checkpoint.pt").exists()
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == len(rows)
    assert list(ClickLearner(slices, ClickTraining(minutes=0.01), tmp_path).iter_fit()) == []


def test_the_loss_is_small_for_the_truth_and_large_for_its_opposite() -> None:
    truth = torch.zeros(2, 1, 32, 32)
    truth[0, 0, 8:20, 8:20] = 1
    clicked = torch.zeros_like(truth)
    right, overlap = loss_of(20 * truth - 10, truth, clicked)
    wrong, _ = loss_of(10 - 20 * truth, truth, clicked)
    assert right < 0.01 < 5 < wrong
    assert overlap == pytest.approx(1)
    nearer, _ = loss_of(10 - 20 * truth, truth, torch.ones_like(truth))
    assert nearer > wrong
