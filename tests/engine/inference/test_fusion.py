"""Two predictions are fused: the branch is used where a connected component supports it, through the slices."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_unet_tumour.engine.inference import fusion
from napari_unet_tumour.engine.inference.fusion import AnswerFusion, fuse_single_plane
from napari_unet_tumour.settings import SegmentSettings

SHAPE = (5, 40, 40)
DEPTH = range(5)
chosen_where = partial(fusion.connected_support, reach=0.8)


def blank():
    return np.zeros(SHAPE, bool)


def square(*places, side=6):
    """Return squares at (plane, row, column)."""
    made = blank()
    for n, y, x in places:
        made[n, y : y + side, x : x + side] = True
    return made


def settled(*planes):
    return np.isin(np.arange(5), planes)


def test_what_a_corrected_slice_hangs_together_with_is_taken_and_no_island():
    second = square((1, 10, 10), (2, 11, 11), (3, 12, 12), (3, 30, 30))
    first = square((2, 11, 11))  # plane 2 is corrected
    takes, _ = chosen_where(first, second, settled(2), DEPTH)
    assert takes[1][square((1, 10, 10))[1]].all()
    assert takes[3][square((3, 12, 12))[3]].all()
    assert not takes[3][square((3, 30, 30))[3]].any()


def test_without_corrections_the_first_answer_vouches():
    second, first = square((1, 10, 10), (2, 10, 10), (4, 30, 30)), square((1, 12, 12), side=2)
    takes, _ = chosen_where(first, second, settled(), DEPTH)
    assert takes[1:3].any((1, 2)).all()
    assert not takes[4].any()


def test_another_lesion_keeps_the_first_answer_where_slices_are_corrected():
    first, second = square((2, 10, 10), (4, 30, 30)), square((2, 10, 10), (4, 31, 31))
    takes, drops = chosen_where(first, second, settled(2), DEPTH)
    assert not takes[4].any()
    assert not drops[4].any()


def test_the_first_answer_is_dropped_where_the_corrected_lesion_is_smaller():
    first, second = square((2, 10, 10), (3, 10, 10), side=20), square((3, 10, 10))
    first[2] = second[2] = square((2, 10, 10))[2]
    takes, drops = chosen_where(first, second, settled(2), DEPTH)
    assert drops[3, 25, 25]
    assert not drops[3][takes[3]].any()


def test_planes_that_are_no_neighbours_do_not_hang_together():
    second, first = square((1, 10, 10), (2, 10, 10)), square((1, 10, 10))
    assert chosen_where(first, second, settled(1), [0, 1, 2, 3, 4])[0][2].any()
    assert not chosen_where(first, second, settled(1), [0, 1, 3, 4, 5])[0][2].any()


def test_more_voxels_than_there_is_memory_for_are_seen_plane_by_plane(monkeypatch):
    monkeypatch.setattr("napari_unet_tumour.engine.inference.fusion.MOST", 10)
    second, first = square((1, 10, 10), (2, 10, 10)), square((1, 10, 10))
    takes, _ = chosen_where(first, second, settled(), DEPTH)
    assert takes[1].any()
    assert not takes[2].any()


@given(arrays(np.uint8, (3, 2, 9, 9)), st.floats(0.1, 0.9), st.sets(st.integers(0, 2)))
def test_every_pixel_is_one_of_the_two_answers(both, threshold, planes):
    sure = {n: (both[n, 0] > 127).astype(np.uint8) for n in planes}
    fusion = AnswerFusion(SegmentSettings(threshold=threshold), sure)
    for n, one in enumerate(both):
        fusion.add(n, one)
    found = dict(fusion.iter_planes())
    assert list(found) == [0, 1, 2]
    for n, one in found.items():
        assert ((one[0] == both[n, 0]) | (one[0] == both[n, 1])).all()


@given(arrays(np.uint8, (9, 9)), st.floats(0.1, 0.9))
def test_equal_answers_stay(plane, threshold):
    assert (fuse_single_plane(np.stack([plane, plane]), SegmentSettings(threshold=threshold))[0] == plane).all()


@pytest.mark.parametrize("sees", [0, 255])
def test_a_slice_by_itself_asks_the_first_answer(sees):
    first = np.zeros((1, 20, 20), np.uint8)
    second = first.copy()
    first[0, 5, 5], second[0, 3:9, 3:9] = sees, 200
    found = fuse_single_plane(np.concatenate([first, second]), SegmentSettings())
    assert ((found >= 128).sum() == 36) == (sees == 255)
    assert (found >= 128).any() == (sees == 255)


def test_what_one_copy_alone_has_seen_vouches_too():
    first = np.zeros((1, 20, 20), np.uint8)
    second = first.copy()
    first[0, 5, 5], second[0, 3:9, 3:9] = 120, 200
    both = np.concatenate([first, second])
    flip_tta = SegmentSettings(flip_tta=True)
    assert (fuse_single_plane(both, flip_tta) >= 128).sum() == 36
    assert not (fuse_single_plane(both, SegmentSettings()) >= 128).any()
