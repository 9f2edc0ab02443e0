"""What is locked in a mask: labels, and slices that were reviewed along one axis or two."""

import numpy as np
import pytest
from napari.layers import Labels

from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.widgets.layers import drawn_pixels, locks

SHAPE = (4, 5, 6)
EVERYWHERE = tuple(slice(0, size) for size in SHAPE)


@pytest.fixture
def mask():
    data = np.zeros(SHAPE, np.uint8)
    data[:, 1], data[:, 2] = 1, 2
    return Labels(data)


def test_a_locked_label_neither_loses_nor_gains_pixels(mask):
    now = mask.data
    assert locks.may_change(mask, EVERYWHERE, now, 1) is None
    locks.lock_label(mask, 0, True)
    assert locks.locked_labels(mask) == set(), "the background is never locked"
    locks.lock_label(mask, 2, True)
    assert np.array_equal(locks.may_change(mask, EVERYWHERE, now, 1), now != 2)
    assert np.array_equal(locks.may_change(mask, EVERYWHERE, now, 0), now != 2)
    assert not locks.may_change(mask, EVERYWHERE, now, 2).any()
    new = np.roll(now, 1, axis=1)
    found = locks.may_become(mask, now, new)
    assert np.array_equal(found == 2, now == 2)
    assert np.array_equal(found[(now != 2) & (new != 2)], new[(now != 2) & (new != 2)])
    with pytest.raises(ScanError, match="Label 2 is locked"):
        locks.check_label(mask, 2)
    locks.renumber_locked(mask, {2: 7})
    assert locks.locked_labels(mask) == {7}
    locks.lock_label(mask, 7, False)
    assert locks.may_become(mask, now, new) is new
    locks.check_label(mask, 7)


def test_slices_reviewed_along_two_axes_are_locked(mask):
    along, across = (layout_of(SHAPE, rows=rows, columns=columns) for rows, columns in ((1, 2), (0, 2)))
    expected = np.zeros(SHAPE, bool)
    expected[[0, 3]] = expected[:, 4] = True
    drawn_pixels.set_reviewed(mask, along, [0, 3])
    drawn_pixels.set_reviewed(mask, across, [4])
    assert np.array_equal(drawn_pixels.reviewed_in(mask, EVERYWHERE), expected)
    box = (slice(1, 4), slice(0, 5), slice(2, 3))
    assert np.array_equal(locks.may_change(mask, box, mask.data[box], 1), ~expected[box])
    with pytest.raises(ScanError, match="A reviewed slice is locked"):
        locks.check_slice(mask, along, 3)
    locks.check_slice(mask, along, 1)
    drawn_pixels.set_reviewed(mask, along, [])
    drawn_pixels.set_reviewed(mask, across, [])
    assert locks.may_change(mask, EVERYWHERE, mask.data, 1) is None
