from __future__ import annotations

import pytest
import torch

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
