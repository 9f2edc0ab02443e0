"""A reader's habit of outlining: learnt from corrected slices, used within the network's own components."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.models.spec import ModelSpec, spec_from_json
from napari_unet_tumour.postprocess.outline_features import outline_pixels
from napari_unet_tumour.postprocess.outline_habit import contribution, habit_of, with_habit
from napari_unet_tumour.postprocess.threshold import mask_from_probability
from napari_unet_tumour.scans.training_match import statistics_of
from napari_unet_tumour.settings import SegmentSettings

SPEC = ModelSpec("net", "lite-unet", min_object_size=30)
SETTINGS = SegmentSettings(threshold=0.5, min_object_size=30, flip_tta=False)


def scan(seed, side=96, coarse=False):
    """Return a slice (1, H, W) with a bright rim around a dark core, the network's answer, rim and whole tumour."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side
    head = (rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.2
    middle = rng.uniform(0.4, 0.6, 2)
    radius = np.hypot(rows - middle[0], columns - middle[1])
    whole, core = radius < 0.15, radius < 0.09
    grey = head * 100 + (whole & ~core) * 120 - core * 40 + rng.normal(0, 4, head.shape)
    if coarse:
        grey = ndimage.gaussian_filter(grey, 3) + rng.normal(0, 25, head.shape)
    probability = np.round(255 / (1 + np.exp((radius - 0.15) * 90))).astype(np.uint8)
    return grey[None].astype(np.float32), probability[None], whole & ~core, whole


def taught(seeds=(1, 2), of="rim", spec=SPEC, **more):
    made = []
    for seed in seeds:
        plane, probability, rim, whole = scan(seed, **more)
        mask = (rim if of == "rim" else whole).astype(np.uint8)
        made.append(contribution(f"scan{seed}", [(plane, probability, mask)], [plane], spec, SETTINGS))
    return replace(spec, habit=habit_of(made, spec))


def dice(mask, truth):
    return 2 * np.sum((mask > 0) & truth) / (np.sum(mask > 0) + truth.sum())


def answered(spec, seed, settings=SETTINGS, **more):
    plane, probability, rim, whole = scan(seed, **more)
    return mask_from_probability(with_habit(plane, probability, spec, settings), settings), rim, whole


def test_a_rim_is_outlined_in_the_next_scan_where_the_reader_outlined_rims():
    mask, rim, whole = answered(taught(), 7)
    assert dice(mask, rim) > 0.9 > dice(whole, rim)


def test_the_whole_tumour_stays_where_the_reader_outlined_it_whole():
    mask, _, whole = answered(taught(of="whole"), 7)
    assert dice(mask, whole) > 0.95


def test_the_same_habit_holds_at_twice_the_resolution():
    mask, rim, _ = answered(taught(), 7, side=192)
    assert dice(mask, rim) > 0.85


def test_without_a_habit_the_answer_is_the_networks_own():
    plane, probability, *_ = scan(3)
    assert with_habit(plane, probability, SPEC, SETTINGS) is probability


@pytest.mark.parametrize("flips", [False, True])
def test_a_rule_that_changes_nothing_gives_the_same_mask(flips):
    settings = replace(SETTINGS, flip_tta=flips)
    spec = replace(SPEC, habit={"weights": [0.0] * 9, "direction": [], "scans": []})
    for seed in range(5):
        plane, probability, *_ = scan(seed)
        probability //= 1 + seed % 3
        before = mask_from_probability(probability, settings)
        after = mask_from_probability(with_habit(plane, probability, spec, settings), settings)
        np.testing.assert_array_equal(before, after)


def test_no_slice_gets_a_mask_and_none_loses_it_whatever_the_rule_says():
    rng = np.random.default_rng(0)
    for seed in range(40):
        plane, probability, *_ = scan(seed)
        probability = np.round(probability * rng.choice([0.3, 0.49, 0.6, 1.0])).astype(np.uint8)
        flips = bool(rng.integers(2))
        settings = replace(SETTINGS, flip_tta=flips)
        rule = {"weights": rng.normal(0, 3, 9).tolist(), "direction": [], "scans": []}
        before = mask_from_probability(probability, settings)
        after = mask_from_probability(with_habit(plane, probability, replace(SPEC, habit=rule), settings), settings)
        assert before.any() == after.any()
        grown = ndimage.binary_dilation(before, iterations=4)
        assert not (after.astype(bool) & ~grown).any()


def test_unsure_pixels_say_nothing():
    plane, probability, rim, whole = scan(1)
    left = np.arange(rim.shape[1]) < 56
    wrong, unsure = (np.where(left & whole, value, rim).astype(np.uint8) for value in (0, UNSURE))
    made = [contribution("a", [(plane, probability, one)], [plane], SPEC, SETTINGS) for one in (wrong, unsure)]
    assert made[0] != made[1]
    mask, rim, _ = answered(replace(SPEC, habit=habit_of(made[1:], SPEC)), 7)
    assert dice(mask, rim) > 0.9


@pytest.mark.parametrize("case", ["emptied", "missed", "all unsure", "no answer", "blank"])
def test_a_slice_that_tells_nothing_of_an_outline_is_left_out(case):
    plane, probability, rim, _ = scan(1)
    mask = rim.astype(np.uint8)
    if case == "emptied":
        mask[:] = 0
    elif case == "missed":
        mask = np.zeros_like(mask)
        mask[:5, :5] = 1
    elif case == "all unsure":
        mask[:] = UNSURE
    elif case == "no answer":
        probability = np.zeros_like(probability)
    else:
        plane = np.zeros_like(plane)
    assert contribution("a", [(plane, probability, mask)], [plane], SPEC, SETTINGS) is None
    assert habit_of([], SPEC) == {}


def test_what_a_scan_tells_later_takes_the_place_of_what_it_told_before():
    rim, whole = (taught((1,), of).habit["scans"] for of in ("rim", "whole"))
    assert habit_of([*rim, *whole], SPEC) == habit_of(whole, SPEC)


def test_scans_add_up_whatever_their_order():
    one, two = (taught((seed,)).habit["scans"][0] for seed in (1, 2))
    np.testing.assert_allclose(habit_of([one, two], SPEC)["weights"], habit_of([two, one], SPEC)["weights"], atol=1e-9)


def test_scans_like_the_training_slices_keep_the_networks_outlines():
    typical = statistics_of(scan(seed)[0] for seed in range(40))
    spec = taught((101, 102), spec=replace(SPEC, typical=typical), coarse=True)
    plane, probability, *_ = scan(7)
    assert with_habit(plane, probability, spec, SETTINGS) is probability
    mask, rim, whole = answered(spec, 108, coarse=True)
    assert dice(mask, rim) > dice(whole, rim)


def test_the_habit_counts_for_all_where_enough_scans_look_like_the_training_slices():
    typical = statistics_of(scan(seed)[0] for seed in range(40))
    spec = replace(SPEC, typical=typical)
    assert len(taught((51,), spec=spec).habit["direction"]) > 0
    assert taught(range(51, 63), spec=spec).habit["direction"] == []


def test_the_model_file_keeps_it_and_older_files_have_none():
    spec = taught()
    assert spec_from_json(spec.to_json(), "net").habit == spec.habit
    old = json.loads(SPEC.to_json())
    del old["habit"]
    assert spec_from_json(json.dumps(old), "net").habit == {}


def test_several_labels_or_other_channels_have_no_habit():
    plane, probability, *_ = scan(3)
    habit = taught().habit
    for spec in (
        replace(SPEC, labels=("background", "a", "b"), habit=habit),
        replace(SPEC, channels=("A", "B"), habit=habit),
    ):
        assert with_habit(plane, probability, spec, SETTINGS) is probability


def test_several_channels_are_described_together():
    plane, probability, *_ = scan(3)
    found = outline_pixels(np.concatenate([plane, -plane]), probability, SETTINGS)
    assert found.features.shape == (found.where.sum(), 14)
