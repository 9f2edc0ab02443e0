"""Gates of experts: open for scans like the corrected one, closed for those like the training's."""

import pytest
import torch

from napari_unet_tumour.engine.finetuning.style_gate import gate_for

SIZE = 40


def usual(count, seed):
    """Return styles of slices like the training's: correlated, mean 0."""
    rng = torch.Generator().manual_seed(seed)
    mix = torch.eye(SIZE) + 0.3 * torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(9)) / SIZE**0.5
    return torch.randn(count, SIZE, generator=rng) @ mix


def opened(gate, styles):
    weight, bias = gate
    return (styles @ weight + bias).sigmoid()


@pytest.fixture(scope="module")
def precision():
    return torch.linalg.inv(torch.cov(usual(4000, 0).T))


@pytest.fixture(scope="module")
def shift():
    return 1.5 * torch.randn(SIZE, generator=torch.Generator().manual_seed(3))


def test_open_for_new_slices_of_the_same_kind_and_closed_for_the_trainings(precision, shift):
    gate = gate_for(usual(24, 1) + shift, precision, 0.1)
    assert opened(gate, usual(200, 2) + shift).mean() > 0.85
    assert opened(gate, usual(200, 3)).mean() < 0.05


def test_always_open_where_slices_look_like_the_trainings(precision):
    assert opened(gate_for(usual(24, 1), precision, 0.1), usual(50, 2)).min() > 0.99


def test_always_open_where_slices_are_few(precision, shift):
    assert opened(gate_for(usual(3, 1) + shift, precision, 0.1), usual(50, 2)).min() > 0.99
