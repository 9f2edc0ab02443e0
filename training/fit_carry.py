"""Fit the weights with which corrected slices are carried to their neighbours, and write them into a model file.

    python training/fit_carry.py [--pairs PAIRS.csv] [--model default] [--into FILE]

The corrected slices are every single tumour slice, pairs two to four slices apart, and the first three slices of the
ranking. The weights of distance, grey values and bias come from a logistic regression over the pixels near the expected
outline; then bias, shrinkage and the weight of the distance are tuned for the mean Dice of the carried slices. Prints
each patient's gain with the weights of the other patients, then fits on all of them. `--into` changes only the header
of a model file.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import hitl  # beside this folder
from napari_unet_tumour.base.atomic_write import write_bytes_atomic
from napari_unet_tumour.corrections import ranking
from napari_unet_tumour.corrections.carry import CarryWeights, iter_evidence
from napari_unet_tumour.models.spec import KEY, read_spec

SHRINKS, LESS, MORE = (0.2, 0.3, 0.4), (0.5, 0.75, 1.0), (0.0, 0.5, 1.0, 1.5, 2.0)
PIXELS, RIDGE = 300, 1e-4


class Sample(NamedTuple):
    """One carried slice: distance, log ratio and truth of the pixels near the expected outline."""

    distance: np.ndarray
    grey: np.ndarray
    truth: np.ndarray


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--pairs", help="PAIRS.csv of volumes (default: the btp volumes beside the project)")
    ask.add_argument("--model", default="default")
    ask.add_argument("--into", type=Path, help="model file to write the weights into")
    given = ask.parse_args()
    base = hitl.load_model(given.model)
    pairs = hitl.pairs_of(given)
    volumes = [hitl.volume_of(pair, base) for pair in pairs]
    patients = [pair.group for pair in pairs]
    fit(volumes, patients, base, given.into)


def fit(volumes: list[hitl.Volume], patients: list[str], base, into: Path | None = None) -> None:
    samples = {shrink: [collect(volume, CarryWeights(shrink=shrink)) for volume in volumes] for shrink in SHRINKS}
    for left_out in sorted(set(patients)):
        weights = learn(samples, [n for n, one in enumerate(patients) if one != left_out])
        for n in (n for n, one in enumerate(patients) if one == left_out):
            print(volumes[n].name, shown(weights), "queue, k = 1 2 3:", gains(volumes[n], base, weights), flush=True)
    weights = learn(samples, range(len(volumes)))
    print("all", shown(weights))
    if into:
        put(into, weights)


def sets(volume: hitl.Volume) -> list[list[int]]:
    """Return the corrected slices to fit on: single ones, pairs, and the first of the ranking."""
    tumour = [n for n in range(len(volume.truth)) if volume.truth[n].any()]
    near = [list(pair) for pair in combinations(tumour, 2) if 2 <= pair[1] - pair[0] <= 4]
    return [[n] for n in tumour] + near + chosen(volume, 3)


def chosen(volume: hitl.Volume, count: int) -> list[list[int]]:
    done: list[int] = []
    for _ in range(count):
        done = [*done, ranking.rank_slices(volume.before, done)[0]]
    return [done[: n + 1] for n in range(count)]


def collect(volume: hitl.Volume, weights: CarryWeights) -> list[Sample]:
    found = []
    for numbers in sets(volume):
        fixed = {n: volume.truth[n].astype(np.uint8) for n in numbers}
        answers = dict(enumerate(volume.before))
        for n, box, distance, grey in iter_evidence(volume.planes, fixed, answers, (1.0, 1.0, volume.depth), weights):
            near = np.isfinite(distance)
            if (volume.truth[n] == 1).any():
                found.append(Sample(distance[near], grey[near], volume.truth[n][box][near] == 1))
    return found


def learn(samples: dict[float, list[list[Sample]]], chosen: object) -> CarryWeights:
    """Return the weights with the best mean Dice on some volumes."""
    found = []
    for shrink, volumes in samples.items():
        some = [volumes[n] for n in chosen]
        distance, grey, bias = logistic(some)
        for less, more in product(LESS, MORE):
            score = np.mean([np.mean([dice(s, less * distance, grey, bias + more) for s in one]) for one in some])
            found.append((score, CarryWeights(less * distance, grey, bias + more, shrink)))
    return max(found, key=lambda one: one[0])[1]


def logistic(volumes: list[list[Sample]]) -> tuple[float, float, float]:
    rng = np.random.default_rng(0)
    rows = []
    for sample in (sample for volume in volumes for sample in volume):
        take = rng.choice(len(sample.truth), min(PIXELS, len(sample.truth)), replace=False)
        rows.append(np.stack([sample.distance[take], sample.grey[take], np.ones(len(take)), sample.truth[take]], -1))
    table = np.concatenate(rows)
    x, y = table[:, :3], table[:, 3]

    def loss(w):
        logit = x @ w
        wrong = 1 / (1 + np.exp(-logit)) - y
        return np.mean(np.logaddexp(0, logit) - y * logit) + RIDGE * w @ w, x.T @ wrong / len(y) + 2 * RIDGE * w

    return tuple(minimize(loss, np.zeros(3), jac=True, method="L-BFGS-B").x)


def dice(sample: Sample, distance: float, grey: float, bias: float) -> float:
    found = distance * sample.distance + grey * sample.grey + bias > 0
    return hitl.dice(found, sample.truth)


def gains(volume: hitl.Volume, base, weights: CarryWeights) -> str:
    texts = []
    for numbers in chosen(volume, 3):
        fixed = {n: volume.truth[n] for n in numbers}
        masks = hitl.masks_of(base, hitl.carried(volume, fixed, weights), volume, fixed)
        step = hitl.scored(volume, masks, numbers, 0, 0, "")
        texts.append(f"{step['rest'] - hitl.untuned(volume, step, base)['rest']:+.3f}")
    return " ".join(texts)


def put(path: Path, weights: CarryWeights) -> None:
    """Write the weights into a model file's header; the tensors do not change."""
    spec = replace(read_spec(path), carry={name: round(value, 4) for name, value in weights.to_dict().items()})
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"][KEY] = spec.to_json()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write_bytes_atomic(
        path, len(text).to_bytes(8, "little") + text + data[8 + length :], "use another folder or free space"
    )
    print(f"{path}: {read_spec(path).carry}")


def shown(weights: CarryWeights) -> str:
    return " ".join(f"{name} {value:.2f}" for name, value in weights.to_dict().items())


if __name__ == "__main__":
    main()
