"""The demo opens a real window under a virtual screen of its own, in a process of its own."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from napari_unet_tumour import scans
from napari_unet_tumour.cli import demo, main
from napari_unet_tumour.engine import model, networks
from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.scans.scan import Scan

needs_xvfb = pytest.mark.skipif(sys.platform != "linux" or not shutil.which("Xvfb"), reason="needs Xvfb")


def run(*words, **more):
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")} | more
    command = [sys.executable, "-m", "napari_unet_tumour", "demo", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=170, check=False, env=environment)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The name of a real, if untrained, small network in a models folder of its own."""
    monkeypatch.setenv(registry.HOME, str(tmp_path / "home"))
    registry.user_models_dir().mkdir(parents=True)
    spec = ModelSpec("tiny", "unet", {"channels": [4, 8], "num_res_units": 0}, size=64, description="untrained")
    torch.manual_seed(1)
    net = networks.build("unet", 1, 1, **spec.arguments)
    model.save(registry.user_models_dir() / "tiny.safetensors", spec, net.state_dict())
    return "tiny"


@pytest.mark.slow
@needs_xvfb
def test_without_a_screen_it_shows_the_window_and_writes_what_segment_writes(tiny, tmp_path, blob):
    volume = np.stack([blob, np.roll(blob, 9), blob.T])
    path = scans.write_mask(tmp_path / "head.nii.gz", volume, Scan(volume, "zyx", np.diag([5, 1, 1, 1.0]), "mm"), ())
    done = run(path, "--model", tiny, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for words in ("opened head: 3 x 64 x 64 pixels", "segmented 3 slices in", "with tiny (", "slices/s", "written: "):
        assert words in done.stdout
    shot = np.asarray(Image.open(tmp_path / "out" / "screenshot.png"))
    assert shot.shape[0] > 500
    assert np.unique(shot[..., 0]).size > 50, "an empty screen would have few colours"
    assert main(["segment", str(path), "--model", tiny, "--out", str(tmp_path)]) == 0
    ours, theirs = (scans.read(folder / "head_mask.nii.gz") for folder in (tmp_path / "out", tmp_path))
    np.testing.assert_array_equal(ours.array, theirs.array)
    np.testing.assert_allclose(ours.affine, theirs.affine)


@needs_xvfb
def test_a_scan_that_cannot_be_read_is_one_line(tiny, tmp_path):
    done = run(tmp_path / "gone.nii.gz", "--model", tiny, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: gone.nii.gz does not exist")
    assert "Traceback" not in done.stderr


def test_an_unknown_model_is_an_error_before_any_window(tiny, tmp_path, capsys):
    assert main(["demo", "--headless", "--model", "nope", "--out", str(tmp_path / "out")]) == 1
    assert "no model is called 'nope'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is a screen")
def test_without_xvfb_it_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UNetTumourError, match="apt-get install xvfb"), demo.virtual_screen():
        pass


@needs_xvfb
def test_the_virtual_screen_ends_with_its_use():
    with demo.virtual_screen() as screen:
        socket = f"/tmp/.X11-unix/X{screen.removeprefix(':')}"
        assert os.path.exists(socket)
    assert not os.path.exists(socket)
