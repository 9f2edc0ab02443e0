"""train on the command line: flags, settings files, exit codes, Ctrl-C."""

import csv
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from napari_unet_tumour import presets
from napari_unet_tumour.cli import main
from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.models import registry
from napari_unet_tumour.settings import TrainSettings, options_of

TINY = """
network = "dynunet"
size = 64
batch = 4
epochs = 2
ema = 0.0
precision = "float32"
[arguments]
filters = [4, 8, 8]
"""


@pytest.fixture
def folder(tmp_path):
    """20 squares of 5 persons, with settings.toml."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    with (tmp_path / "cases.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["file", "person"])
        for n in range(20):
            image = rng.integers(0, 60, (64, 64)).astype(np.uint8)
            mask = np.zeros((64, 64), np.uint8)
            at = rng.integers(5, 40, 2)
            mask[at[0] : at[0] + 16, at[1] : at[1] + 16] = 255
            Image.fromarray(np.maximum(image, mask // 2)).save(tmp_path / "images" / f"{n}.png")
            Image.fromarray(mask).save(tmp_path / "masks" / f"{n}.png")
            out.writerow([f"{n}.png", f"P{n // 4}"])
    (tmp_path / "settings.toml").write_text(TINY)
    return tmp_path


def words(folder, *more):
    return [
        "train", str(folder / "images"), str(folder / "masks"), "--cases", str(folder / "cases.csv"),
        "--settings", str(folder / "settings.toml"), "--out", str(folder / "m.safetensors"), *more,
    ]  # fmt: skip


def test_trains_prints_scores_and_the_model_can_be_used(folder, capsys):
    assert main(words(folder, "--epochs", "1")) == 0
    shown = capsys.readouterr()
    assert "dice_mean" in shown.out
    assert "report" in shown.out
    assert "split by person" in shown.err
    assert "pass 1: loss" in shown.err
    image = str(folder / "images" / "0.png")
    assert main(["segment", image, "--model", str(folder / "m.safetensors"), "--out", str(folder / "found")]) == 0
    assert (folder / "found" / "0_mask.png").exists()


def test_refusals_are_one_line_and_code_1(folder, capsys):
    (folder / "masks" / "3.png").unlink()
    assert main(words(folder)) == 1
    message = capsys.readouterr().err.strip().splitlines()
    assert len(message) == 1
    assert "3.png has no mask" in message[0]
    assert not (folder / "m.safetensors").exists()


def test_wrong_usage_is_code_2(folder):
    for more in (["--network", "transformer"], ["--epochs", "0"], ["--learning-rate", "fast"]):
        with pytest.raises(SystemExit) as end:
            main(words(folder, *more))
        assert end.value.code == 2


def test_summary_lists_layers_and_the_tutorials_parameters(capsys):
    assert main(["train", "-", "-", "--settings", "tutorial", "--summary"]) == 0
    shown = capsys.readouterr().out
    assert "31,043,521 trainable parameters" in shown
    assert "Conv2d" in shown
    assert "64 x 256 x 256" in shown


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for another process there")
def test_ctrl_c_keeps_the_best_and_says_so(folder):
    command = [sys.executable, "-W", "ignore", "-m", "napari_unet_tumour", *words(folder, "--epochs", "2000")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    while "best so far" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the best so far is kept in" in err.strip().splitlines()[-1]
    assert main(["models", "show", str(folder / "m.safetensors")]) == 0


def test_settings_files_are_read_and_checked(folder):
    assert presets.read_settings("tutorial").network == "tutorial-unet"
    assert presets.read_settings(folder / "settings.toml", epochs=7).epochs == 7
    for text, said in (
        ("speed = 3", "'speed', which does not exist"),
        ("epochs = 'many'", "must be int"),
        ("network = 'vit'", "choose one of"),
        ("size = 100", "multiple of 32"),
        ("stages = [[64, 8]]", "side, batch, epochs"),
        ("epochs = [", "not a settings file"),
    ):
        (folder / "bad.toml").write_text(text)
        with pytest.raises(TrainingError, match=said):
            presets.read_settings(folder / "bad.toml")
    with pytest.raises(TrainingError, match="cannot be read"):
        presets.read_settings("nowhere.toml")


def test_the_shipped_settings_are_the_shipped_networks():
    settings = presets.read_settings("shipped")
    entry = registry.find("default")
    assert settings.network == entry.spec.network == "lite-unet"
    assert settings.model_card["name"] == entry.name
    assert settings.progressive_stages[-1][0] == settings.size == entry.spec.size == 256


def test_every_network_and_normalisation_can_be_asked_for():
    from napari_unet_tumour.engine.networks import NETWORKS
    from napari_unet_tumour.engine.normalisation import NORMALISATIONS
    from napari_unet_tumour.engine.training.losses import LOSSES

    choices = {name: ask.choices for name, _, _, ask in options_of(TrainSettings)}
    assert set(choices["network"]) == set(NETWORKS)
    assert set(choices["normalisation"]) == set(NORMALISATIONS)
    assert set(choices["loss"]) == {"auto", *LOSSES}
