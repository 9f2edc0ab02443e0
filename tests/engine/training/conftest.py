"""Small drawn heads with bright discs as tumours, in the layout that `train` reads."""

import csv

import numpy as np
import pytest
from PIL import Image

from napari_unet_tumour.engine.training.train import iter_train
from napari_unet_tumour.settings import TrainSettings

TINY = {
    "network": "dynunet",
    "arguments": {"filters": [4, 8, 8]},
    "size": 64,
    "epochs": 2,
    "batch": 4,
    "ema": 0.5,
    "precision": "float32",
    "device": "cpu",
}


def write_folder(folder, head, persons=8, slices=3, side=64, seed=0):
    """Write images/, masks/ and cases.csv; return the folder."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    with (folder / "cases.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "person", "tumour"])
        for person in range(persons):
            for n in range(slices):
                name = f"{person * slices + n}.png"
                image, mask = head(rng, side, 5 + 2 * (person % 3))
                Image.fromarray(image).save(folder / "images" / name)
                Image.fromarray(mask).save(folder / "masks" / name)
                table.writerow([name, f"P{person}", ("glioma", "meningioma")[person % 2]])
    return folder


@pytest.fixture
def folder(tmp_path, draw_head):
    """24 slices of 8 persons, 64 x 64."""
    return write_folder(tmp_path / "data", draw_head)


@pytest.fixture
def tiny():
    """Settings of a network that trains in a second."""
    return TrainSettings(**TINY)


@pytest.fixture
def make_folder(tmp_path, draw_head):
    """Write another folder: make_folder(name, persons=..., slices=..., side=...)."""
    return lambda name, **how: write_folder(tmp_path / name, draw_head, **how)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, draw_head, exhaust):
    """One training that several tests look at: (folder, model file, ticks, result)."""
    folder = write_folder(tmp_path_factory.mktemp("trained") / "data", draw_head, persons=12, slices=4)
    settings = TrainSettings(**{**TINY, "epochs": 8, "lesion_removed_fraction": 0.2})
    out = folder.parent / "model.safetensors"
    ticks, result = exhaust(iter_train(settings, folder / "images", folder / "masks", out, folder / "cases.csv"))
    return folder, out, ticks, result
