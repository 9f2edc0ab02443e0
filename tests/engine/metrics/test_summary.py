from __future__ import annotations

import json

import numpy as np
import pytest

from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.engine.metrics.summary import report, score_scan, summarise
from napari_unet_tumour.errors import ScanError

SUMMARY = {
    "slices", "tumour_slices", "dice_mean", "dice_median", "dice_p5", "iou_mean", "precision_mean", "recall_mean",
    "group_dice_mean", "volume_dice_mean", "false_mask_rate", "hd95_mean", "seconds",
}  # fmt: skip


def _scan() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Five slices: found, half found, missed, false mask, blank."""
    array = np.random.default_rng(0).random((5, 16, 16))
    array[4] = np.nan
    truth = np.zeros(array.shape, np.uint8)
    truth[:3, 4:8, 4:12] = 1
    mask = truth.copy()
    mask[1, :, 8:] = 0
    mask[2] = 0
    mask[3, 2, 2] = 1
    return array, mask, truth


def test_summary_of_a_scan() -> None:
    array, mask, truth = _scan()
    rows = score_scan(mask, truth, layout_of(array.shape), "scan", "person", array)
    summary = summarise(rows, seconds=1.5)
    assert set(summary) >= SUMMARY
    assert summary["slices"] == 5
    assert summary["tumour_slices"] == 3
    assert summary["dice_mean"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert summary["dice_median"] == pytest.approx(2 / 3)
    assert summary["recall_mean"] == pytest.approx(0.5)
    assert summary["false_mask_rate"] == 1
    assert summary["volume_dice_mean"] == pytest.approx(2 * 48 / (48 + 1 + 96))
    assert summary["seconds"] == 1.5


def test_undefined_scores_are_null_and_counted() -> None:
    array, mask, truth = _scan()
    rows = score_scan(mask, truth, layout_of(array.shape), "scan", array=array)
    assert rows[2]["hd95"] is None
    assert rows[2]["precision"] is None
    summary = summarise(rows)
    assert summary["undefined"]["hd95"] == summary["undefined"]["precision"] == 1
    assert summary["precision_mean"] == 1
    assert summary["hd95_mean"] == pytest.approx(np.mean([rows[0]["hd95"], rows[1]["hd95"]]))


def test_groups_count_alike_whatever_their_size() -> None:
    array, mask, truth = _scan()
    layout = layout_of(array.shape)
    rows = score_scan(mask, truth, layout, "a", "one", array) + score_scan(truth, truth, layout, "b", "two", array)
    rows += score_scan(truth, truth, layout, "c", "two", array)
    assert summarise(rows)["group_dice_mean"] == pytest.approx((5 / 9 + 1) / 2)


def test_nothing_to_average_is_null() -> None:
    empty = np.zeros((2, 8, 8), np.uint8)
    summary = summarise(score_scan(empty, empty, layout_of(empty.shape), "scan", array=np.zeros((2, 8, 8))))
    assert summary["slices"] == 2
    assert all(summary[key] is None for key in SUMMARY - {"slices", "tumour_slices"})
    assert summarise([])["dice_mean"] is None


def test_units_are_reported_and_never_mixed() -> None:
    array, mask, truth = _scan()
    layout = layout_of(array.shape)
    pixels = score_scan(mask, truth, layout, "a")
    mm = score_scan(mask, truth, layout, "b", spacing=(0.5, 0.5))
    assert mm[1]["hd95"] == pytest.approx(pixels[1]["hd95"] / 2)
    assert (summarise(pixels)["hd95_unit"], summarise(mm)["hd95_unit"]) == ("pixel", "mm")
    assert (summarise(pixels + mm)["hd95_unit"], summarise(pixels + mm)["hd95_mean"]) == ("mixed", None)


def test_labels_are_scored_apart() -> None:
    truth = np.zeros((1, 8, 8), np.uint8)
    truth[0, :4] = 1
    truth[0, 4:6] = 2
    mask = truth.copy()
    mask[mask == 2] = 1
    labels = ("background", "core", "rim", "other")
    rows = score_scan(mask, truth, layout_of(truth.shape), "scan", labels=labels)
    assert rows[0]["dice"] == 1
    assert rows[0]["dice_by_label"] == {"core": pytest.approx(0.8), "rim": 0, "other": None}
    assert summarise(rows)["dice_by_label"]["core"] == pytest.approx(0.8)


def test_planes_along_another_axis() -> None:
    array, mask, truth = _scan()
    turned = [np.moveaxis(a, 0, 2).swapaxes(0, 1) for a in (mask, truth, array)]
    layout = layout_of(turned[0].shape, rows=1, columns=0)
    spacing = (0.5, 2.0)
    expected = score_scan(mask, truth, layout_of(array.shape), "scan", array=array, spacing=spacing)
    assert score_scan(*turned[:2], layout, "scan", array=turned[2], spacing=spacing) == expected


def test_shapes_must_fit() -> None:
    array, mask, truth = _scan()
    with pytest.raises(ScanError, match="scan: the truth has shape"):
        score_scan(mask, truth[:4], layout_of(array.shape), "scan")


def test_report_is_plain_json() -> None:
    array, mask, truth = _scan()
    written = report("t1ce-small", "abc", score_scan(mask, truth, layout_of(array.shape), "scan", array=array), 2.0)
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert set(written) == {"model", "summary", "cases"}
    assert set(written["cases"][0]) >= {"scan", "group", "slice", "dice"}


def test_false_masks_are_counted_by_slice_and_by_scan() -> None:
    rng, rows = np.random.default_rng(0), []
    for head, marked in enumerate((0, 1, 2, 3)):
        array = rng.random((6, 8, 8))
        array[5] = 0
        mask = np.zeros(array.shape, np.uint8)
        mask[:marked, 2, 2] = 1
        rows += score_scan(mask, np.zeros_like(mask), layout_of(array.shape), f"head {head}", array=array)
    summary = summarise(rows)
    assert summary["empty_slices"] == 20, "the blank ones do not count"
    assert summary["false_mask_rate"] == pytest.approx(6 / 20)
    assert summary["false_mask_low"] < 0.3 < summary["false_mask_high"]
    assert summary["empty_scans"] == 4
    assert summary["empty_scans_with_mask"] == 3
    assert summary["empty_scans_with_more_than_two"] == 1


def test_a_second_reader_is_scored_beside_the_first() -> None:
    array, _, truth = _scan()
    second = truth.copy()
    second[:3, :, 8:] = 0  # half of what the first one drew
    layout = layout_of(array.shape)
    summary = summarise(score_scan(truth, truth, layout, "scan", array=array, second=second))
    assert summary["agreement_mean"] == summary["dice_second_mean"] == pytest.approx(2 / 3)
    # 8 of 8 pixels of which 4 count whole and 4 half: 2 * 6 / (8 + 6).
    assert summary["dice_readers_mean"] == pytest.approx(12 / 14 * 1)
    assert "agreement_mean" not in summarise(score_scan(truth, truth, layout, "scan", array=array))
    with pytest.raises(ScanError, match="second reader's mask has shape"):
        score_scan(truth, truth, layout, "scan", array=array, second=second[:2])
