from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unet_tumour.base.slicing import SliceLayout, layout_of, with_slice_distance
from napari_unet_tumour.postprocess.isolated import remove_isolated_components


def layout(*shape: int, depth: float = 1.0) -> SliceLayout:
    return with_slice_distance(layout_of(shape), len(shape) - 3, [depth] * (len(shape) - 2) + [1.0, 1.0])


def ball() -> np.ndarray:
    """A lesion through slices 3 to 7 of ten."""
    mask = np.zeros((10, 64, 64), np.uint8)
    mask[3:8, 40:50, 40:50] = 1
    return mask


def test_what_one_slice_alone_shows_goes_and_the_lesion_stays() -> None:
    mask = ball()
    mask[5, 5:15, 5:15] = 2
    assert remove_isolated_components(mask, layout(10, 64, 64)) == 1
    np.testing.assert_array_equal(mask, ball())


def test_two_slices_vouch_for_each_other_and_a_lesion_may_drift() -> None:
    mask = ball()
    mask[1, 5:15, 5:15] = mask[2, 5:15, 17:27] = 1
    before = mask.copy()
    assert remove_isolated_components(mask, layout(10, 64, 64)) == 0
    np.testing.assert_array_equal(mask, before)
    mask[2, 5:15, 17:27] = 0
    mask[2, 5:15, 30:40] = 1
    assert remove_isolated_components(mask, layout(10, 64, 64)) == 2


@pytest.mark.parametrize(("depth", "gone"), [(1.0, 1), (5.0, 1), (6.0, 0)])
def test_a_lesion_up_to_twice_the_distance_of_the_slices_may_lie_between_them(depth: float, gone: int) -> None:
    mask = ball()
    mask[5, 5:15, 5:15] = 1  # as wide as a disc of 11.3 pixels
    assert remove_isolated_components(mask, layout(10, 64, 64, depth=depth)) == gone


@pytest.mark.parametrize("number", [0, 9])
def test_the_first_and_the_last_slice_have_no_second_neighbour(number: int) -> None:
    mask = ball()
    mask[number, 5:15, 5:15] = 1
    assert remove_isolated_components(mask, layout(10, 64, 64)) == 0


def test_beside_a_slice_that_is_not_segmented_nothing_goes() -> None:
    mask = ball()
    mask[5, 5:15, 5:15] = 1
    assert remove_isolated_components(mask, layout(10, 64, 64), [3, 4, 5]) == 0
    assert remove_isolated_components(mask, layout(10, 64, 64), [6, 5, 4]) == 1


def test_what_a_person_has_drawn_stays_and_vouches() -> None:
    mask = ball()
    mask[5, 5:15, 5:15] = mask[1, 20:30, 5:15] = mask[2, 20:30, 5:15] = 1
    before = mask.copy()
    assert remove_isolated_components(mask, layout(10, 64, 64), fixed=[5]) == 0
    np.testing.assert_array_equal(mask, before)
    mask[2, 20:30, 5:15] = 0  # the person says that there is nothing
    assert remove_isolated_components(mask, layout(10, 64, 64), fixed=[2, 5]) == 1
    assert not mask[1].any()


def test_planes_that_are_no_neighbours_in_space_are_left_alone() -> None:
    mask = ball()
    mask[5, 5:15, 5:15] = 1
    assert remove_isolated_components(mask, layout_of((10, 64, 64))) == 0


def test_a_stack_of_unrelated_pictures_keeps_its_masks() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((9, 64, 64), np.uint8)
    for plane, n in zip(mask, rng.permutation(9), strict=True):
        row, column = divmod(int(n), 3)
        plane[row * 20 : row * 20 + 10, column * 20 : column * 20 + 10] = 1
    before = mask.copy()
    assert remove_isolated_components(mask, layout(9, 64, 64)) == 0
    np.testing.assert_array_equal(mask, before)


def test_the_one_false_piece_of_a_healthy_head_goes() -> None:
    mask = np.zeros((24, 64, 64), np.uint8)
    mask[5, 30:40, 30:40] = 1
    assert remove_isolated_components(mask, layout(24, 64, 64)) == 1
    assert not mask.any()


def test_time_points_are_no_neighbours() -> None:
    mask = np.stack([ball(), ball()])
    mask[1, 0, 5:15, 5:15] = mask[0, 9, 5:15, 5:15] = 1
    assert remove_isolated_components(mask, layout(2, 10, 64, 64)) == 0
    mask[1, 1, 30:40, 5:15] = 1
    assert remove_isolated_components(mask, layout(2, 10, 64, 64)) == 1


def test_any_array_that_reads_and_writes_planes_will_do(tmp_path) -> None:
    zarr = pytest.importorskip("zarr")
    mask = zarr.open(str(tmp_path / "mask.zarr"), mode="w", shape=(10, 64, 64), chunks=(1, 64, 64), dtype="u1")
    mask[...] = ball()
    mask[5, 5:15, 5:15] = 1
    assert remove_isolated_components(mask, layout(10, 64, 64)) == 1
    np.testing.assert_array_equal(mask[...], ball())


@given(st.integers(0, 2), st.integers(0, 2**32 - 1), st.sampled_from([1.0, 2.5]))
def test_the_same_along_any_axis_and_nothing_is_left_for_a_second_time(axis: int, seed: int, depth: float) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.random((6, 6, 6)) < 0.15
    mask = np.repeat(np.repeat(coarse, 6, 1), 6, 2).astype(np.uint8)
    spacing = {axis: depth, **dict.fromkeys({0, 1, 2} - {axis}, 1.0)}
    turned = np.moveaxis(mask, 0, axis).copy()
    rows, columns = (other for other in range(3) if other != axis)
    there = with_slice_distance(layout_of(turned.shape, rows=rows, columns=columns), axis, spacing)
    straight = mask.copy()
    assert remove_isolated_components(turned, there) == remove_isolated_components(
        straight, layout(*mask.shape, depth=depth)
    )
    np.testing.assert_array_equal(np.moveaxis(turned, axis, 0), straight)
    assert not (straight & ~mask).any()
    again = straight.copy()
    assert remove_isolated_components(again, layout(*mask.shape, depth=depth)) == 0
