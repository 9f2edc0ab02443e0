"""A small lite-unet that knows its training slices, and scans of another style to correct."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.corrections import UNSURE, ReviewedSlice
from napari_unet_tumour.engine import networks
from napari_unet_tumour.engine.model import from_state
from napari_unet_tumour.engine.normalisation import robust_zscore
from napari_unet_tumour.engine.training.feature_statistics import iter_feature_statistics
from napari_unet_tumour.models.spec import ModelSpec

SIDE = 64


def drawn(seed, bright=90.0, coarse=False, lesion=True):
    """Return a grey head (1, SIDE, SIDE) float32 and its mask uint8; `coarse` is the style of another scanner."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    head = (y - 32) ** 2 + (x - 32) ** 2 < 28**2
    texture = np.kron(rng.normal(0, 14, (8, 8)), np.ones((8, 8))) if coarse else rng.normal(0, 4, (SIDE, SIDE))
    image = head * (80 + texture)
    at = rng.integers(22, 42, 2)
    disc = ((y - at[0]) ** 2 + (x - at[1]) ** 2 < 7**2) & lesion
    return (image + bright * disc)[None].astype(np.float32), disc.astype(np.uint8)


def corrections(count=4, held_out=(), first=100, coarse=True, **more):
    """Return corrected slices of one drawn scan."""
    return [
        ReviewedSlice("scan", n, *drawn(first + n, coarse=coarse, **more), held_out=n in held_out) for n in range(count)
    ]


def finished(steps):
    """Exhaust a generator; return its ticks and its result."""
    ticks = []
    result = exhaust(steps, ticks.append)
    return ticks, result


def acquainted(labels=("background", "tumour")):
    spec = ModelSpec("lite", "lite-unet", {"decoder": [16, 16, 12, 8, 8]}, ("grey",), labels, size=SIDE)
    torch.manual_seed(0)
    net = networks.build("lite-unet", 1, spec.out_channels, **spec.arguments)
    slices = robust_zscore(torch.from_numpy(np.stack([drawn(n)[0] for n in range(40)])))
    net.train()
    with torch.no_grad():
        for _ in range(20):
            net(slices)
        # A network that finds nothing yet.
        net.head.weight.mul_(0.1)
        net.head.bias[:] = torch.tensor([-3.0] if spec.out_channels == 1 else [3.0, *[0.0] * (len(labels) - 1)])
    _, (spec, state) = finished(
        iter_feature_statistics(spec, net.eval().state_dict(), lambda a, b: slices[a:b], len(slices))
    )
    return from_state(spec, state)


@pytest.fixture(scope="session")
def lite():
    return acquainted()


@pytest.fixture(scope="session")
def lite_of_two():
    return acquainted(("background", "core", "rim"))


@pytest.fixture(scope="session")
def draw():
    """What tests draw with."""
    return SimpleNamespace(drawn=drawn, corrections=corrections, finished=finished, side=SIDE)


@pytest.fixture
def unsure():
    """Return a function that marks a half of a correction's mask as not looked at."""

    def mark(one):
        mask = one.mask.copy()
        mask[:, SIDE // 2 :] = UNSURE
        return ReviewedSlice(one.scan, one.slice, one.image, mask, one.held_out)

    return mark
