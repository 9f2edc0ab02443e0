"""Which slice comes next."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_unet_tumour.corrections import ranking


def volume(areas, sure=255):
    """Return probabilities (N, 1, 20, 20) with so many foreground pixels a slice."""
    found = np.zeros((len(areas), 1, 20, 20), np.uint8)
    for plane, area in zip(found, areas, strict=True):
        plane.reshape(-1)[:area] = sure
    return found


def test_the_middle_of_a_large_lesion_comes_first():
    assert ranking.rank_slices(volume([0, 5, 40, 60, 40, 5, 0]))[0] == 3


def test_what_shows_in_one_slice_alone_comes_later():
    assert ranking.rank_slices(volume([70, 0, 0, 30, 50, 30, 0]))[0] == 4


def test_the_next_is_not_a_neighbour_of_a_reviewed_one():
    found = ranking.rank_slices(volume([0, 40, 50, 60, 58, 50, 45, 40, 0]), reviewed=[3])
    assert abs(found[0] - 3) >= 2
    assert 3 not in found


def test_unsure_slices_come_before_sure_ones_of_the_same_size():
    found = np.concatenate([volume([50, 50, 50]), volume([50, 50, 50], sure=140)])
    assert ranking.rank_slices(found)[0] in (3, 4)
    assert ranking.expected_error_pixels(found)[4] > ranking.expected_error_pixels(found)[1] == 0


def test_what_is_unsure_in_one_slice_alone_comes_later():
    found = volume([0, 0, 0, 30, 40, 30, 0])
    found[0] = volume([80], sure=127)
    assert ranking.expected_error_pixels(found)[0] == ranking.expected_error_pixels(found).max() > 0
    assert ranking.rank_slices(found)[0] == 4


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=12),
    st.sets(st.integers(0, 11)),
)
def test_every_slice_that_is_not_reviewed_comes_once(areas, reviewed):
    reviewed = [n for n in reviewed if n < len(areas)]
    found = ranking.rank_slices(volume(areas), reviewed)
    assert sorted([*found, *reviewed]) == list(range(len(areas)))
