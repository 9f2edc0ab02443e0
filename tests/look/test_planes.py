"""Which plane a view shows, which way up, and where a place is drawn on it."""

import itertools

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_unet_tumour.look.directions import direction_letter
from napari_unet_tumour.look.planes import levelled, on_canvas, plane_views, upright
from napari_unet_tumour.scans import geometry

CODES = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
]  # fmt: skip


def affine_of(codes: str) -> np.ndarray:
    """Return the RAS+ affine (4, 4) whose axes run towards these directions."""
    towards = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    ras = np.zeros((4, 4))
    ras[3, 3] = 1
    for column, letter in enumerate(codes):
        row, sign = towards[letter]
        ras[row, column] = sign
    return ras


@pytest.mark.parametrize("codes", CODES)
def test_every_orientation_is_shown_as_radiologists_look_at_it(codes: str) -> None:
    """The axes of the world run towards `codes`, as nibabel names them."""
    ras = affine_of(codes)
    assert "".join(nibabel.aff2axcodes(ras)) == codes
    to_patient = (np.diag([-1.0, -1.0, 1.0]) @ ras[:3, :3])[::-1]
    edges = {}
    for view in plane_views(to_patient):
        _, rows, columns = view.order
        assert sorted(view.order) == [0, 1, 2]
        top = direction_letter(-view.signs[0] * to_patient[:, rows])
        left = direction_letter(-view.signs[1] * to_patient[:, columns])
        edges[view.name] = top + left
    assert edges == {"Axial": "AR", "Coronal": "HR", "Sagittal": "HA"}


@pytest.mark.parametrize("world", [None, np.zeros((3, 3)), np.ones((3, 3)), np.full((3, 3), np.nan)])
def test_without_directions_the_axes_are_taken_as_they_are(world) -> None:
    views = plane_views(world)
    assert [view.order for view in views] == [(0, 1, 2), (1, 0, 2), (2, 0, 1)]
    assert {view.signs for view in views} == {(1, 1)}


@pytest.mark.parametrize("codes", ["RAS", "PSL", "ILA"])
def test_a_straight_scan_is_not_turned(codes: str) -> None:
    affine = geometry.to_ras(affine_of(codes)) @ np.diag([3.0, 0.5, 1.0, 1.0])
    np.testing.assert_array_equal(upright(affine), np.eye(4))


@pytest.mark.parametrize("angles", [(0.3, 0.1, 0.2), (-0.4, 0.0, 0.3), (0.0, 0.0, 1.4)])
def test_an_oblique_scan_is_turned_straight_and_keeps_its_millimetres(angles) -> None:
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("zyx", angles).as_matrix() @ np.diag([-3.0, 0.5, 0.8])
    affine[:3, 3] = 40, -20, 7
    turned = upright(affine) @ affine
    assert np.count_nonzero(np.abs(turned[:3, :3]) > 1e-9) == 3
    np.testing.assert_allclose(np.linalg.norm(turned[:3, :3], axis=0), (3, 0.5, 0.8))
    np.testing.assert_allclose(turned[:3, 3], affine[:3, 3])
    turn = upright(affine)[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) > 0


def test_a_place_is_drawn_where_the_camera_looks() -> None:
    assert on_canvas((5, 7), (5, 7), 3, (200, 100), (1, 1)) == (100, 50)
    assert on_canvas((6, 9), (5, 7), 3, (200, 100), (1, 1)) == (106, 53)
    assert on_canvas((6, 9), (5, 7), 3, (200, 100), (-1, -1)) == (94, 47)


@pytest.mark.parametrize("seed", range(60))
def test_levelled_slices_lie_across_one_axis_and_keep_their_shape(seed):
    rng = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(rng.normal(size=3) * (0.2 if seed % 2 else 2)).as_matrix()[rng.permutation(3)]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(rng.uniform(0.5, 5, 3) * rng.choice([-1, 1], 3))
    affine[:3, 3] = rng.normal(size=3) * 50
    normal, pivot = seed % 3, rng.normal(size=3) * 10
    moved, axes = levelled(affine, normal, pivot)
    shown, sliced = (moved @ affine)[:3, :3], axes[normal]
    # The sliced axis of the array is alone along its axis of the world, as napari needs it.
    assert np.abs(np.delete(shown[:, sliced], sliced)).max() < 1e-9
    assert np.abs(np.delete(shown[sliced], sliced)).max() < 1e-9
    # A rigid motion in axes that are only reordered: no length changes, no mirror image, the pivot stays.
    np.testing.assert_allclose(moved[:3, :3] @ moved[:3, :3].T, np.eye(3), atol=1e-12)
    back = np.eye(3)[list(axes)]
    assert np.linalg.det(back @ moved[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(back @ (moved @ [*pivot, 1])[:3], pivot)


def test_levelled_leaves_a_straight_scan_and_takes_the_shear_out_of_a_tilted_gantry():
    straight = np.diag([3.0, -1.0, 0.5, 1.0])
    np.testing.assert_array_equal(levelled(straight, 0, np.zeros(3))[0], np.eye(4))
    gantry = np.diag([3.0, 1.0, 1.0, 1.0])
    gantry[1, 0] = 0.8  # each slice begins a little farther back
    shown = levelled(gantry, 0, np.zeros(3))[0] @ gantry
    np.testing.assert_allclose(shown[:3, :3], np.diag([3.0, 1.0, 1.0]), atol=1e-12)
