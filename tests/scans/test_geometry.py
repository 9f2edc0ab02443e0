from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unet_tumour.scans import geometry

SIGNED_PERMUTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1.0, -1.0), repeat=3)
]


def straight(order, signs, spacing=(0.9, 0.8, 5.0), origin=(-10.0, 20.0, 30.0)) -> np.ndarray:
    """RAS+ affine whose voxel axis a runs along world axis order[a]."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, world in enumerate(order):
        affine[world, axis] = signs[axis] * spacing[axis]
    affine[:3, 3] = origin
    return affine


def tilted(angles) -> np.ndarray:
    turned = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = (i for i in range(3) if i != axis)
        step = np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[a, b], step[b, a] = -np.sin(angle), np.sin(angle)
        turned = turned @ step
    return turned


@pytest.mark.parametrize(("order", "signs"), SIGNED_PERMUTATIONS)
def test_closest_order_straightens_all_48_orientations(order, signs):
    ras = straight(order, signs)
    found = geometry.from_ras(ras, geometry.closest_order(ras))
    linear = found[:3, :3]
    assert np.count_nonzero(linear) == 3
    assert np.all(np.diag(linear) != 0)


@given(
    st.sampled_from(SIGNED_PERMUTATIONS),
    st.tuples(*[st.floats(-0.6, 0.6)] * 3),
    st.tuples(*[st.floats(0.2, 8.0)] * 3),
)
def test_from_ras_places_every_voxel_where_nifti_says(orientation, angles, spacing):
    ras = straight(*orientation, spacing=spacing)
    ras[:3, :3] = tilted(angles) @ ras[:3, :3]
    order = geometry.closest_order(ras)
    affine = geometry.from_ras(ras, order)
    index = np.array([3.0, 1.0, 2.0])
    right, front, up = (ras @ [*index, 1])[:3]
    z, y, x = (affine @ [*index[list(order)], 1])[:3]
    assert (x, y, z) == pytest.approx((-right, -front, up), abs=1e-9)
    assert geometry.to_ras(affine) @ [*index[list(order)][::-1], 1] == pytest.approx([right, front, up, 1], abs=1e-9)


def test_orientation_and_tilt_are_named():
    assert geometry.orientation(np.diag([5.0, 0.9, 0.9, 1.0])) == "SPL"
    assert geometry.orientation(np.diag([5.0, -0.9, -0.9, 1.0])) == "SAR"
    assert geometry.orientation(np.diag([0.9, 0.9, 1.0])) == "PL"
    turned = np.eye(4)
    turned[:3, :3] = tilted((np.radians(10), 0, 0))
    assert geometry.tilt(turned) == pytest.approx(10, abs=1e-6)


def test_usable_and_featureless():
    assert geometry.is_usable(np.eye(4))
    assert not geometry.is_usable(np.full((4, 4), np.nan))
    assert not geometry.is_usable(np.diag([1.0, 0.0, 1.0, 1.0]))
    assert not geometry.is_usable(np.ones((4, 4)))
    assert geometry.is_featureless(np.diag([1.0, -1.0, -1.0, 1.0]))
    assert not geometry.is_featureless(np.diag([1.0, 2.0, 1.0, 1.0]))
    moved = np.eye(4)
    moved[0, 3] = 3
    assert not geometry.is_featureless(moved)
