"""Scores of masks: a row per slice, and their summary, as written by `evaluate --json`."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.engine.metrics.intervals import mean_interval, share_interval
from napari_unet_tumour.engine.metrics.overlap import METRICS, counts, dice, soft_dice
from napari_unet_tumour.errors import ScanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout

SCORES = tuple(METRICS)
READERS = ("dice_second", "dice_readers", "agreement")
# Scans without a tumour but a mask on more slices than this are counted separately.
FEW = 2
Row = dict[str, Any]


def score_scan(
    mask: NDArray[Any],
    truth: NDArray[Any],
    layout: SliceLayout,
    scan: str,
    group: str = "",
    array: Any = None,
    spacing: Sequence[float] | None = None,
    labels: Sequence[str] = (),
    second: NDArray[Any] | None = None,
) -> list[Row]:
    """Score every slice of a scan.

    Parameters
    ----------
    mask, truth : numpy.ndarray
        Of `layout.mask_shape`; everything but 0 is foreground.
    layout : SliceLayout
        The scan's planes.
    scan, group : str
        Names of the scan and of its group, usually the patient; an empty group becomes the scan's name.
    array : array-like, optional
        The scan's values, to distinguish blank slices (constant values) from slices without a tumour.
    spacing : sequence of float, optional
        mm per row and column; HD95 is in pixels without it.
    labels : sequence of str
        Names by pixel value, background first; several labels are also scored one by one.
    second : numpy.ndarray, optional
        A second reader's mask of the same shape.

    Returns
    -------
    list of dict
        Keys scan, group, slice, blank, unit, pixels (mask), truth_pixels, both_pixels, `SCORES` and, with several
        labels, dice_by_label. With a second reader also `READERS`: Dice against the second reader, against the mean of
        both, and of one reader against the other. An undefined score is None.

    Raises
    ------
    ScanError
        A mask has another shape than the scan.
    """
    for name, given in (("mask", mask), ("truth", truth), ("second reader's mask", second)):
        if given is not None and given.shape != layout.mask_shape:
            raise ScanError(
                f"{scan}: the {name} has shape {given.shape}, the scan {layout.mask_shape}: give a fitting one"
            )
    rows = []
    for n in range(layout.planes):
        found, real = (layout.to_array_order(np.asarray(whole[layout.index(n)])) for whole in (mask, truth))
        row = {
            "scan": scan,
            "group": group or scan,
            "slice": n,
            "blank": array is not None and _blank(layout, array, n),
        }
        rows.append(row | score(found, real, spacing) | _by_label(found, real, labels))
        if second is not None:
            rows[-1] |= _by_reader(found, real, layout.to_array_order(np.asarray(second[layout.index(n)])))
    return rows


def score(mask: NDArray[Any], truth: NDArray[Any], spacing: Sequence[float] | None = None) -> Row:
    """Return the scores of one slice, None if undefined; HD95 in mm if `spacing` (mm per axis) is given."""
    both, found, real = counts(mask, truth)
    pixels = {"pixels": found, "truth_pixels": real, "both_pixels": both}
    return (
        pixels | {"unit": "mm" if spacing else "pixel"} | {n: _known(METRICS[n](mask, truth, spacing)) for n in SCORES}
    )


def _by_reader(found: NDArray[Any], first: NDArray[Any], second: NDArray[Any]) -> Row:
    if not (first.any() or second.any()):
        return dict.fromkeys(READERS)
    mean = ((first != 0).astype(np.float64) + (second != 0)) / 2
    scores = (dice(found, second), soft_dice(found, mean), dice(first, second))
    return dict(zip(READERS, scores, strict=True))


def summarise(rows: Sequence[Row], seconds: float | None = None) -> Row:
    """Summarise the rows of many scans.

    Dice, IoU, precision, recall and HD95 are means over the slices with tumour in the truth; "undefined" counts those
    of these slices that have no value and are left out of the mean (HD95 and precision of an empty mask).
    dice_low and dice_high are the 95 % interval of the mean Dice, by a bootstrap over groups (None with fewer than
    `intervals.FEWEST`); no_overlap_rate is the fraction of these slices where the mask has no true pixel.
    group_dice_mean is the mean over groups of their slices' mean. volume_dice_mean is the mean over scans with tumour
    of the Dice over all pixels. false_mask_rate is the fraction of slices without tumour (blank ones not counted) with
    any predicted pixel; its 95 % interval is a bootstrap over groups (Wilson's with fewer than `intervals.FEWEST`).
    empty_scans counts scans without tumour (blank ones not counted), those with a mask on any slice, and those with a
    mask on more than two. With a second reader, over slices that both have read: dice_second_mean, dice_readers_mean
    (soft Dice against the mean of both masks) and agreement_mean (of one reader against the other). A mean of nothing
    is None.
    """
    tumour = [row for row in rows if row["truth_pixels"]]
    empty = [row for row in rows if not row["truth_pixels"] and not row["blank"]]
    units = {row["unit"] for row in tumour}
    means = {f"{name}_mean": _mean(row[name] for row in tumour) for name in SCORES if name != "accuracy"}
    if len(units) > 1:
        means["hd95_mean"] = None
    return {
        "slices": len(rows),
        "tumour_slices": len(tumour),
        **means,
        **dict(zip(("dice_low", "dice_high"), _dice_interval(tumour), strict=True)),
        "no_overlap_rate": _mean(float(row["both_pixels"] == 0) for row in tumour),
        "dice_median": _percentile(tumour, 50),
        "dice_p5": _percentile(tumour, 5),
        "group_dice_mean": _mean(_mean(r["dice"] for r in part) for part in _parts(tumour, "group")),
        "volume_dice_mean": _mean(_volume_dice(part) for part in _parts(rows, "scan")),
        **_false_masks(rows, empty),
        **{
            f"{name}_mean": _mean(row.get(name) for row in rows) for name in READERS if any(name in row for row in rows)
        },
        "hd95_unit": units.pop() if len(units) == 1 else "mixed" if units else None,
        "undefined": {name: sum(row[name] is None for row in tumour) for name in SCORES if name != "accuracy"},
        **_labels_summary(tumour),
        "seconds": seconds,
    }


def _dice_interval(tumour: Sequence[Row]) -> tuple[float | None, float | None]:
    return mean_interval([row["dice"] for row in tumour], [str(row["group"]) for row in tumour])


def _false_masks(rows: Sequence[Row], empty: Sequence[Row]) -> Row:
    """Return how often something is predicted where there is no tumour: by slice, with an interval, and by scan."""
    marked = [row["pixels"] > 0 for row in empty]
    low, high = share_interval(marked, [str(row["group"]) for row in empty])
    scans = [part for part in _parts(rows, "scan") if not any(row["truth_pixels"] for row in part)]
    counts = [sum(row["pixels"] > 0 and not row["blank"] for row in part) for part in scans if not _all_blank(part)]
    return {
        "empty_slices": len(empty),
        "false_mask_rate": _mean(map(float, marked)),
        "false_mask_low": low,
        "false_mask_high": high,
        "empty_scans": len(counts),
        "empty_scans_with_mask": sum(count > 0 for count in counts),
        "empty_scans_with_more_than_two": sum(count > FEW for count in counts),
    }


def _all_blank(rows: Sequence[Row]) -> bool:
    return all(row["blank"] for row in rows)


def report(name: str, model_hash: str, rows: Sequence[Row], seconds: float | None = None) -> Row:
    """Return the content of `evaluate --json`."""
    return {
        "model": {"name": name, "hash": model_hash},
        "summary": summarise(rows, seconds),
        "cases": list(rows),
    }


def _blank(layout: SliceLayout, array: Any, n: int) -> bool:
    plane = layout.read_planes(array, [n])
    # NaN does not count as another value.
    known = plane[np.isfinite(plane)]
    return bool(known.size == 0 or known.min() == known.max())


def _by_label(mask: NDArray[Any], truth: NDArray[Any], labels: Sequence[str]) -> Row:
    if len(labels) < 3:
        return {}
    pairs = {name: (mask == value, truth == value) for value, name in enumerate(labels) if value}
    return {"dice_by_label": {name: dice(*pair) if pair[1].any() else None for name, pair in pairs.items()}}


def _labels_summary(rows: Sequence[Row]) -> Row:
    names = {name: None for row in rows for name in row.get("dice_by_label", ())}
    if not names:
        return {}
    return {"dice_by_label": {name: _mean(row["dice_by_label"][name] for row in rows) for name in names}}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _percentile(rows: Sequence[Row], q: float) -> float | None:
    return float(np.percentile([row["dice"] for row in rows], q)) if rows else None


def _parts(rows: Sequence[Row], key: str) -> list[list[Row]]:
    def by(row: Row) -> str:
        return str(row[key])

    return [list(part) for _, part in groupby(sorted(rows, key=by), by)]


def _volume_dice(rows: Sequence[Row]) -> float | None:
    both, found, real = (sum(row[key] for row in rows) for key in ("both_pixels", "pixels", "truth_pixels"))
    return 2 * both / (found + real) if real else None
