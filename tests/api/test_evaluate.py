import json

import numpy as np
import pytest

from napari_unet_tumour import evaluate, scans
from napari_unet_tumour.api.pairs import Pair, read_pairs
from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.settings import SegmentSettings


@pytest.fixture
def pairs(tmp_path, blob):
    """Four slices: found whole, half of it true, empty truth with a false mask, blank."""
    half = (blob > 127).astype(np.uint8)
    half[:, 40:] = 0
    cases = [
        ("ann", blob, blob > 127),
        ("ann", blob.copy(), half),
        ("bob", np.where(blob > 127, 140, blob).astype(np.uint8), np.zeros_like(blob)),
        ("bob", np.full_like(blob, 200), np.zeros_like(blob)),
    ]
    rows = ["scan,mask,group"]
    for n, (group, image, mask) in enumerate(cases):
        scans.write_mask(tmp_path / f"i{n}.tif", image, Scan(image, "yx"))
        scans.write_mask(tmp_path / f"m{n}.png", mask.astype(np.uint8), Scan(image, "yx"))
        rows.append(f"i{n}.tif,m{n}.png,{group}")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    return tmp_path / "pairs.csv"


def test_the_figures_are_those_worked_out_by_hand(bright, pairs):
    found = evaluate(pairs, bright)
    summary = found["summary"]
    assert found["model"]["name"] == "bright"
    assert (summary["slices"], summary["tumour_slices"]) == (4, 2)
    assert summary["dice_mean"] == pytest.approx((1 + 2 / 3) / 2)
    assert summary["precision_mean"] == pytest.approx(0.75)
    assert summary["recall_mean"] == 1
    assert summary["group_dice_mean"] == pytest.approx((1 + 2 / 3) / 2)
    assert summary["false_mask_rate"] == 1, "the blank slice does not count"
    assert [(one["group"], one["slices"], one["dice_mean"]) for one in found["groups"]] == [
        ("ann", 2, pytest.approx(5 / 6)),
        ("bob", 2, None),
    ]
    assert [one["blank"] for one in found["cases"]] == [False, False, False, True]
    assert found["failed"] == []
    json.dumps(found, allow_nan=False)


def test_settings_count(bright, pairs):
    assert evaluate(pairs, bright, SegmentSettings(min_object_size=1000))["summary"]["dice_mean"] == 0


def test_a_volume_gives_a_case_a_slice(bright, blob, tmp_path):
    volume = np.stack([blob, 60 - np.minimum(blob, 60)])
    scan = Scan(volume, "zyx", np.diag([5.0, 0.5, 0.5, 1.0]), "mm")
    image = scans.write_mask(tmp_path / "v.nii.gz", volume, scan)
    mask = scans.write_mask(tmp_path / "m.nii.gz", (volume > 127).astype(np.uint8), scan)
    found = evaluate([Pair(image, mask, "ann")], bright)
    assert [(c["slice"], c["dice"], c["unit"]) for c in found["cases"]] == [(0, 1, "mm"), (1, 1, "mm")]
    assert found["summary"]["volume_dice_mean"] == 1
    assert found["summary"]["hd95_unit"] == "mm"


def test_a_pair_that_fails_is_named_and_the_rest_is_scored(bright, pairs, tmp_path):
    scans.write_mask(tmp_path / "m1.png", np.zeros((3, 3), np.uint8), Scan(np.zeros((3, 3)), "yx"))
    found = evaluate(read_pairs(pairs), bright)
    assert len(found["cases"]) == 3
    assert "m1.png has 3 x 3 pixels" in found["failed"][0]["error"]


def test_an_unknown_model_is_an_error(bright, pairs):
    with pytest.raises(ModelError, match="known: bright"):
        evaluate(pairs, "dark")


def test_a_second_reader_and_a_scan_without_a_tumour(bright, pairs, blob, tmp_path):
    half = np.where(np.arange(64) < 40, (blob > 127) * 255, 0).astype(np.uint8)
    scans.write_mask(tmp_path / "s.png", half, Scan(half, "yx"))
    table = tmp_path / "two.csv"
    table.write_text("scan,mask,group,second\ni0.tif,m0.png,ann,s.png\ni2.tif,none,bob,\n")
    found = evaluate(table, bright)
    summary = found["summary"]
    assert summary["agreement_mean"] == summary["dice_second_mean"] == pytest.approx(2 / 3)
    assert summary["dice_mean"] == 1
    assert (summary["empty_scans"], summary["empty_scans_with_mask"], summary["false_mask_rate"]) == (1, 1, 1)
    json.dumps(found, allow_nan=False)


def test_a_second_reader_of_another_size_is_named(bright, pairs, tmp_path):
    small = np.ones((8, 8), np.uint8)
    scans.write_mask(tmp_path / "small.png", small, Scan(small, "yx"))
    (tmp_path / "two.csv").write_text("scan,mask,second\ni0.tif,m0.png,small.png\n")
    failed = evaluate(tmp_path / "two.csv", bright)["failed"]
    assert "small.png has 8 x 8 pixels" in failed[0]["error"]


def test_the_readers_agreement_stands_beside_the_models_by_type_of_tumour(bright, pairs, blob, tmp_path):
    real = blob > 127
    for name, second in (
        ("half", real & (np.arange(64) < 40)),
        ("away", np.roll(real, 32, 1) & ~real),
        ("none", real & False),
    ):
        scans.write_mask(tmp_path / f"{name}.png", second.astype(np.uint8), Scan(second, "yx"))
    table = tmp_path / "two.csv"
    table.write_text(
        "scan,mask,group,second,tumour\ni3.tif,none,cat,,\ni0.tif,m0.png,ann,half.png,glioma\ni0.tif,m0.png,bob,away.png,other\n"
        "i3.tif,none,dan,none.png,other\n"
    )
    found = evaluate(table, bright)
    by = {(one["tumour"], one["compared"]): one for one in found["readers"]}
    assert list({name: None for name, _ in by}) == ["all", "glioma", "other"]
    assert by["all", "model, first reader"] | {"low": None} == {
        "tumour": "all", "compared": "model, first reader", "slices": 2, "groups": 2, "mean": 1, "low": None,
        "high": None, "no_overlap_rate": 0,
    }  # fmt: skip
    assert by["glioma", "first reader, second reader"]["mean"] == pytest.approx(2 / 3)
    assert by["all", "first reader, second reader"]["no_overlap_rate"] == 0.5
    assert by["other", "model, second reader"]["mean"] == 0
    mean_of_both = by["glioma", "model, mean of both"]["mean"]
    assert mean_of_both == pytest.approx(2 * 0.75 / 1.75)
    assert [(one["tumour"], one["slices"], one["dice_mean"]) for one in found["types"]] == [
        ("glioma", 1, 1),
        ("other", 2, 1),
    ]
    json.dumps(found, allow_nan=False)


def test_without_a_second_reader_nobody_is_compared(bright, pairs):
    found = evaluate(pairs, bright)
    assert found["readers"] == found["types"] == []
