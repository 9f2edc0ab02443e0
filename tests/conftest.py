"""Fixtures of all tests: a separate home folder, and the real scans if they are available."""

import os
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Before anything reads it: tests never touch the models, settings and journals of the person who runs them.
os.environ["NAPARI_UNET_TUMOUR_HOME"] = tempfile.mkdtemp(prefix="napari-unet-tumour-tests-")

# A run in the background ignores Ctrl-C, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine draws examples slowly; that says nothing about the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

SCANS = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_scans() -> Path:
    """Folder of the real scans (see CONTRIBUTING.md); the test is skipped where it is absent."""
    if not SCANS.is_dir():
        pytest.skip(f"no real scans at {SCANS}")
    return SCANS


@pytest.fixture
def bright(tmp_path, monkeypatch):
    """Name of an installed model with a known prediction: in an 8-bit image, pixels brighter than 127 are tumour."""
    import torch
    from torch import nn

    from napari_unet_tumour.engine import model, networks
    from napari_unet_tumour.models import registry
    from napari_unet_tumour.models.spec import ModelSpec

    def brightness(in_channels: int, out_channels: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1))

    monkeypatch.setitem(networks.NETWORKS, "brightness", brightness)
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv(registry.HOME, str(tmp_path / "home"))
    spec = ModelSpec("bright", "brightness", normalisation="divide-by-255", size=64, channels=("grey",))
    weights = {"0.weight": torch.full((1, 1, 1, 1), 200.0), "0.bias": torch.tensor([-100.0])}
    registry.user_models_dir().mkdir(parents=True)
    model.save(registry.user_models_dir() / "bright.safetensors", spec, weights)
    return "bright"


@pytest.fixture
def blob():
    """(64, 64) uint8: dark noise, and a bright piece of 10 x 20 pixels off the middle."""
    image = np.random.default_rng(0).integers(0, 60, (64, 64)).astype(np.uint8)
    image[12:22, 30:50] = 220
    return image
