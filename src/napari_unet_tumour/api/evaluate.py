"""Evaluate a model on scans with true masks."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour import scans
from napari_unet_tumour.api.batch import (
    LoadedScan,
    ScanFailed,
    Segmented,
    iter_segment_many,
    local_predictor,
    read_ahead,
)
from napari_unet_tumour.api.pairs import Pair, read_pairs, read_truth
from napari_unet_tumour.api.segment import layout_for, load_for, settings_for
from napari_unet_tumour.models import registry
from napari_unet_tumour.scans.training_match import match_scan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.api.batch import OnTick, ScanPredictor
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.scans.scan import Scan
    from napari_unet_tumour.settings import SegmentSettings

HALF = 127
PER_GROUP = ("slices", "tumour_slices", "dice_mean", "volume_dice_mean", "false_mask_rate")
PER_TYPE = ("slices", "tumour_slices", "dice_mean", "dice_low", "dice_high", "no_overlap_rate", "false_mask_rate")


def evaluate(
    pairs: str | Path | Sequence[Pair],
    model: str | Path = "default",
    settings: SegmentSettings | None = None,
    *,
    part: str | None = None,
    axis: int | None = None,
    on_tick: OnTick | None = None,
) -> dict[str, Any]:
    """Evaluate a model on scans with true masks.

    Parameters
    ----------
    pairs : path or sequence of Pair
        A PAIRS.csv (columns scan, mask and optionally group, second and tumour), or the result of `read_pairs` or
        `pair_folders`.
    model : str or pathlib.Path
        "default", the name of an installed model, or a model file.
    settings : SegmentSettings, optional
        How to segment; by default the model's own settings.
    part : {"whole", "enhancing"}, optional
        Which part of the tumour the true masks show, see `segment`.
    axis : int, optional
        The array axis to slice along; see `segment`.
    on_tick : callable, optional
        Called with a `Progress` after every batch.

    Returns
    -------
    dict
        "model" (name, hash), "part", "summary", "cases" (one per slice), "groups", "types" (by type of tumour),
        "readers" (the model beside two readers, see `engine.metrics.readers`; empty without a second reader), "matches"
        (by scan, how similar it is to the model's training slices, see `ScanMatch`), "failed" (pairs that could not be
        scored, with the error) and "notes" (a line for each mask that was resampled to its scan's grid).
        Means of Dice, IoU, precision, recall and HD95 are over the slices with tumour in the true mask.
        `false_mask_rate` is the fraction of slices without tumour (blank slices not counted) with any predicted pixel.
        Undefined values are None. See `engine.metrics.summary.summarise`.

    Raises
    ------
    ScanError, ModelError, DeviceError
        The table or the model cannot be used, or the device does not exist.
    """
    entry = registry.find(model)
    settings = settings_for(entry.spec, settings, part)
    chosen = read_pairs(pairs) if isinstance(pairs, (str, Path)) else pairs
    return score(
        chosen, local_predictor(load_for(entry, settings), settings), entry, settings, axis=axis, on_tick=on_tick
    )


def score(
    pairs: Sequence[Pair],
    network: ScanPredictor,
    entry: registry.ModelEntry,
    settings: SegmentSettings,
    *,
    axis: int | None = None,
    on_tick: OnTick | None = None,
    on_pair: Callable[[int], None] = lambda planes: None,
) -> dict[str, Any]:
    """As `evaluate`, with a given predictor; `on_pair` is called with the number of slices of each finished pair."""
    from napari_unet_tumour.engine.metrics.readers import compare_readers
    from napari_unet_tumour.engine.metrics.summary import report, score_scan

    begin = time.perf_counter()
    cases: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    notes: list[str] = []
    matches: list[dict[str, Any]] = []
    load = partial(_load, axis=axis, spec=entry.spec, notes=notes)
    works = read_ahead(pairs, load, lambda pair: pair.scan)
    tick = on_tick or (lambda progress: None)
    for one in iter_segment_many(works, network, settings, entry.spec, tick):
        if not isinstance(one, Segmented):
            assert isinstance(one, ScanFailed)
            failed.append({"scan": str(one.item.scan), "mask": str(one.item.mask), "error": str(one.error)})
            continue
        work, pair = one.work, one.work.item
        rows = score_scan(
            one.found.mask, np.asarray(work.truth), work.layout, str(pair.scan), pair.group, work.scan.array,
            _in_plane(work), entry.spec.labels, work.second,
        )  # fmt: skip
        cases += [row | {"tumour": pair.tumour} for row in rows] if pair.tumour else rows
        if work.match is not None:
            matches.append({"scan": str(pair.scan), **work.match.as_dict()})
        on_pair(work.layout.planes)
    found = report(entry.name, entry.hash, cases, round(time.perf_counter() - begin, 3))
    groups = [{"group": name, **part} for name, part in _parts(cases, "group", PER_GROUP).items()]
    types = [{"tumour": name, **part} for name, part in _parts(cases, "tumour", PER_TYPE).items() if name]
    more = {"groups": groups, "types": types, "readers": compare_readers(cases), "matches": matches}
    return {**found, "part": settings.part, **more, "failed": failed, "notes": sorted(notes)}


def _load(pair: Pair, axis: int | None, spec: ModelSpec, notes: list[str]) -> LoadedScan[Pair]:
    scan = scans.read(pair.scan)
    layout = layout_for(scan, axis)
    truth = read_truth(pair, scan, layout.mask_shape, spec.labels, notes=notes)
    second = _second(pair, scan, layout.mask_shape, notes)
    return LoadedScan(pair, scan, layout, truth, second, match_scan(scan, layout, spec))


def _second(pair: Pair, scan: Scan, shape: tuple[int, ...], notes: list[str]) -> NDArray[np.uint8] | None:
    """Return the second reader's mask; grey values, as in a mean of readings, are thresholded at one half."""
    if pair.second is None:
        return None
    values = read_truth(replace(pair, mask=pair.second), scan, shape, ("", ""), grey=True, notes=notes)
    return (values > HALF).astype(np.uint8) if values.max(initial=0) > 1 else values


def _in_plane(work: LoadedScan[Pair]) -> tuple[float, float] | None:
    """Return the mm per row and column; None if the spacing is not known."""
    if work.scan.units != "mm":
        return None
    known = dict(zip(work.scan.spatial, work.scan.spacing, strict=True))
    rows, columns = known.get(work.layout.rows), known.get(work.layout.columns)
    return None if rows is None or columns is None else (rows, columns)


def _parts(cases: Sequence[dict[str, Any]], key: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the scores with these names for every group or type, in the order of the cases."""
    from napari_unet_tumour.engine.metrics.summary import summarise

    own: dict[str, list[dict[str, Any]]] = {}
    for case in cases:
        own.setdefault(case.get(key, ""), []).append(case)
    summaries = {value: summarise(part) for value, part in own.items()}
    return {value: {name: one[name] for name in names} for value, one in summaries.items()}
