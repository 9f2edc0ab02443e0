import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.measure.components import components_of, iter_runs

volumes = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7), elements=st.sampled_from([0, 0, 1, 2])
)


def runs_of(volume):
    return exhaust(iter_runs(volume))


def drawn(runs, numbers, shape):
    found = np.zeros(shape, np.int64)
    for plane, row, start, stop, number in zip(runs.plane, runs.row, runs.start, runs.stop, numbers, strict=True):
        found[plane, row, start:stop] = number
    return found


@settings(max_examples=200, deadline=None)
@given(volumes)
def test_the_runs_are_the_mask(volume):
    runs = runs_of(volume)
    np.testing.assert_array_equal(drawn(runs, runs.value, volume.shape), volume)


@settings(max_examples=300, deadline=None)
@given(volumes)
def test_the_pieces_are_those_of_scipy(volume):
    runs = runs_of(volume)
    ours = drawn(runs, components_of(runs) + 1, volume.shape)
    theirs, count = np.zeros(volume.shape, int), 0
    for label in (1, 2):
        more, n = ndimage.label(volume == label, np.ones((3, 3, 3)))
        theirs[more > 0] = more[more > 0] + count
        count += n
    assert len(set(components_of(runs))) == count
    pairs = set(zip(ours.ravel().tolist(), theirs.ravel().tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


@pytest.mark.parametrize("dtype", [bool, np.int8, ">i2", np.uint16, np.int64, np.float32, np.float64])
def test_any_dtype_of_whole_numbers(dtype):
    volume = np.zeros((2, 3, 6), dtype)
    volume[1, 2, 1:4] = 1
    runs = runs_of(volume)
    assert (runs.plane[0], runs.row[0], runs.start[0], runs.stop[0], runs.value[0]) == (1, 2, 1, 4, 1)


def test_read_only_strided_and_lazy_masks():
    volume = np.zeros((40, 6, 5), np.uint8)
    volume[17:23, 2:5, 1:4] = 3
    volume.flags.writeable = False
    expected = runs_of(volume)
    for other in (np.asfortranarray(volume), da.from_array(volume, (7, 3, 5)), np.repeat(volume, 2, 2)[..., ::2]):
        np.testing.assert_array_equal(runs_of(other).start, expected.start)
        np.testing.assert_array_equal(runs_of(other).plane, expected.plane)


@pytest.mark.parametrize("odd", [0.4, np.nan, np.inf])
def test_a_scan_in_place_of_a_mask_is_refused(odd):
    volume = np.zeros((2, 3, 3), np.float32)
    volume[1, 1, 1] = odd
    with pytest.raises(ScanError, match="whole numbers"):
        runs_of(volume)


def test_progress_reaches_the_end():
    ticks = list(iter_runs(np.zeros((50, 4, 4), np.uint8)))
    assert [t.done for t in ticks] == [16, 32, 48, 50]
    assert {t.total for t in ticks} == {50}
