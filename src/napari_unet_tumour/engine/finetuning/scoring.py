"""Before and after on slices that were not learnt from; the share of what was learnt that may stay."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet_tumour.corrections import UNSURE, ReviewedSlice
from napari_unet_tumour.engine.inference.accelerate import to_probability
from napari_unet_tumour.engine.inference.part import with_part
from napari_unet_tumour.engine.metrics.summary import score
from napari_unet_tumour.engine.training.learner import precision_of
from napari_unet_tumour.engine.training.validation import autocast
from napari_unet_tumour.phantom import phantom
from napari_unet_tumour.postprocess.outline_habit import with_habit
from napari_unet_tumour.postprocess.threshold import mask_from_probability
from napari_unet_tumour.settings import SegmentSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import nn

    from napari_unet_tumour.engine.finetuning.cases import FineTuneSlices
    from napari_unet_tumour.models.spec import ModelSpec

KEPT = ("dice", "iou", "hd95")
BATCH = 8
# What the mean Dice of earlier scans' slices may lose, and that of made-up heads. These are like no real scan, and
# where a person outlines less than the whole lesion they must lose: only a broken network loses more than this.
FORGOTTEN, FORGOTTEN_PHANTOM = 0.01, 0.25
PHANTOM = "sample head"

Scores = list[dict[str, Any]]


def probability(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the labels' probability (n, L, S, S) float32 of images (n, C, S, S), as quick as the device can.

    Of a network with a second, its answer wherever the gate is open: what else a slice hangs together with is not seen.
    """
    device = images.device
    with torch.inference_mode(), autocast(device, precision_of("auto", device)):
        return to_probability(torch.cat([net(images[n : n + BATCH]).float() for n in range(0, len(images), BATCH)]))


def scores_of(net: nn.Module, cases: FineTuneSlices, spec: ModelSpec) -> Scores:
    """Score a network on corrected slices on their own grid, unsure pixels left out; see `scored`.

    The part and the habit of `spec` count.
    """
    found = probability(net, cases.images)
    settings = SegmentSettings(**{**spec.defaults, "flip_tta": False})
    rows = []
    for n, source in enumerate(cases.sources):
        native = (cases.native(n, found[n]) * 255).round().clamp(0, 255).byte().cpu().numpy()
        native = with_habit(source.image, with_part(source.image, native, spec, settings), spec, settings)
        rows.append(scored(mask_from_probability(native, settings), source.mask, spec.labels))
    return rows


def mean_dice(rows: Scores) -> float:
    """Return the mean Dice, NaN of nothing."""
    return float(np.mean([row["dice"] for row in rows])) if rows else float("nan")


def rows_of(cases: FineTuneSlices, before: Scores, after: Scores) -> list[dict[str, Any]]:
    """Return a row per slice: scan, slice, before, after."""
    pairs = zip(cases.sources, before, after, strict=True)
    return [{"scan": one.scan, "slice": one.slice, "before": old, "after": new} for one, old, new in pairs]


@lru_cache(maxsize=1)
def phantom_slices() -> tuple[ReviewedSlice, ...]:
    """Return slices of the sample head with their truth: a scan that every model has seen the like of."""
    scan, truth = phantom(shape=(24, 256, 256))
    chosen = [int(n) for n in np.flatnonzero(truth.any((1, 2)))[1::3]]
    return tuple(ReviewedSlice(PHANTOM, n, np.asarray(scan.array[n])[None], truth[n]) for n in chosen)


def fits_phantom(spec: ModelSpec) -> bool:
    """Whether the sample head (grey, one kind of tumour) is a scan for this model, apart from classes added later."""
    return spec.in_channels == 1 and len(spec.labels) - spec.n_added_labels == 2


def best_blend(gains: Sequence[tuple[float, float]], least: float = 0.0) -> float:
    """Return the share with the highest mean gain in Dice, the smaller of equals; 0 where none gains more than `least`.

    Parameters
    ----------
    gains : sequence of (share, gain)
        The mean change of Dice on slices that were not learnt from.
    """
    known = [(share, gain) for share, gain in gains if gain > least]
    return min(known, key=lambda one: (-round(one[1], 3), one[0]))[0] if known else 0.0


def scored(mask: NDArray[np.uint8], truth: NDArray[np.uint8], labels: Sequence[str]) -> dict[str, Any]:
    """Score a mask (H, W) on the pixels that are not unsure in the truth.

    Returns
    -------
    dict
        "dice", "iou" and "hd95", None where undefined. With several labels a pixel counts where its label is right,
        "hd95" is their mean, and "by_label" holds the three for every label of the truth by its name.
    """
    known = truth != UNSURE
    mask, truth = np.where(known, mask, 0), np.where(known, truth, 0)
    if len(labels) == 2:
        return _kept(score(mask, truth))
    rows = {name: score(mask == value, truth == value) for value, name in enumerate(labels) if value}
    both, found, real = (sum(row[key] for row in rows.values()) for key in ("both_pixels", "pixels", "truth_pixels"))
    far = [row["hd95"] for row in rows.values() if row["hd95"] is not None]
    return {
        "dice": 2 * both / (found + real) if found + real else 1.0,
        "iou": both / (found + real - both) if found + real else 1.0,
        "hd95": float(np.mean(far)) if far else None,
        "by_label": {name: _kept(row) for name, row in rows.items() if row["truth_pixels"]},
    }


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in KEPT}
