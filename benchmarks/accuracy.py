"""Compare the shipped model with a plain MONAI BasicUNet and the tutorial's U-Net, on the same persons.

    python benchmarks/accuracy.py [--rows shipped,basic-unet,tutorial-unet] [--second-masks DIR] [--passes N]
        [--part whole|enhancing] [--every N] [--work DIR] [--json OUT]

All are scored on the val persons of the Cheng set, on the slices' own grid. The networks that are trained here see only
train persons, and as many images as the four rounds of the shipped model, or N epochs. The row "recipe" is the first
round of the shipped model with that number of epochs, for a comparison at the same number of images. The 95 % intervals
are a bootstrap over persons. Beside each network's scores stand those of two readers with each other: with one reader's
masks alone, a network cannot be seen to be better than that. --part enhancing scores the enhancing part of the row
"shipped", against the same masks. With --work the trainings are kept in that folder, and the same command continues
them after it was stopped or after --minutes. A second table has the time of a training step.
--quick trains for minutes on a few persons: it only shows that the script runs; its scores mean nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_unet_tumour import presets
from napari_unet_tumour.api.segment import settings_for
from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.engine import model
from napari_unet_tumour.engine.inference.memory import keeping_buffers
from napari_unet_tumour.engine.metrics.readers import compare_readers
from napari_unet_tumour.engine.metrics.summary import score_scan, summarise
from napari_unet_tumour.engine.training import test_scores
from napari_unet_tumour.engine.training.batches import epoch_plans
from napari_unet_tumour.engine.training.checkpoint import RunFiles
from napari_unet_tumour.engine.training.dataset import Dataset, iter_dataset
from napari_unet_tumour.engine.training.learner import Learner
from napari_unet_tumour.engine.training.network_summary import parameters_of
from napari_unet_tumour.engine.training.train import iter_train
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.scans import read_mask
from napari_unet_tumour.settings import SegmentSettings, TrainSettings

DATA = Path(__file__).parents[2] / "shared/data/cheng256"
SECOND = DATA.parent / "second_reader/val/masks"
ROUNDS = ("shipped", "shipped-polish", "shipped-long", "shipped-large")
# Measured once with the tutorial's own Keras code on two AVX-512 cores: 8.4 s a step of 2 images.
KERAS_MS = 4200.0
# As in MONAI's 2D tutorials: Adam 1e-3, Dice and cross-entropy, no schedule; without mirroring.
MONAI = TrainSettings(
    network="basic-unet",
    optimiser="adam",
    learning_rate=1e-3,
    weight_decay=0.0,
    grad_clip_norm=0.0,
    schedule="constant",
    batch=8,
    ema=0.0,
    augment=False,
    negative_share=0.0,
    loss="bce-dice",
    split="cases",
)


def main() -> None:
    given = arguments()
    with tempfile.TemporaryDirectory() as passing:
        work = given.work or Path(passing)
        work.mkdir(parents=True, exist_ok=True)
        folder = link(Path(passing) / "data", rows_of(given), given.data)
        settings = {
            "shipped": None,
            "recipe": recipe(given),
            "basic-unet": basic(given),
            "tutorial-unet": tutorial(given),
        }
        report: dict[str, Any] = {"quick": given.quick, "rows": [], "train_step": {}}
        for name in given.rows.split(","):
            report["rows"].append(row(name, settings[name], folder, work, given))
            print(line(report["rows"][-1]), flush=True)
    if not given.no_speed:
        report["train_step"] = speeds(given)
    print("\n" + table(report))
    if given.json:
        Path(given.json).write_text(json.dumps(report, indent=1))


def arguments() -> argparse.Namespace:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, default=DATA, help="folder with images/, masks/ and cases.csv")
    ask.add_argument("--second-masks", type=Path, metavar="DIR", help="a second reader's masks of the val persons")
    ask.add_argument("--rows", default="shipped,basic-unet,tutorial-unet")
    ask.add_argument("--model", default="default", help="the model of the row 'shipped'")
    ask.add_argument("--part", choices=("whole", "enhancing"), default="whole", help="what the row 'shipped' shows")
    ask.add_argument("--every", type=int, default=1, help="score only every n-th val slice")
    ask.add_argument("--passes", type=int, default=0, help="epochs of every training, 0 for those of the shipped model")
    ask.add_argument("--minutes", type=float, default=0, help="longest training of a row, 0 for no limit")
    ask.add_argument("--work", type=Path, metavar="DIR", help="keep the trainings here, and continue those here")
    ask.add_argument("--quick", action="store_true", help="few persons, small images, one epoch")
    ask.add_argument("--no-speed", action="store_true", help="do not measure the time of a training step")
    ask.add_argument("--json", metavar="OUT")
    return ask.parse_args()


def rows_of(given: argparse.Namespace) -> list[dict[str, str]]:
    with (given.data / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    if not given.quick:
        return rows
    few = {kind: persons(rows, "train", kind)[:5] + persons(rows, "val", kind)[:3] for kind in kinds(rows)}
    return [r for r in rows if r["person"] in few[r["tumour"]] and int(r["file"].split(".")[0]) % 2]


def persons(rows: list[dict[str, str]], part: str, kind: str) -> list[str]:
    return sorted({r["person"] for r in rows if r["split"] == part and r["tumour"] == kind})


def kinds(rows: list[dict[str, str]]) -> list[str]:
    return sorted({r["tumour"] for r in rows})


def link(folder: Path, rows: list[dict[str, str]], data: Path) -> Path:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        for r in rows:
            (folder / kind / r["file"]).symlink_to((data / kind / r["file"]).resolve())
    with (folder / "cases.csv").open("w", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)
    return folder


def basic(given: argparse.Namespace) -> TrainSettings:
    if given.quick:
        return replace(MONAI, size=64, epochs=1)
    return replace(MONAI, epochs=given.passes or shipped_passes())


def shipped_passes() -> int:
    """Return the epochs with as many images as the shipped model's rounds, copies and negatives included."""
    count = 1947
    rounds = (
        epoch_plans(presets.read_settings(name), count, has_lesion_free=True, has_negatives=True) for name in ROUNDS
    )
    return round(sum(plan.steps * plan.batch for plans in rounds for plan in plans) / count)


def recipe(given: argparse.Namespace) -> TrainSettings:
    """Return the shipped model's first round; a given number of epochs is divided over the image sides as there."""
    settings = presets.read_settings(ROUNDS[0])
    if given.quick:
        return replace(settings, init_weights="", size=64, progressive_stages=((64, 8, 1),))
    if not given.passes:
        return settings
    (first, batch, many), (last, *_) = settings.progressive_stages
    early = round(given.passes * many / sum(stage[2] for stage in settings.progressive_stages))
    return replace(settings, progressive_stages=((first, batch, early), (last, batch, given.passes - early)))


def tutorial(given: argparse.Namespace) -> TrainSettings:
    settings = presets.read_settings("tutorial", split="cases", batch=4)
    settings = replace(settings, epochs=given.passes or settings.epochs)
    small = {"filters": [8, 16, 32, 64, 128]}
    return replace(settings, size=64, epochs=1, arguments=small) if given.quick else settings


def row(
    name: str, settings: TrainSettings | None, folder: Path, work: Path, given: argparse.Namespace
) -> dict[str, Any]:
    seen, minutes = 0, 0.0
    if settings is None:
        best = model.load(registry.find(given.model).path)
    else:
        seen, minutes = train(settings, folder, work / f"{name}.safetensors", given.minutes)
        best = model.load(work / f"{name}.safetensors")
    chosen = settings_for(best.spec, part=given.part if settings is None else None)
    slices = scored(best, all_of(folder, best.spec), given.second_masks or SECOND, chosen, given.every)
    return {
        "name": name,
        "parameters": parameters_of(best.net),
        "images_seen": seen,
        "minutes": minutes,
        **scores(slices),
        "readers": compare_readers(slices),
    }


def train(settings: TrainSettings, folder: Path, out: Path, minutes: float) -> tuple[int, float]:
    """Train for a limited time in this run; return the images seen and the minutes of complete epochs in all runs."""
    where = folder / "images", folder / "masks", out, folder / "cases.csv"
    begin, count = 0.0, 0
    steps = iter_train(settings, *where, resume=True)
    for tick in steps:
        count = tick.values.get("parts", {}).get("train", count)
        if "loss" in tick.values:
            begin = begin or time.monotonic()
        if minutes and begin and time.monotonic() - begin > 60 * minutes and out.exists():
            steps.close()
            break
    with (RunFiles(out).folder / "log.csv").open() as file:
        passes = list(csv.DictReader(file))
    return len(passes) * count, sum(float(row["seconds"]) for row in passes) / 60


def all_of(folder: Path, spec: ModelSpec) -> Dataset:
    settings = TrainSettings(channels=spec.in_channels, size=32)
    return exhaust(iter_dataset(folder / "images", folder / "masks", settings, folder / "cases.csv"))


def scored(
    best: model.Model, examples: Dataset, second: Path, settings: SegmentSettings, every: int
) -> list[dict[str, Any]]:
    """Segment the val slices on their own grid; return a row of scores for each."""
    rows: list[dict[str, Any]] = []
    for number in [n for n, source in enumerate(examples.sources) if source.part == "val"][::every]:
        source = examples.sources[number]
        image, truth = test_scores.native_of(examples, number, best.spec.in_channels)
        found = test_scores.found_in(best, image, settings)
        other = second / source.image.name
        reading = (read_mask(other).array > 127).astype(np.uint8) if other.exists() else None
        rows += score_scan(found, truth, layout_of(truth.shape), source.image.name, source.person, second=reading)
        rows[-1] |= {"tumour": source.kind, "size": size_of(truth)}
    return rows


def size_of(truth: np.ndarray) -> str:
    share = float((truth > 0).mean())
    return next(name for name, top in test_scores.SIZES if share <= top)


def scores(rows: list[dict[str, Any]]) -> dict[str, Any]:
    whole = summarise(rows)
    names = ("dice_mean", "dice_low", "dice_high", "dice_median", "dice_p5", "no_overlap_rate")
    return {
        "slices": len(rows),
        "persons": len({row["group"] for row in rows}),
        **{name: whole[name] for name in names},
        "by_type": means_by(rows, "tumour"),
        "by_size": means_by(rows, "size"),
    }


def means_by(rows: list[dict[str, Any]], key: str) -> dict[str, float]:
    values = sorted({row[key] for row in rows})
    return {value: float(np.mean([row["dice"] for row in rows if row[key] == value])) for value in values}


def speeds(given: argparse.Namespace) -> dict[str, float | None]:
    """Return ms per image of a training step: forward, backward, weights."""
    shipped, slow = presets.read_settings("shipped", init_weights=""), presets.read_settings("tutorial")
    repeat = 3 if given.quick else 10
    with keeping_buffers():  # as `train` does
        ours = step_ms(shipped, 12, repeat)
        plain = step_ms(slow, 2, 2 if given.quick else 4)
    keras = keras_ms(2, 3)
    reference = keras or KERAS_MS
    return {
        "shipped_ms": ours,
        "tutorial_ms": plain,
        "keras_ms": keras,
        "keras_ms_noted": KERAS_MS,
        "shipped_times_keras": reference / ours,
        "tutorial_times_keras": reference / plain,
    }


def step_ms(settings: TrainSettings, batch: int, repeat: int) -> float:
    channels = tuple(f"c{n}" for n in range(settings.channels))
    spec = ModelSpec("speed", settings.network, settings.arguments, channels, size=256)
    learner = Learner(settings, spec, 100)
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(batch, settings.channels, 256, 256, generator=rng).contiguous(memory_format=torch.channels_last)
    y = (torch.rand(batch, 1, 256, 256, generator=rng) > 0.9).float()
    x, y = x.to(learner.device), y.to(learner.device)
    return timed(lambda: learner.step(x, y), repeat) / batch * 1000


def timed(work: Any, repeat: int) -> float:
    work()
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def keras_ms(batch: int, repeat: int) -> float | None:
    """Time the tutorial's Keras U-Net, if TensorFlow is installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from tensorflow import keras
    except ImportError:
        return None
    net = keras_unet(keras)
    net.compile(loss="binary_crossentropy", optimizer=keras.optimizers.Adam(1e-4))
    rng = np.random.default_rng(0)
    x, y = rng.random((batch, 256, 256, 3), np.float32), (rng.random((batch, 256, 256, 1)) > 0.9).astype(np.float32)
    return timed(lambda: net.train_on_batch(x, y), repeat) / batch * 1000


def keras_unet(keras: Any) -> Any:
    layers = keras.layers

    def twice(x: Any, width: int) -> Any:
        for _ in range(2):
            x = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same")(x)))
        return x

    x = start = layers.Input((256, 256, 3))
    skips = []
    for width in (64, 128, 256, 512):
        skips.append(twice(x, width))
        x = layers.MaxPool2D()(skips[-1])
    x = twice(x, 1024)
    for width in (512, 256, 128, 64):
        x = twice(layers.Concatenate()([layers.Conv2DTranspose(width, 2, strides=2)(x), skips.pop()]), width)
    return keras.Model(start, layers.Conv2D(1, 1, activation="sigmoid")(x))


def line(found: dict[str, Any]) -> str:
    first = f"{found['name']:14} Dice {found['dice_mean']:.3f} {between(found, 'dice_')} on {found['slices']} slices"
    return "\n".join([first, *reader_lines(found["readers"])])


def between(found: dict[str, Any], prefix: str = "") -> str:
    low, high = found[f"{prefix}low"], found[f"{prefix}high"]
    return "" if low is None else f"[{low:.3f}, {high:.3f}]"


def reader_lines(readers: list[dict[str, Any]]) -> list[str]:
    """Return the table of the network beside the readers: Dice, interval over persons, slices without any overlap."""
    return [
        f"  {one['tumour']:12} {one['compared']:28} {one['slices']:>4} slices, {one['groups']:>2} persons "
        f"{one['mean']:.3f} {between(one):16} without overlap {one['no_overlap_rate']:.1%}"
        for one in readers
    ]


def table(report: dict[str, Any]) -> str:
    head = (
        f"{'':14} {'parameters':>12} {'seen':>8} {'min':>6} {'Dice':>6} {'95 % persons':>16} {'median':>7} {'5 %':>6}"
    )
    return "\n".join([f"{head}  by type and size", *map(cells, report["rows"]), *speed_lines(report["train_step"])])


def cells(r: dict[str, Any]) -> str:
    groups = " ".join(f"{name} {value:.3f}" for name, value in {**r["by_type"], **r["by_size"]}.items())
    both = between(r, "dice_")
    first = f"{r['name']:14} {r['parameters']:>12,} {r['images_seen'] or '-':>8} {r['minutes']:>6.1f}"
    return f"{first} {r['dice_mean']:>6.3f} {both:>16} {r['dice_median']:>7.3f} {r['dice_p5']:>6.3f}  {groups}"


def speed_lines(step: dict[str, Any]) -> list[str]:
    if not step:
        return []
    keras = f"{step['keras_ms']:.0f}" if step["keras_ms"] else f"not installed, noted {step['keras_ms_noted']:.0f}"
    times = f"shipped {step['shipped_times_keras']:.1f}, tutorial-unet {step['tutorial_times_keras']:.1f}"
    ours = f"shipped {step['shipped_ms']:.0f}, tutorial-unet {step['tutorial_ms']:.0f}"
    return ["", f"training step, ms an image: {ours}, Keras {keras}", f"times as fast as Keras: {times}"]


if __name__ == "__main__":
    main()
