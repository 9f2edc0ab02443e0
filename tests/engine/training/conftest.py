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


def head(rng, side=64, radius=7):
    """Return a grey head with one bright disc, and the disc's mask, both (side, side) uint8."""
    y, x = np.mgrid[:side, :side]
    inside = (y - side / 2) ** 2 / 0.2 + (x - side / 2) ** 2 / 0.14 < side**2
    image = inside * (70 + 20 * np.sin(x / 5 + rng.uniform(0, 6))) + rng.normal(0, 4, (side, side))
    at = rng.integers(side // 3, 2 * side // 3, 2)
    disc = (y - at[0]) ** 2 + (x - at[1]) ** 2 < radius**2
    image[disc] += 110
    return np.clip(image, 0, 255).astype(np.uint8), disc.astype(np.uint8) * 255


def write_folder(folder, persons=8, slices=3, side=64, seed=0):
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
def folder(tmp_path):
    """24 slices of 8 persons, 64 x 64."""
    return write_folder(tmp_path / "data")


@pytest.fixture
def tiny():
    """Settings of a network that trains in a second."""
    return TrainSettings(**TINY)


@pytest.fixture
def make_folder(tmp_path):
    """Write another folder: make_folder(name, persons=..., slices=..., side=...)."""
    return lambda name, **how: write_folder(tmp_path / name, **how)


def exhaust(steps):
    """Return the ticks and the result of a generator job."""
    ticks = []
    while True:
        try:
            ticks.append(next(steps))
        except StopIteration as end:
            return ticks, end.value


@pytest.fixture(name="exhaust")
def _exhaust():
    return exhaust


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """One training that several tests look at: (folder, model file, ticks, result)."""
    folder = write_folder(tmp_path_factory.mktemp("trained") / "data", persons=12, slices=4)
    settings = TrainSettings(**{**TINY, "epochs": 8, "lesion_removed_fraction": 0.2})
    out = folder.parent / "model.safetensors"
    ticks, result = exhaust(iter_train(settings, folder / "images", folder / "masks", out, folder / "cases.csv"))
    return folder, out, ticks, result


@pytest.fixture
def draw_head():
    """Draw one head: draw_head(rng) -> image, mask (64, 64) uint8."""
    return head
