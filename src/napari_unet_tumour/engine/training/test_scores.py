"""Score a trained model on slices on their own grid, as in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet_tumour.base.parallel import in_parallel
from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.engine.inference.segment import iter_segment_planes
from napari_unet_tumour.engine.training.batches import layers
from napari_unet_tumour.engine.training.dataset import read_mask_plane, read_planes
from napari_unet_tumour.engine.training.validation import RATES, rates
from napari_unet_tumour.postprocess.threshold import mask_from_probability
from napari_unet_tumour.settings import Progress, SegmentSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.engine.training.dataset import Dataset
    from napari_unet_tumour.engine.training.dataset_index import DatasetItem

CHUNK = 16
# Sizes of a tumour: largest fraction of the image.
SIZES = (("small, under 0.5 %", 0.005), ("medium, 0.5 to 2 %", 0.02), ("large, over 2 %", 1.01))


@dataclass(frozen=True)
class TestCase:
    """The scores of one slice.

    Parameters
    ----------
    number : int
        The slice's number in the dataset.
    source : DatasetItem
        The source of the slice.
    rates : dict
        Dice, IoU, precision, recall, accuracy, 0..1; the first four are NaN if the truth is empty.
    share : float
        Fraction of the image that the truth covers, 0..1.
    marked : bool
        Whether any pixel was predicted.
    """

    number: int
    source: DatasetItem
    rates: dict[str, float]
    share: float
    marked: bool


def iter_test_scores(
    model: Model, examples: Dataset, numbers: Iterable[int], device: str = "auto"
) -> Generator[Progress, None, list[TestCase]]:
    """Segment and score slices by number; returns one case for each, in order."""
    wanted = [int(n) for n in numbers]
    settings = SegmentSettings(**model.spec.defaults, device=device)
    cases: list[TestCase] = []
    for start in range(0, len(wanted), CHUNK):
        chunk = wanted[start : start + CHUNK]
        native = list(in_parallel(lambda n: native_of(examples, n, model.spec.in_channels), chunk))
        for n, (image, truth) in zip(chunk, native, strict=True):
            cases.append(_case(n, examples, found_in(model, image, settings), truth))
        yield Progress(len(cases), len(wanted), "scoring")
    return cases


def native_of(examples: Dataset, number: int, channels: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return a slice (C, H, W) and its labels (H, W) on their own grid, read from their files."""
    source = examples.sources[number]
    return read_planes(source.image, channels)[source.plane], read_mask_plane(source, examples)


def found_in(model: Model, image: NDArray[Any], settings: SegmentSettings) -> NDArray[np.uint8]:
    """Return the predicted mask (H, W) of a slice (C, H, W)."""
    probability = exhaust(iter_segment_planes(model, image[None], settings))
    return mask_from_probability(probability[0], settings)


def summary(test: Sequence[TestCase], seen: Sequence[TestCase] = ()) -> dict[str, float]:
    """Return the mean scores of a test part; "dice_seen_persons" is the score that a split by slice would show."""
    dice = np.array([case.rates["dice"] for case in test])
    tumour = dice[~np.isnan(dice)]
    empty = [case.marked for case in test if case.share == 0]
    found = {f"{name}_mean": mean_of(test, name) for name in RATES}
    found |= {"dice_median": float(np.median(tumour)), "dice_p5": float(np.quantile(tumour, 0.05))}
    persons = by(test, lambda case: case.source.person)
    if "" not in persons:
        found["group_dice_mean"] = float(np.nanmean([mean_of(group, "dice") for group in persons.values()]))
    if empty:
        found["false_mask_rate"] = float(np.mean(empty))
    if seen:
        found["dice_seen_persons"] = mean_of(seen, "dice")
    return {name: round(value, 4) for name, value in found.items()} | {"slices": float(len(test))}


def mean_of(cases: Sequence[TestCase], name: str) -> float:
    """Return the mean of one rate over the cases that have it, NaN if none has."""
    values = np.array([case.rates[name] for case in cases])
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def by(cases: Sequence[TestCase], key: Callable[[TestCase], str]) -> dict[str, list[TestCase]]:
    """Group cases, sorted by the groups' names."""
    groups: dict[str, list[TestCase]] = {}
    for case in cases:
        groups.setdefault(key(case), []).append(case)
    return dict(sorted(groups.items()))


def by_size(cases: Sequence[TestCase]) -> dict[str, list[TestCase]]:
    """Group cases with tumour by its size, as a fraction of the image."""
    groups: dict[str, list[TestCase]] = {name: [] for name, _ in SIZES}
    for case in cases:
        if case.share > 0:
            groups[next(name for name, top in SIZES if case.share <= top)].append(case)
    return {name: group for name, group in groups.items() if group}


def _case(number: int, examples: Dataset, found: NDArray[np.uint8], truth: NDArray[np.uint8]) -> TestCase:
    real = layers(torch.from_numpy(truth)[None], len(examples.labels) - 1)
    values = rates(torch.from_numpy(found)[None], real)[0].tolist()
    scores = dict(zip(RATES, values, strict=True))
    return TestCase(number, examples.sources[number], scores, float((truth > 0).mean()), bool(found.any()))
