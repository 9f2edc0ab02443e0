"""Train the network that answers clicks and put it into a model's file; the model's own weights stay as they are.

    nice -n 10 python training/clicks.py --data CHENG --second READER --work DIR --minutes 76 --out MODEL.safetensors
    python training/clicks.py --work DIR --model OTHER.safetensors --out MODEL.safetensors     (only put it into a file)

CHENG has images/, masks/ and cases.csv (file, person, split), READER train/masks/. The work folder keeps the automatic
answers to the training slices, the checkpoint and the log; the same command goes on where it stopped. Every ninth
train person is left out (--leave-out), to choose by.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from napari_unet_tumour import load_model
from napari_unet_tumour.engine import model as models
from napari_unet_tumour.engine.clicks.scenes import Slices
from napari_unet_tumour.engine.clicks.training import ClickLearner, ClickTraining
from napari_unet_tumour.engine.inference.accelerate import accelerated
from napari_unet_tumour.engine.inference.preprocess import to_working_planes
from napari_unet_tumour.engine.networks.click_net import WIDTHS, ClickNet

AT_ONCE = 4


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, help="training slices; left out, nothing is trained")
    ask.add_argument("--second", type=Path, help="a second reader's masks")
    ask.add_argument("--work", type=Path, required=True)
    ask.add_argument("--model", default="default", help="whose automatic answers are seen, and whose file gets it")
    ask.add_argument("--minutes", type=float, default=76.0)
    ask.add_argument("--threads", type=int, default=1, help="of a convolution; there are two replicas beside it")
    ask.add_argument("--leave-out", type=int, default=9, metavar="N", help="every n-th person; 0 for none")
    ask.add_argument("--out", type=Path, help="the model file to write")
    given = ask.parse_args()
    torch.set_num_threads(given.threads)
    given.work.mkdir(parents=True, exist_ok=True)
    base = load_model(given.model)
    if given.data is not None:
        learner = ClickLearner(slices_of(given, base), ClickTraining(minutes=given.minutes), given.work)
        for row in learner.iter_fit():
            print(" ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
    if given.out is not None:
        print(f"{given.out}: {put(given.work, base, given.out)}")


def slices_of(given: argparse.Namespace, base: models.Model) -> Slices:
    """Read the training slices of the persons that are not left out, and what the network says of each."""
    with (given.data / "cases.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    persons = sorted({row["person"] for row in rows})
    left_out = set(persons[:: given.leave_out]) if given.leave_out else set()
    images = np.stack([grey(given.data / "images" / row["file"]) for row in rows])
    first = np.stack([grey(given.data / "masks" / row["file"]) >= 128 for row in rows])
    second = first.copy()
    for n, row in enumerate(rows):
        path = given.second / "train/masks" / row["file"] if given.second else None
        if path is not None and path.exists():
            second[n] = grey(path) >= 128
    answers = answers_to(images, base, given.work / "answers.npy")
    use = np.array([row["person"] not in left_out for row in rows])
    masks = (first[use].astype(np.uint8), second[use].astype(np.uint8))
    return Slices(images[use], masks, answers[use], np.ones(int(use.sum()), bool))


def grey(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"))


def answers_to(images: np.ndarray, base: models.Model, path: Path) -> np.ndarray:
    """Return the network's answers to slices, two thirds of them degraded: it has learnt these slices by heart."""
    if path.exists():
        return np.load(path)
    rng = np.random.default_rng(0)
    run, found = accelerated(base, torch.device("cpu")), np.zeros_like(images)
    for start in range(0, len(images), AT_ONCE):
        part = images[start : start + AT_ONCE]
        if start // AT_ONCE % 3:
            part = np.stack([degraded(one, rng) for one in part])
        planes = to_working_planes(part[:, None], base.spec)
        found[start : start + AT_ONCE] = planes.back(run.probability(planes.working, False))()[:, 0]
        if start % 100 == 0:
            print(f"automatic answers: {start} of {len(images)}", flush=True)
    np.save(path, found)
    return found


def degraded(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a slice as a worse scanner might show it."""
    size = image.shape[0]
    seen = image.astype(np.float32) / 255
    if rng.random() < 0.7:
        seen = seen ** np.exp(rng.uniform(-0.9, 0.9))
    if rng.random() < 0.4:
        seen = ndimage.gaussian_filter(seen, rng.uniform(0.6, 2.5))
    if rng.random() < 0.5:
        seen = seen + rng.normal(0, rng.uniform(0.02, 0.12), seen.shape)
    if rng.random() < 0.5:
        seen = seen * np.exp(ndimage.zoom(rng.normal(0, 0.5, (4, 4)), size / 4, order=3))
    if rng.random() < 0.2:
        seen = np.sin(np.clip(seen, 0, 1) * np.pi * rng.uniform(0.5, 0.9))
    if rng.random() < 0.3:
        seen = ndimage.zoom(ndimage.zoom(seen, 1 / 3, order=1), 3, order=1)
        seen = np.pad(seen[:size, :size], [(0, max(0, size - side)) for side in seen.shape], mode="edge")
    return np.clip(seen, 0, 2).astype(np.float32)


def put(work: Path, base: models.Model, out: Path) -> str:
    """Write a model's file with the trained click network in it; return its hash."""
    net = ClickNet()
    net.load_state_dict(torch.load(work / "checkpoint.pt", weights_only=True)["mean"])
    spec = replace(base.spec, clicks={"widths": list(WIDTHS)})
    models.save(out, spec, base.net.state_dict(), clicks=net.state_dict())
    return models.load(out).hash


if __name__ == "__main__":
    main()
