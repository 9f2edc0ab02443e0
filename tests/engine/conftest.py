from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_unet_tumour.base.steps import exhaust as run_to_end
from napari_unet_tumour.engine import networks
from napari_unet_tumour.engine.model import Model, from_state
from napari_unet_tumour.models.spec import ModelSpec


@pytest.fixture(scope="session")
def small_spec() -> ModelSpec:
    return ModelSpec("small", "dynunet", {"filters": [8, 16, 32]}, size=64)


@pytest.fixture(scope="session")
def small_state(small_spec: ModelSpec) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    net = networks.build("dynunet", 1, 1, **small_spec.arguments)
    for x in torch.randn(8, 4, 1, 64, 64):
        net(x)
    return net.state_dict()


@pytest.fixture(scope="session")
def small_model(small_spec: ModelSpec, small_state: dict[str, torch.Tensor]) -> Model:
    """A DynUNet with random weights: every pixel's answer depends on its surroundings."""
    return from_state(small_spec, small_state)


def head(rng, side=64, radius=7):
    """Return a grey head with one bright disc, and the disc's mask, both (side, side) uint8."""
    y, x = np.mgrid[:side, :side]
    inside = (y - side / 2) ** 2 / 0.2 + (x - side / 2) ** 2 / 0.14 < side**2
    image = inside * (70 + 20 * np.sin(x / 5 + rng.uniform(0, 6))) + rng.normal(0, 4, (side, side))
    at = rng.integers(side // 3, 2 * side // 3, 2)
    disc = (y - at[0]) ** 2 + (x - at[1]) ** 2 < radius**2
    image[disc] += 110
    return np.clip(image, 0, 255).astype(np.uint8), disc.astype(np.uint8) * 255


@pytest.fixture(scope="session")
def draw_head():
    """Draw one head: draw_head(rng) -> image, mask (64, 64) uint8."""
    return head


def exhaust(steps):
    """Return the ticks and the result of a generator job."""
    ticks = []
    result = run_to_end(steps, ticks.append)
    return ticks, result


@pytest.fixture(scope="session", name="exhaust")
def _exhaust():
    """Run a generator job: exhaust(steps) -> ticks, result."""
    return exhaust
