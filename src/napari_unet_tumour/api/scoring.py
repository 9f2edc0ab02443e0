"""Scores of a model on scans whose true masks are known."""

from __future__ import annotations

import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour import scans, shelf
from napari_unet_tumour.api.masking import (
    Refused,
    Work,
    default_settings,
    iter_segment_many,
    layout_for,
    load_model,
    network_here,
    read_ahead,
)
from napari_unet_tumour.api.pairs import Pair, read_pairs, read_truth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.api.masking import Network, OnTick
    from napari_unet_tumour.settings import SegmentSettings

PER_SLICE = ("dice", "iou", "precision", "recall")


def evaluate(
    pairs: str | Path | Sequence[Pair],
    model: str | Path = "default",
    settings: SegmentSettings | None = None,
    *,
    axis: int | None = None,
    on_tick: OnTick | None = None,
) -> dict[str, Any]:
    """Score a model on scans whose true masks are known.

    Parameters
    ----------
    pairs : path or sequence of Pair
        A PAIRS.csv (columns scan, mask and, optionally, group), or what `read_pairs` and `pair_folders` return.
    model : str or pathlib.Path
        "default", a name on the shelf, or a model file.
    settings : SegmentSettings, optional
        Threshold and the like; the model's own defaults when None.
    axis : int, optional
        The array axis to slice along; see `segment`.
    on_tick : callable, optional
        Called with a `Progress` after every batch.

    Returns
    -------
    dict
        "model" (name, hash), "summary", "groups", "cases" (one a slice) and "failed" (pairs that could not be
        scored, with the error). Means of Dice, IoU, precision and recall are over slices with tumour in the truth;
        `false_mask_rate` is the share of truth-empty slices that are not blank on which any pixel is predicted;
        HD95 is in mm where the spacing is known, else in pixels, and None where one of the masks is empty
        (`hd95_undefined` counts these among the slices with tumour). What cannot be said is None.

    Raises
    ------
    ScanError, ModelError, DeviceError
        The table or the model cannot be used, or the device is not there.
    """
    entry = shelf.find(model)
    settings = settings or default_settings(entry.spec)
    chosen = read_pairs(pairs) if isinstance(pairs, (str, Path)) else pairs
    return score(chosen, network_here(load_model(entry.path), settings), entry, settings, axis=axis, on_tick=on_tick)


def score(
    pairs: Sequence[Pair],
    network: Network,
    entry: shelf.Entry,
    settings: SegmentSettings,
    *,
    axis: int | None = None,
    on_tick: OnTick | None = None,
    on_pair: Callable[[int], None] = lambda planes: None,
) -> dict[str, Any]:
    """Score a network that is ready; as `evaluate`. `on_pair` is told the slices of every pair that is done."""
    begin = time.perf_counter()
    cases: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    volumes: dict[str, float | None] = {}
    works = read_ahead(pairs, partial(_load, axis=axis, labels=entry.spec.labels), lambda pair: pair.scan)
    tick = on_tick or (lambda progress: None)
    for one in iter_segment_many(works, network, settings, entry.spec.labels, tick):
        if isinstance(one, Refused):
            failed.append({"scan": str(one.item.scan), "mask": str(one.item.mask), "error": str(one.error)})
            continue
        cases += _cases(one.work, one.found.mask)
        volumes[str(one.work.item.scan)] = _volume_dice(one.work, one.found.mask)
        on_pair(one.work.layout.planes)
    return {
        "model": {"name": entry.name, "hash": entry.hash},
        "summary": summary(cases, volumes, time.perf_counter() - begin),
        "groups": [{"group": name, **_group(own, volumes)} for name, own in _by_group(cases).items()],
        "cases": cases,
        "failed": failed,
    }


def summary(cases: Sequence[dict[str, Any]], volumes: dict[str, float | None], seconds: float) -> dict[str, Any]:
    """Return the figures over all slices; None where nothing can be said."""
    tumour = [one for one in cases if one["truth_pixels"]]
    dice = [one["dice"] for one in tumour]
    hd95 = [one["hd95"] for one in tumour]
    return {
        "slices": len(cases),
        "tumour_slices": len(tumour),
        "dice_mean": _mean(dice),
        "dice_median": float(np.median(dice)) if dice else None,
        "dice_p5": float(np.percentile(dice, 5)) if dice else None,
        **{f"{name}_mean": _mean([one[name] for one in tumour]) for name in PER_SLICE[1:]},
        "group_dice_mean": _mean([_mean([one["dice"] for one in own]) for own in _by_group(tumour).values()]),
        "volume_dice_mean": _mean(list(volumes.values())),
        "false_mask_rate": _false_rate(cases),
        "hd95_mean": _mean(hd95),
        "hd95_undefined": sum(value is None for value in hd95),
        "seconds": round(seconds, 3),
    }


def _load(pair: Pair, axis: int | None, labels: Sequence[str]) -> Work[Pair]:
    scan = scans.read(pair.scan)
    layout = layout_for(scan, axis)
    return Work(pair, scan, layout, read_truth(pair, scan, layout.mask_shape, labels))


def _cases(work: Work[Pair], mask: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Return one row a slice."""
    pair, spacing = work.item, _in_plane(work)
    truth = np.asarray(work.truth)
    rows = []
    for n, plane in enumerate(work.planes()):
        found, true = (np.asarray(one[work.layout.index(n)]) for one in (mask, truth))
        here = {"scan": str(pair.scan), "group": pair.group, "slice": n}
        rows.append({**here, **compare(found > 0, true > 0, spacing), "blank": _is_blank(plane)})
    return rows


def compare(found: NDArray[np.bool_], true: NDArray[np.bool_], spacing: Sequence[float]) -> dict[str, Any]:
    """Return the scores of one slice; those that an empty truth leaves undefined are None."""
    from napari_unet_tumour.engine.metrics import METRICS

    sizes = {"truth_pixels": int(true.sum()), "predicted_pixels": int(found.sum())}
    if not sizes["truth_pixels"]:
        return {**dict.fromkeys((*PER_SLICE, "hd95")), **sizes}
    scores = {name: float(METRICS[name](found, true)) for name in PER_SLICE}
    hd95 = float(METRICS["hd95"](found, true, spacing)) if sizes["predicted_pixels"] else None
    return {**scores, "hd95": hd95, **sizes}


def _in_plane(work: Work[Pair]) -> list[float]:
    """Return the spacing of the two axes of a slice in the scan's own order; 1 where only pixels are known."""
    known = dict(zip(work.scan.spatial, work.scan.spacing, strict=True)) if work.scan.units == "mm" else {}
    return [known.get(axis, 1.0) for axis in sorted((work.layout.rows, work.layout.columns))]


def _is_blank(plane: NDArray[Any]) -> bool:
    low, high = plane.min(axis=(-2, -1)), plane.max(axis=(-2, -1))
    return bool((low == high).all())


def _volume_dice(work: Work[Pair], mask: NDArray[np.uint8]) -> float | None:
    """Return the Dice over all slices at once; None where the truth is empty."""
    found, true = mask > 0, np.asarray(work.truth) > 0
    if not true.any():
        return None
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


def _group(cases: Sequence[dict[str, Any]], volumes: dict[str, float | None]) -> dict[str, Any]:
    tumour = [one for one in cases if one["truth_pixels"]]
    return {
        "slices": len(cases),
        "tumour_slices": len(tumour),
        "dice_mean": _mean([one["dice"] for one in tumour]),
        "volume_dice_mean": _mean([volumes[scan] for scan in {one["scan"] for one in cases}]),
        "false_mask_rate": _false_rate(cases),
    }


def _by_group(cases: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in cases:
        groups[one["group"]].append(one)
    return groups


def _false_rate(cases: Iterable[dict[str, Any]]) -> float | None:
    return _mean([float(c["predicted_pixels"] > 0) for c in cases if not c["truth_pixels"] and not c["blank"]])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
