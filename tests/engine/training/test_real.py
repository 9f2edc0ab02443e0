"""Training on real slices: the loss falls, the three tumour types are distinguished better than by chance."""

import csv
import os
from dataclasses import replace

import pytest
import torch

from napari_unet_tumour.engine.training.train import iter_train
from napari_unet_tumour.settings import TrainSettings

SMALL = TrainSettings(
    arguments={"filters": [16, 32, 64, 128]}, size=64, epochs=14, batch=8, ema=0.98, learning_rate=4e-3, augment=False
)


@pytest.fixture(scope="module")
def subset(real_scans, tmp_path_factory):
    """Four slices of 12 train persons of each tumour type, as links."""
    source, folder = real_scans / "cheng256", tmp_path_factory.mktemp("subset")
    with (source / "cases.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    chosen = []
    for kind in sorted({row["tumour"] for row in rows}):
        persons = sorted({row["person"] for row in rows if row["tumour"] == kind})[:12]
        for person in persons:
            chosen += [row for row in rows if row["person"] == person][:4]
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
        for row in chosen:
            os.symlink(source / kind / row["file"], folder / kind / row["file"])
    with (folder / "cases.csv").open("w", newline="") as file:
        out = csv.DictWriter(file, ["file", "person", "tumour"], extrasaction="ignore")
        out.writeheader()
        out.writerows(chosen)
    return folder


def fit(settings, subset, out, exhaust):
    steps = iter_train(settings, subset / "images", subset / "masks", out, subset / "cases.csv")
    ticks, result = exhaust(steps)
    return [tick.values["row"] for tick in ticks if "row" in tick.values], result


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_tumours_are_found(subset, tmp_path, exhaust):
    log, result = fit(SMALL, subset, tmp_path / "m.safetensors", exhaust)
    assert log[-1]["loss"] < log[0]["loss"] - 0.3
    assert result.scores["dice_mean"] > 0.05


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_three_types_as_classes(subset, tmp_path, exhaust):
    log, result = fit(replace(SMALL, classes="tumour"), subset, tmp_path / "m.safetensors", exhaust)
    from napari_unet_tumour.engine.model import load

    model = load(result.path)
    assert model.spec.labels == ("background", "glioma", "meningioma", "pituitary")
    assert model.net(torch.zeros(1, 1, 96, 96)).shape[1] == 4
    assert log[-1]["loss"] < log[0]["loss"] - 0.3
    assert result.scores["dice_mean"] > 0.05
