"""Fine-tune a model on scans with corrected masks."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour import scans
from napari_unet_tumour.api.pairs import Pair, read_pairs, read_truth
from napari_unet_tumour.api.segment import layout_for, load_model
from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.corrections import Record, ReviewedSlice, scan_id
from napari_unet_tumour.corrections.carry import CarryWeights
from napari_unet_tumour.corrections.holdout import place_of
from napari_unet_tumour.corrections.matching import exclude_leaks
from napari_unet_tumour.corrections.reviewed import with_stacks
from napari_unet_tumour.corrections.stack import stacks_of
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.spec import with_scores
from napari_unet_tumour.models.tuned_scores import tuned_scores
from napari_unet_tumour.settings import FinetuneSettings, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.api.batch import OnTick
    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.corrections import FineTuneOutcome
    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.scans.scan import Scan


def finetune(
    pairs: str | Path | Sequence[Pair],
    model: str | Path = "default",
    settings: FinetuneSettings | None = None,
    *,
    axis: int | None = None,
    add_classes: Sequence[str] = (),
    on_tick: OnTick | None = None,
) -> FineTuneOutcome:
    """Fine-tune a copy of a model on corrected slices.

    Parameters
    ----------
    pairs : path or sequence of Pair
        A PAIRS.csv (columns scan, mask and optionally group and slices), or the result of `read_pairs`. `slices`
        are the reviewed ones, by default all that are not blank. Pixels of value 255 are unsure.
    model : str or pathlib.Path
        "default", the name of an installed model, or a model file.
    settings : FinetuneSettings, optional
        Learning time and other settings.
    axis : int, optional
        The array axis to slice along; see `segment`.
    add_classes : sequence of str
        Names of labels that the masks have but the model does not, for the values after the model's last one.
    on_tick : callable, optional
        Called with a `Progress` after every step, and before that once for every mask that was resampled to its scan's
        grid; the message says what was done. An exception from it stops the work.

    Returns
    -------
    FineTuneOutcome
        `data` is the content of the new model file, b"" if nothing better was found; `held_out` and `reference` hold
        the scores before and after. Every third reviewed slice with foreground of a scan is held out: it is only
        scored, as are the slices at the same position in other scans of the same person (`group`, or the file's own).

    Raises
    ------
    ScanError, ModelError, TrainingError, DeviceError
        The table, a scan, its mask or the model cannot be used.
    """
    from napari_unet_tumour.engine.finetuning.finetune import iter_finetune

    chosen = read_pairs(pairs) if isinstance(pairs, (str, Path)) else pairs
    parent = _with_classes(load_model(registry.find(model).path), add_classes)
    known: list[Record] = []
    notes: list[str] = []
    pixel_mm: dict[str, float] = {}
    given = [_reviewed(pair, parent.spec, axis, known, notes, pixel_mm) for pair in chosen]
    if on_tick is not None:
        for note in notes:
            on_tick(Progress(len(chosen), len(chosen), note))
    corrections = exclude_leaks((one for some, _ in given for one in some), known)
    steps = iter_finetune(parent, corrections, settings or FinetuneSettings(), context=_together([c for _, c in given]))
    return _scored(exhaust(steps, on_tick), corrections, pixel_mm)


def _scored(tuned: FineTuneOutcome, given: Sequence[ReviewedSlice], pixel_mm: Mapping[str, float]) -> FineTuneOutcome:
    """Return what was made with a model file that says what it was tuned on, and its scores."""
    if not tuned.data:
        return tuned
    held, scans = len(tuned.held_out), len({one.scan for one in given})
    scores = tuned_scores(tuned.held_out, len(given) - held, scans, pixel_mm)
    return replace(tuned, data=with_scores(tuned.data, scores))


def _with_classes(parent: Model, names: Sequence[str]) -> Model:
    if not names:
        return parent
    from napari_unet_tumour.engine.finetuning.add_classes import add_classes
    from napari_unet_tumour.engine.model import load

    # The model with empty classes is not saved: the parent of the new model is the one that was given.
    return replace(load(add_classes(parent, names)), hash=parent.hash)


def _reviewed(
    pair: Pair, spec: ModelSpec, axis: int | None, known: list[Record], notes: list[str], pixel_mm: dict[str, float]
) -> tuple[list[ReviewedSlice], NDArray[Any]]:
    """Return the corrected slices of a scan, and the planes (n, C, H, W) that nobody reviewed.

    The scan joins those `known`, and the side of its pixels those in `pixel_mm` where they are square.
    """
    scan = scans.read(pair.scan)
    layout = layout_for(scan, axis)
    truth = read_truth(pair, scan, layout.mask_shape, spec.labels, unsure=True, notes=notes)
    images = layout.read_planes(scan.array, range(layout.planes))
    beyond = [n for n in pair.slices if not 0 <= n < layout.planes]
    if beyond:
        raise ScanError(f"{pair.scan.name} has no slice {beyond[0]} (0 to {layout.planes - 1}): correct the table")
    reviewed = pair.slices or [n for n in range(layout.planes) if np.ptp(images[n]) > 0]
    place = place_of(scan.world, scan.axes.replace("c", ""), scan.units, layout)
    group = "" if pair.group == str(pair.scan) else pair.group  # the scan's own path stands for "no group"
    person, shape = group or scan.person, list(layout.mask_shape)
    record, found = Record(scan_id(scan.array, layout), shape, layout.planes, person, place), []
    for n in reviewed:
        mask = np.ascontiguousarray(layout.to_array_order(truth[layout.index(n)]), np.uint8)
        foreground = bool(((mask > 0) & (mask < 255)).any())
        record.tick(n, foreground, kin=[one for one in known if one.person == person != ""])
        found.append(ReviewedSlice(record.scan, n, images[n], mask, n in record.held_out, person))
    known.append(record)
    learnt = [one.slice for one in found if not one.held_out]
    weights, spacing = CarryWeights.from_dict(spec.carry), _spacing(scan, layout)
    row, column, _ = spacing
    if row is not None and column is not None and math.isclose(row, column, rel_tol=1e-3):
        pixel_mm[record.scan] = row
    stacks = stacks_of(record.scan, layout, spacing, learnt, lambda some: images[some], weights)
    return with_stacks(found, stacks), np.delete(images, list(reviewed), axis=0)


def _spacing(scan: Scan, layout: SliceLayout) -> tuple[float | None, float | None, float | None]:
    """Return height and width of a pixel and the distance of the slices in mm, None where the file does not say."""
    sides = dict(zip(scan.spatial, scan.spacing, strict=True))
    if scan.units != "mm":
        return None, None, None if layout.slice_distance else 0.0
    row, column = sides[layout.rows], sides[layout.columns]
    return row, column, layout.slice_distance * math.sqrt(row * column)


def _together(planes: Sequence[NDArray[Any]]) -> NDArray[Any] | None:
    """Return the planes of all scans that have the first one's shape."""
    there = [some for some in planes if len(some)]
    same = [some for some in there if some.shape[1:] == there[0].shape[1:]]
    return np.concatenate(same) if same else None
