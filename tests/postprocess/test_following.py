"""What corrected slices change on the others: carried outlines, and elsewhere the reader's habit."""

from dataclasses import replace

import numpy as np
import pytest

from napari_unet_tumour.corrections import ReviewedSlice
from napari_unet_tumour.corrections.carry import CarryWeights, carry
from napari_unet_tumour.corrections.remembered import remember
from napari_unet_tumour.corrections.stack import ScanStack, checksum
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.postprocess import following
from napari_unet_tumour.postprocess.following import Lessons, ScanAnswers, iter_following
from napari_unet_tumour.postprocess.outline_habit import contribution, habit_of, lesson_of, rule_of, with_habit
from napari_unet_tumour.postprocess.threshold import mask_from_probability
from napari_unet_tumour.settings import SegmentSettings

SPEC = ModelSpec("net", "lite-unet", min_object_size=30)
SETTINGS = SegmentSettings(threshold=0.5, min_object_size=30, flip_tta=False)
COUNT, SIDE, MIDDLE, EMPTY = 10, 96, 4, 9
SPACING = (2.5, 2.5, 6.0)


@pytest.fixture(scope="module")
def volume():
    """Return planes with a bright rim around a dark core, the network's answers, the rims and the whole tumours.

    The last slice has no tumour.
    """
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    radius = np.hypot(rows - 0.45, columns - 0.55)
    sizes = (
        0.16 - 0.008 * np.abs(np.arange(COUNT) - MIDDLE)[:, None, None] - 9 * (np.arange(COUNT) == EMPTY)[:, None, None]
    )
    whole, core = radius < sizes, radius < sizes - 0.06
    head = (rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.2
    grey = head * 100 + (whole & ~core) * 120 - core * 40 + rng.normal(0, 4, whole.shape)
    answers = np.round(255 / (1 + np.exp(((radius - sizes) * 90).clip(-50, 50)))).astype(np.uint8)
    return grey[:, None].astype(np.float32), answers[:, None], (whole & ~core).astype(np.uint8), whole.astype(np.uint8)


def scan_of(volume, reviewed, plain=None, **more):
    planes, answers = volume[:2]
    known = dict(enumerate(answers))
    given = {"plain": known if plain is None else plain, "rest": known if plain is None else plain, **more}
    return ScanAnswers(planes, reviewed, known, SPACING, lambda _: SETTINGS, **given)


def followed(scan, spec=SPEC, lessons=None):
    first, *others = iter_following(scan, spec, lessons)
    return first, {n: one for some in others for n, one in some.items()}


def carried_alone(scan, spec=SPEC):
    labels = len(spec.labels) - 1
    return carry(
        scan.planes, scan.reviewed, scan.answers, labels, SPACING, CarryWeights.from_dict(spec.carry)
    ).probability


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n]) for n in one)


def dice(probability, truth):
    mask = mask_from_probability(probability, SETTINGS)
    return 2 * np.sum((mask > 0) & (truth > 0)) / (np.sum(mask > 0) + truth.sum())


def test_rims_near_and_far_follow_one_corrected_rim(volume):
    _, answers, rims, _ = volume
    near, far = followed(scan_of(volume, {MIDDLE: rims[MIDDLE]}))
    assert set(near) == {2, 3, 5, 6}
    assert list(far) == [1, 7, 0, 8], "the nearest first"
    for n, one in {**near, **far}.items():
        assert dice(one, rims[n]) > max(0.85, dice(answers[n], rims[n]) + 0.1)


@pytest.mark.parametrize("case", ["emptied", "one pixel", "as predicted", "rim and core"])
def test_where_the_corrected_slices_tell_no_habit_it_is_carrying_alone(volume, case):
    _, answers, rims, whole = volume
    mask = np.zeros_like(rims[0])
    if case == "one pixel":
        mask[43, 52] = 1
    elif case == "as predicted":
        mask = mask_from_probability(answers[MIDDLE], SETTINGS)
    reviewed = {MIDDLE: mask}
    if case == "rim and core":  # of slices that look alike
        reviewed = {3: rims[3], 5: whole[5] - rims[5]}
    near, far = followed(scan := scan_of(volume, reviewed))
    if case == "as predicted":
        assert all(dice(one, whole[n]) > 0.9 for n, one in far.items())
    else:
        assert not far
        assert same(near, carried_alone(scan))


def test_several_labels_and_time_points_are_left_to_carrying(volume):
    _, answers, rims, whole = volume
    two = rims + whole
    scan = scan_of(volume, {MIDDLE: two[MIDDLE]})
    near, far = followed(scan)
    assert not far
    assert same(near, carried_alone(scan))
    spec = replace(SPEC, labels=("background", "rim", "core"))
    pairs = {n: np.concatenate([one // 2, one // 3]) for n, one in enumerate(answers)}
    scan = replace(scan_of(volume, {MIDDLE: two[MIDDLE]}, pairs), answers=pairs)
    near, far = followed(scan, spec)
    assert not far
    assert same(near, carried_alone(scan, spec))
    flat = replace(scan_of(volume, {MIDDLE: rims[MIDDLE]}), spacing=(1.0, 1.0, 0.0))
    assert followed(flat) == ({}, {})


def test_only_slices_that_may_change_do_and_none_without_a_mask_gets_one(volume):
    _, answers, rims, _ = volume
    rest = {n: one for n, one in enumerate(answers) if n != 8}
    rest[7] = answers[7] // 3  # its lesion is not shown
    near, far = followed(scan_of(volume, {MIDDLE: rims[MIDDLE]}, rest=rest))
    assert [*far] == [1, 0]
    assert {MIDDLE, 7, 8, EMPTY}.isdisjoint(near | far)


def test_one_more_corrected_slice_is_looked_at_alone(volume, monkeypatch):
    looked = []
    real = lesson_of
    monkeypatch.setattr(following, "lesson_of", lambda *given: looked.append(given[0]) or real(*given))
    rims, lessons = volume[2], Lessons()
    followed(scan_of(volume, {MIDDLE: rims[MIDDLE]}), lessons=lessons)
    both = {MIDDLE: rims[MIDDLE], 1: rims[1]}
    again = followed(scan_of(volume, both), lessons=lessons)
    assert len(looked) == 2
    assert looked[1] is not looked[0]
    assert same(again[1], followed(scan_of(volume, both))[1]), "nothing depends on what was remembered"
    followed(scan_of(volume, {MIDDLE: volume[3][MIDDLE]}), lessons=lessons)
    assert len(looked) == 5, "another mask is another lesson"


def knowing(volume, scan="earlier", corrected=()):
    """Return the description of a model that has learnt from a rim, and the answers that it gives to the volume."""
    planes, answers, rims, _ = volume
    made = contribution(scan, [(planes[5], answers[5], rims[5])], [], SPEC, SETTINGS)
    spec = replace(SPEC, habit=habit_of([made], SPEC), corrected=[*corrected])
    moved = {
        n: with_habit(plane, one, spec, SETTINGS) for n, (plane, one) in enumerate(zip(planes, answers, strict=True))
    }
    return spec, moved


def test_earlier_scans_add_up_with_this_one(volume):
    planes, answers, _, whole = volume
    spec, moved = knowing(volume)
    scan = replace(scan_of(volume, {MIDDLE: whole[MIDDLE]}), answers=moved)
    lesson = lesson_of(planes[MIDDLE], answers[MIDDLE], whole[MIDDLE], SPEC, SETTINGS)
    [earlier] = spec.habit["scans"]
    rule = rule_of(lesson.matrix + earlier["matrix"], lesson.vector + earlier["vector"])
    together = replace(SPEC, habit={"weights": rule, "direction": []})
    _, far = followed(scan, spec)
    assert far
    for n, one in far.items():
        np.testing.assert_array_equal(one, with_habit(planes[n], answers[n], together, SETTINGS))


def test_what_the_model_has_learnt_from_a_slice_counts_once(volume):
    planes, _, rims, _ = volume
    stack = ScanStack(
        "scan", 0, COUNT, SPACING, dict(enumerate(planes)), {n: checksum(p) for n, p in enumerate(planes)}
    )
    kept = remember([stack], [ReviewedSlice("scan", 5, planes[5], rims[5])])
    spec, moved = knowing(volume, "scan", kept)
    scan = replace(scan_of(volume, {5: rims[5]}), answers=moved)
    near, far = followed(scan, spec)
    assert not far, "the model's answers have it already"
    # The model's habit is what the slice has taught it: no more than the slice teaches a model that has not seen it.
    taught = followed(scan_of(volume, {5: rims[5]}))[0]
    assert near.keys() == taught.keys()
    for n, one in near.items():
        assert np.abs(one.astype(int) - taught[n]).max() <= 1
    scan = replace(scan_of(volume, {5: rims[5], 1: rims[1]}), answers=moved)
    assert followed(scan, spec)[1], "a slice that it has not learnt from says something new"
