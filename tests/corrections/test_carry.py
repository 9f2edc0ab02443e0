"""Corrected slices carried to their neighbours, on made-up stacks whose truth is known."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.corrections.carry import CarryWeights, carry
from napari_unet_tumour.postprocess.threshold import mask_from_probability
from napari_unet_tumour.settings import SegmentSettings

SIDE, COUNT = 96, 24
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
UNKNOWN = (None, None, None)


def ball(centre=(48.0, 48.0), radius=14.0, middle=10, half=4.5, drift=1.5, count=COUNT, spacing=(1.0, 1.0)):
    """Return a lesion (N, H, W): widest at `middle`, none from `half` slices on, moving `drift` pixels a slice."""
    away = np.arange(count) - middle
    width = radius * np.sqrt(np.clip(1 - (away / half) ** 2, 0, None))
    rows = (ROWS[None] - centre[0] - drift * away[:, None, None]) * spacing[0]
    columns = (COLUMNS[None] - centre[1]) * spacing[1]
    return (np.hypot(rows, columns) < width[:, None, None]).astype(np.uint8)


def brain(truth, seed=0, lesion=150.0):
    """Return grey values (N, H, W) float: a noisy oval head with the lesion brighter than the rest."""
    rng = np.random.default_rng(seed)
    head = np.hypot((ROWS - 48) / 44, (COLUMNS - 48) / 40) < 1
    grey = np.where(head, 100.0 + 20 * np.sin(ROWS / 9) * np.cos(COLUMNS / 7), 0.0)[None] + lesion * (truth > 0) / 2
    return np.where(head, grey + rng.normal(0, 6, truth.shape), rng.uniform(0, 3, truth.shape))


def network(truth, sees=0.6):
    """Return probabilities {n: (1, H, W)} of a network that sees the middle of every lesion."""
    from scipy import ndimage

    found = {}
    for n, plane in enumerate(truth):
        depth = ndimage.distance_transform_edt(plane)
        found[n] = np.where(depth > (1 - sees) * depth.max(), 230, 5 * (plane > 0)).astype(np.uint8)[None]
    return found


def dice(one, other):
    one, other = one > 0, other > 0
    return 2 * np.sum(one & other) / max(1, one.sum() + other.sum())


def masks(answers):
    return {n: mask_from_probability(one, SegmentSettings(min_object_size=0)) for n, one in answers.items()}


@pytest.mark.parametrize("spacing", [UNKNOWN, (1.0, 1.0, 6.0), (1.0, 1.0, 1.0)])
def test_the_neighbours_of_one_corrected_slice_follow(spacing):
    truth = ball()
    before = network(truth)
    found = carry(brain(truth), {10: truth[10]}, before, spacing=spacing)
    assert found.slices == (8, 9, 11, 12)
    for n, mask in masks(found.probability).items():
        assert dice(mask, truth[n]) > max(0.8, dice(before[n][0] > 127, truth[n]) + 0.15)
    assert found.probability[9].dtype == np.uint8
    assert found.probability[9].shape == (1, SIDE, SIDE)


def test_nothing_that_was_given_changes_and_the_same_comes_again():
    truth = ball()
    planes, before, reviewed = brain(truth), network(truth), {9: truth[9], 13: truth[13]}
    copies = planes.copy(), {n: one.copy() for n, one in before.items()}, {n: one.copy() for n, one in reviewed.items()}
    first, again = carry(planes, reviewed, before), carry(planes, reviewed, before)
    assert np.array_equal(planes, copies[0])
    assert all(np.array_equal(before[n], copies[1][n]) for n in before)
    assert all(np.array_equal(reviewed[n], copies[2][n]) for n in reviewed)
    assert set(reviewed).isdisjoint(first.slices)
    assert all(np.array_equal(first.probability[n], again.probability[n]) for n in first.slices)


def test_a_lesion_ends_where_the_network_that_saw_it_sees_nothing():
    truth = ball(half=1.5)
    planes = brain(truth)
    planes[12, 40:56, 40:56] += 75  # as bright as the lesion, where it would go on
    found = carry(planes, {11: truth[11]}, network(truth))
    assert not masks(found.probability).get(12, np.zeros(1)).any()
    assert 13 not in found.slices


def test_a_lesion_that_the_network_misses_is_carried_one_slice_far():
    truth = ball()
    nothing = {n: np.zeros((1, SIDE, SIDE), np.uint8) for n in range(COUNT)}
    for before in (nothing, {}):
        found = carry(brain(truth), {10: truth[10]}, before)
        assert found.slices == (9, 11)
        assert all(dice(mask, truth[n]) > 0.85 for n, mask in masks(found.probability).items())


def test_between_two_corrected_slices_the_lesion_goes_on_unseen():
    truth = ball()
    found = carry(brain(truth), {8: truth[8], 12: truth[12]}, {})
    assert {9, 10, 11} <= set(found.slices)
    assert all(dice(mask, truth[n]) > 0.85 for n, mask in masks(found.probability).items() if 8 < n < 12)


def test_between_a_lesion_and_a_slice_without_it_shrinks():
    truth = ball()
    alone = carry(brain(truth * 0 + ball(half=9)), {10: truth[10]}, network(ball(half=9)))
    ended = carry(brain(truth * 0 + ball(half=9)), {10: truth[10], 12: truth[12] * 0}, network(ball(half=9)))
    area = [np.count_nonzero(masks(found.probability)[11]) for found in (alone, ended)]
    assert area[1] < area[0]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 0.0), (None, None, 0.0)])
def test_flat_images_have_no_neighbours(spacing):
    truth = ball()
    assert carry(brain(truth), {10: truth[10]}, network(truth), spacing=spacing).slices == ()


def test_a_single_image_and_nothing_reviewed_and_slices_far_apart():
    truth = ball()
    assert carry(brain(truth)[10:11], {0: truth[10]}, {}).slices == ()
    assert carry(brain(truth), {}, network(truth)).slices == ()
    assert carry(brain(truth), {10: np.full_like(truth[10], UNSURE)}, network(truth)).slices == ()
    assert carry(brain(truth), {10: truth[10]}, network(truth), spacing=(1, 1, 30.0)).slices == ()


def test_a_scan_of_two_slices():
    truth = ball()[10:12]
    assert carry(brain(truth), {0: truth[0]}, network(truth)).slices == (1,)


def test_thin_slices_are_followed_by_millimetres_not_by_number():
    truth = ball(middle=80, half=30, drift=0.2, count=160)
    found = carry(brain(truth), {80: truth[80]}, network(truth), spacing=(1.0, 1.0, 1.0))
    assert len(found.slices) == 28
    assert (found.slices[0], found.slices[-1]) == (66, 94)
    assert min(dice(mask, truth[n]) for n, mask in masks(found.probability).items()) > 0.85


def test_a_pixel_twice_as_high_as_wide_is_no_other_lesion():
    wide = ball(spacing=(2.0, 1.0), drift=0.7)
    found = carry(brain(wide), {10: wide[10]}, network(wide), spacing=(2.0, 1.0, 6.0))
    assert found.slices == (8, 9, 11, 12)
    assert all(dice(mask, wide[n]) > 0.8 for n, mask in masks(found.probability).items())
    turned = carry(
        brain(wide).swapaxes(1, 2), {10: wide[10].T}, {n: one.swapaxes(1, 2) for n, one in network(wide).items()},
        spacing=(1.0, 2.0, 6.0),
    )  # fmt: skip
    for n in found.slices:
        difference = turned.probability[n][0].T.astype(int) - found.probability[n][0]
        assert np.abs(difference).max() <= 2


def test_labels_keep_apart_and_what_nobody_corrected_stays():
    core, whole = ball(radius=7), ball(radius=14)
    truth = np.where(core > 0, 2, whole).astype(np.uint8)
    planes = brain(whole) + 70 * core
    blank = {n: np.zeros((3, SIDE, SIDE), np.uint8) for n in range(COUNT)}
    for n in blank:
        blank[n][2, 2:6, 2:6] = 250  # a third label elsewhere
        blank[n][0][whole[n] > 0] = 140
    found = carry(planes, {10: truth[10]}, blank, labels=3)
    mask = masks(found.probability)[11]
    assert dice(mask == 1, truth[11] == 1) > 0.75
    assert dice(mask == 2, truth[11] == 2) > 0.75
    assert (mask[2:6, 2:6] == 3).all()
    assert all(one.sum(0, dtype=int).max() <= 257 for one in found.probability.values())


def test_a_label_that_the_answer_does_not_have_is_background():
    truth = ball() * np.uint8(7)
    assert carry(brain(truth), {10: truth[10]}, network(truth)).slices == ()


@pytest.mark.parametrize("other", [(20.0, 70.0), (48.0, 78.0)])
def test_of_two_lesions_the_one_that_is_not_corrected_stays(other):
    first, second = ball((48, 40), 10), ball(other, 6, middle=12, half=2.0, drift=0)
    before = network(np.maximum(first, second))
    found = carry(brain(np.maximum(first, second)), {10: first[10]}, before)
    assert 11 in found.slices
    for n in found.slices:
        at = second[n] > 0
        assert np.array_equal(found.probability[n][0][at] > 127, before[n][0][at] > 127)


def test_a_lesion_of_one_pixel_does_not_spread():
    truth = ball() * 0
    truth[10, 48, 48] = 1
    found = carry(brain(truth), {10: truth[10]}, {})
    assert all(np.count_nonzero(mask) <= 4 for mask in masks(found.probability).values())


def test_a_slice_ticked_as_empty_inside_a_lesion_parts_it():
    truth = ball()
    reviewed = {8: truth[8], 10: truth[10] * 0, 12: truth[12]}
    found = masks(carry(brain(truth), reviewed, network(truth)).probability)
    whole = masks(carry(brain(truth), {8: truth[8], 12: truth[12]}, network(truth)).probability)
    assert set(reviewed).isdisjoint(found)
    for n in (9, 11):
        assert 0 < found[n].sum() < whole[n].sum()


@pytest.mark.parametrize("unknown", [None, float("nan"), float("inf"), -1.0])
def test_a_spacing_that_is_no_length_is_unknown(unknown):
    truth = ball()
    found, expected = (
        carry(brain(truth), {10: truth[10]}, network(truth), spacing=(side,) * 3).probability
        for side in (unknown, None)
    )
    assert found.keys() == expected.keys() == {8, 9, 11, 12}
    assert all(np.array_equal(found[n], expected[n]) for n in found)


def test_two_slices_of_which_one_is_blank_and_two_reviewed_ones_give_nothing():
    truth = ball()[10:12]
    planes = brain(truth)
    assert carry(planes, {0: truth[0], 1: truth[1]}, network(truth)).slices == ()
    planes[1] = 0
    assert carry(planes, {0: truth[0]}, network(truth)).slices == ()


def test_a_network_that_has_learnt_has_a_say_in_every_pixel():
    truth = ball()
    exact = {n: np.where(plane, 250, 2).astype(np.uint8)[None] for n, plane in enumerate(truth)}
    flat = brain(truth, lesion=10.0)  # grey values tell little
    alone, together = (
        masks(carry(flat, {10: truth[10]}, exact, weights=CarryWeights(network=say)).probability) for say in (0.0, 1.0)
    )
    for n in (9, 11):
        assert dice(together[n], truth[n]) > dice(alone[n], truth[n])
    nothing = carry(flat, {10: truth[10]}, {}, weights=CarryWeights(network=1.0)).probability
    assert {9, 11} <= nothing.keys()


def test_corrections_that_contradict_each_other_give_one_answer_in_range():
    truth = ball()
    reviewed = {9: truth[9], 10: truth[10] * 0, 11: 1 - truth[11], 12: truth[12]}
    found = carry(brain(truth), reviewed, network(truth))
    assert set(reviewed).isdisjoint(found.slices)
    assert all(8 - 1 <= n <= 14 for n in found.slices)


def test_blank_neighbours_are_passed_over():
    truth = ball()
    planes = brain(truth)
    planes[11:] = 0
    planes[8] = np.nan
    found = carry(planes, {10: truth[10]}, network(truth))
    assert found.slices == (9,)


def test_a_piece_that_was_erased_goes_from_the_neighbours_where_it_gets_no_larger():
    vessel = ball((60, 60), 9, middle=10, half=2.5, drift=0)
    before = network(vessel, sees=0.9)
    found = carry(brain(vessel), {10: vessel[10] * 0}, before)
    assert found.slices == (8, 9, 11, 12)
    assert not any(mask.any() for mask in masks(found.probability).values())


def test_a_lesion_that_begins_beyond_an_empty_slice_stays():
    truth = ball(middle=13)
    end = min(n for n in range(COUNT) if truth[n].any())
    assert carry(brain(truth), {end: truth[end] * 0}, network(truth, sees=0.9)).slices == ()


def test_unsure_pixels_say_nothing():
    truth = ball()
    reviewed = truth[10].copy()
    reviewed[:20] = UNSURE
    reviewed[:, 58:] = UNSURE
    found = carry(brain(truth), {10: reviewed}, network(truth))
    assert dice(masks(found.probability)[11][:, :56], truth[11][:, :56]) > 0.8


@pytest.mark.parametrize("dtype", ["uint8", ">i2", "uint16", "float32", ">f8"])
def test_any_type_and_any_unit_of_grey_values(dtype):
    truth = ball()
    planes = brain(truth)
    expected = carry(planes, {10: truth[10]}, network(truth)).probability
    other = planes.astype(dtype) if dtype == "uint8" else (planes * 100 - 3000 * (dtype != "uint16")).astype(dtype)
    found = carry(other, {10: truth[10]}, network(truth)).probability
    assert set(found) == set(expected)
    assert all(dice(found[n][0] > 127, expected[n][0] > 127) > 0.93 for n in expected)


def test_channels_count_together():
    truth = ball()
    planes = np.stack([brain(truth), brain(truth * 0, seed=1)], axis=1)
    found = carry(planes, {10: truth[10]}, network(truth))
    assert dice(masks(found.probability)[11], truth[11]) > 0.8


def test_only_slices_near_a_corrected_one_are_read():
    truth = ball()

    class Lazy:
        def __init__(self):
            self.read = set()

        def __len__(self):
            return COUNT

        def __getitem__(self, n):
            self.read.add(n)
            return brain(truth)[n]

    lazy = Lazy()
    assert carry(lazy, {10: truth[10]}, network(truth)).slices
    assert lazy.read <= {8, 9, 10, 11, 12}


@pytest.mark.parametrize("flip_tta", [True, False])
def test_the_mask_is_the_same_whether_or_not_the_threshold_follows_the_maximum(flip_tta):
    truth = ball()
    found = carry(brain(truth, lesion=30), {10: truth[10]}, network(truth))
    assert found.slices
    for one in found.probability.values():
        assert np.array_equal(
            mask_from_probability(one, SegmentSettings(flip_tta=flip_tta, min_object_size=0)) > 0, one[0] >= 128
        )


def test_the_weights_come_back_from_a_model_file():
    weights = CarryWeights(distance=0.5, reach=7.0)
    assert CarryWeights.from_dict(weights.to_dict()) == weights
    assert CarryWeights.from_dict({"reach": 7, "something newer": 1.0}) == CarryWeights(reach=7.0)
    truth = ball()
    assert carry(brain(truth), {10: truth[10]}, network(truth), weights=weights).slices == (9, 11)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_is_reviewed_the_answer_is_sane(data):
    count = data.draw(st.integers(2, 6))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    planes = rng.integers(0, 255, (count, 20, 17)).astype(np.uint8)
    numbers = data.draw(st.sets(st.integers(-1, count), min_size=1))
    reviewed = {n: rng.choice(np.array([0, 0, 0, 1, 2, UNSURE], np.uint8), (20, 17)) for n in numbers}
    before = {n: rng.integers(0, 120, (2, 20, 17)).astype(np.uint8) for n in range(0, count, 2)}
    spacing = [data.draw(st.sampled_from([None, 0.0, 0.3, 1.0, 7.0, float("nan")])) for _ in range(3)]
    found = carry(planes, reviewed, before, labels=2, spacing=spacing)
    assert all(0 <= n < count and n not in reviewed for n in found.slices)
    assert all(one.shape == (2, 20, 17) and one.dtype == np.uint8 for one in found.probability.values())
    assert all(one.sum(0, dtype=int).max() <= 256 for one in found.probability.values())


def test_it_is_quick():
    """Processor time, since the computer may be busy with other things."""
    truth = np.repeat(np.repeat(ball(), 3, 1), 3, 2)[:, :256, :256]
    planes = np.repeat(np.repeat(brain(ball()), 3, 1), 3, 2)[:, :256, :256]
    before = {n: one.repeat(3, 1).repeat(3, 2)[:, :256, :256] for n, one in network(ball()).items()}
    spent = []
    for _ in range(3):
        start = time.process_time()
        carry(planes, {7: truth[7], 10: truth[10], 13: truth[13]}, before)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.3


def test_the_shipped_model_brings_its_weights():
    from napari_unet_tumour.models import registry
    from napari_unet_tumour.models.spec import read_spec

    found = read_spec(registry.SHIPPED / "t1ce-small.safetensors").carry
    assert CarryWeights.from_dict(found) == CarryWeights()
    assert set(found) == set(CarryWeights().to_dict())
