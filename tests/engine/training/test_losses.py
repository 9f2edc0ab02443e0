"""Losses against formulas written out by hand."""

import pytest
import torch

from napari_unet_tumour.engine.training.losses import LOSSES, ce, dice, loss_for
from napari_unet_tumour.errors import TrainingError


def one_label(seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(3, 1, 16, 16, generator=rng), (torch.rand(3, 1, 16, 16, generator=rng) > 0.8).float()


def several(seed=0):
    rng = torch.Generator().manual_seed(seed)
    index = torch.randint(4, (3, 16, 16), generator=rng)
    truth = torch.stack([(index == n).float() for n in (1, 2, 3)], 1)
    return torch.randn(3, 4, 16, 16, generator=rng), truth, index


def test_dice_is_the_mean_of_slices_and_batch():
    logits, truth = one_label()
    p = logits.sigmoid()
    inter, size = (p * truth).sum((1, 2, 3)), p.sum((1, 2, 3)) + truth.sum((1, 2, 3))
    slices = (1 - (2 * inter + 50) / (size + 50)).mean()
    batch = 1 - (2 * inter.sum() + 1) / (size.sum() + 1)
    assert dice(logits, truth) == pytest.approx(float((slices + batch) / 2), abs=1e-6)


def test_categorical_cross_entropy_is_torchs():
    logits, truth, index = several()
    assert ce(logits, truth) == pytest.approx(float(torch.nn.functional.cross_entropy(logits, index)), abs=1e-6)


@pytest.mark.parametrize("name", ["bce", "dice", "bce-dice"])
def test_right_answers_cost_nothing_and_wrong_ones_much(name):
    _, truth = one_label()
    sure = (truth * 2 - 1) * 30
    assert LOSSES[name](sure, truth) < 1e-3
    assert LOSSES[name](-sure, truth) > 0.5


@pytest.mark.parametrize("name", ["dice", "ce", "ce-dice"])
def test_the_same_for_several_labels(name):
    _, truth, index = several()
    sure = torch.nn.functional.one_hot(index, 4).permute(0, 3, 1, 2) * 30.0
    assert LOSSES[name](sure, truth) < 1e-3
    assert LOSSES[name](-sure, truth) > 0.5


def test_painting_nothing_is_wrong_also_where_most_labels_are_absent():
    truth = torch.zeros(2, 3, 32, 32)
    truth[0, 0, :24, :24] = truth[1, 2, :24, :24] = 1
    nothing = torch.zeros(2, 4, 32, 32)
    nothing[:, 0] = 30.0
    slices = 1 - 50 / (24 * 24 + 50)
    batch = (2 * (1 - 1 / (24 * 24 + 1)) + 0) / 3
    assert dice(nothing, truth) == pytest.approx((slices + batch) / 2, abs=1e-3)


def test_sums_are_sums():
    logits, truth = one_label()
    assert LOSSES["bce-dice"](logits, truth) == LOSSES["bce"](logits, truth) + LOSSES["dice"](logits, truth)


def test_an_empty_slice_with_nothing_painted_costs_nothing():
    assert dice(torch.full((2, 1, 16, 16), -30.0), torch.zeros(2, 1, 16, 16)) < 1e-3


def test_losses_that_do_not_fit_the_labels():
    assert loss_for("auto", 1) is LOSSES["bce-dice"]
    assert loss_for("auto", 3) is LOSSES["ce-dice"]
    with pytest.raises(TrainingError, match="choose --loss ce"):
        loss_for("bce", 3)
    with pytest.raises(TrainingError, match="choose --loss bce"):
        loss_for("ce-dice", 1)
