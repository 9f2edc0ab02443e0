from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans.resample import resample, same_grid
from napari_unet_tumour.scans.scan import Scan


def turned(angle: float, spacing, origin) -> np.ndarray:
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, :3] = affine[:3, :3] * spacing
    affine[:3, 3] = origin
    return affine


def as_itk(scan: Scan) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(np.asarray(scan.array))
    image.SetSpacing(scan.spacing[::-1])
    image.SetOrigin(scan.world[2::-1, 3].tolist())
    image.SetDirection((scan.world[:3, :3] / scan.spacing)[::-1, ::-1].ravel().tolist())
    return image


@settings(max_examples=25, deadline=None)
@given(
    st.floats(-0.5, 0.5),
    st.tuples(*[st.floats(0.5, 3.0)] * 3),
    st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    st.integers(0, 9),
)
def test_simpleitk_agrees_inside(angle, spacing, origin, seed):
    smooth = np.random.default_rng(seed).random((6, 9, 8)).astype(np.float32)
    one = Scan(smooth, "zyx", turned(0.1, (2.0, 1.0, 1.2), (0.0, 0.0, 0.0)), "mm", "one")
    onto = Scan(np.zeros((7, 10, 6)), "zyx", turned(angle, spacing, origin), "mm", "onto")
    ours = np.asarray(resample(one, onto, outside=-9).array)
    theirs = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(as_itk(one), as_itk(onto), SimpleITK.Transform(), SimpleITK.sitkLinear, -9.0)
    )
    inside = (ours > -9 + 1e-3) & (theirs > -9 + 1e-3)
    index = np.argwhere(np.ones(onto.array.shape)) @ np.eye(3, 4) + [0, 0, 0, 1]
    at = (index @ (np.linalg.inv(one.world) @ onto.world).T)[:, :3].reshape(*onto.array.shape, 3)
    well = inside & ((at > 0.01) & (at < np.array(smooth.shape) - 1.01)).all(axis=-1)
    np.testing.assert_allclose(ours[well], theirs[well], atol=1e-3)


def test_labels_come_back_through_a_turned_grid_whole():
    mask = np.zeros((12, 12, 12), np.uint8)
    mask[3:9, 3:9, 3:9] = 3
    one = Scan(mask, "zyx", turned(0, (1, 1, 1), (0, 0, 0)), "mm")
    fine = Scan(np.zeros((40, 40, 40)), "zyx", turned(0, (0.3, 0.3, 0.3), (0, 0, 0)), "mm")
    there = resample(one, fine, labels=True)
    assert set(np.unique(there.array)) == {0, 3}
    np.testing.assert_array_equal(resample(there, one, labels=True).array, mask)


def test_grids_are_told_apart():
    one = Scan(np.zeros((4, 5, 6)), "zyx", turned(0, (5, 1, 1), (0, 0, 0)), "mm")
    assert same_grid(one, Scan(one.array, "zyx", one.affine + 0, "mm"))
    assert not same_grid(one, Scan(one.array, "zyx", turned(0.01, (5, 1, 1), (0, 0, 0)), "mm"))
    assert not same_grid(one, Scan(np.zeros((4, 5, 7)), "zyx", one.affine, "mm"))


def test_what_cannot_be_brought_together_is_refused():
    one = Scan(np.zeros((4, 5, 6)), "zyx", np.eye(4), "mm", "one")
    with pytest.raises(ScanError, match="'one' is in mm and 'two' in pixel"):
        resample(one, Scan(np.zeros((4, 5, 6)), "zyx", None, "pixel", "two"))
    with pytest.raises(ScanError, match="cannot be brought together"):
        resample(Scan(np.zeros((2, 4, 5, 6)), "tzyx", np.eye(4), "mm", "film"), one)
