"""A model whose answer is known: a pixel of an 8-bit image is tumour where it is brighter than 127."""

import numpy as np
import pytest
import torch
from torch import nn

from napari_unet_tumour import shelf
from napari_unet_tumour.engine import model, networks
from napari_unet_tumour.spec import ModelSpec


def brightness(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1))


@pytest.fixture
def bright(tmp_path, monkeypatch):
    """The name on the shelf of that model; the shelf holds nothing else."""
    monkeypatch.setitem(networks.NETWORKS, "brightness", brightness)
    monkeypatch.setattr(shelf, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv(shelf.HOME, str(tmp_path / "home"))
    spec = ModelSpec("bright", "brightness", normalisation="divide-by-255", size=64, channels=("grey",))
    weights = {"0.weight": torch.full((1, 1, 1, 1), 200.0), "0.bias": torch.tensor([-100.0])}
    shelf.own_folder().mkdir(parents=True)
    model.save(shelf.own_folder() / "bright.safetensors", spec, weights)
    return "bright"


@pytest.fixture
def blob():
    """(64, 64) uint8: dark noise, and a bright piece of 10 x 20 pixels off the middle."""
    image = np.random.default_rng(0).integers(0, 60, (64, 64)).astype(np.uint8)
    image[12:22, 30:50] = 220
    return image
