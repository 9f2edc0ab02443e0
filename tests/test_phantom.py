from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import ndimage

from napari_unet_tumour.phantom import FIELD_OF_VIEW, phantom
from napari_unet_tumour.scans import read, write_mask


@pytest.fixture(scope="module")
def head():
    return phantom(0)


def test_the_same_seed_gives_the_same_head(head):
    scan, truth = phantom(0)
    np.testing.assert_array_equal(scan.array, head[0].array)
    np.testing.assert_array_equal(truth, head[1])
    assert (phantom(1)[1] != truth).any()


def test_the_geometry_is_stated(head):
    scan, truth = head
    assert (scan.axes, scan.units, scan.modality) == ("zyx", "mm", "MR")
    assert scan.array.shape == truth.shape == (24, 256, 256)
    assert scan.spacing == pytest.approx((5.0, 0.9, 0.9))
    centre = scan.world @ [11.5, 127.5, 127.5, 1]
    assert centre[1:3] == pytest.approx([0, 0], abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lesions", [0, 1, 2, 4])
def test_there_are_as_many_lesions_as_asked_for(seed, lesions):
    _, truth = phantom(seed, lesions, (48, 128, 128))
    pieces, count = ndimage.label(truth, np.ones((3, 3, 3)))
    sizes = ndimage.sum_labels(truth, pieces, range(1, count + 1))
    assert (np.asarray(sizes) > 8).sum() == lesions


def test_lesions_enhance_and_the_first_has_a_dark_core(head):
    scan, truth = head
    tissue = np.median(scan.array[truth == 0][scan.array[truth == 0] > 300])
    pieces, count = ndimage.label(truth)
    largest = pieces == 1 + np.argmax(ndimage.sum_labels(truth, pieces, range(1, count + 1)))
    core = ndimage.binary_erosion(largest, iterations=8, structure=np.ones((1, 3, 3)))
    rim = largest & ~ndimage.binary_erosion(largest, iterations=3, structure=np.ones((1, 3, 3)))
    assert np.median(scan.array[core]) < 0.7 * tissue < tissue < 1.3 * tissue < np.median(scan.array[rim])


def test_air_is_dark_and_noisy_and_the_last_slice_is_blank(head):
    scan, _ = head
    assert 0 < scan.array[:, :10, :10].std() < 60
    assert scan.array[-1].max() < 300 < scan.array[10].max()


def test_any_grid_shows_the_same_head(head):
    scan, truth = head
    coarse, small = phantom(0, shape=(24, 64, 64))
    assert coarse.spacing == pytest.approx([f / n for f, n in zip(FIELD_OF_VIEW, (24, 64, 64), strict=True)])
    again = scan.array.reshape(24, 64, 4, 64, 4).mean(axis=(2, 4))
    assert np.corrcoef(again.ravel(), coarse.array.ravel())[0, 1] > 0.95
    assert int(small.sum()) * 16 == pytest.approx(int(truth.sum()), rel=0.1)


def test_it_is_drawn_in_a_second():
    start = time.thread_time()
    phantom(3)
    assert time.thread_time() - start < 1.0


def test_it_can_be_written_and_read_back(tmp_path, head):
    scan, truth = head
    write_mask(tmp_path / "truth.nii.gz", truth, scan)
    back = read(tmp_path / "truth.nii.gz")
    np.testing.assert_array_equal(back.array, truth)
    np.testing.assert_allclose(back.affine, scan.affine, atol=1e-5)
