"""The surface of a mask: its place and its volume in millimetres."""

import numpy as np
import pytest

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.look import mesh


def ball(shape, centre, radius, spacing):
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    return (((grid - centre) * spacing) ** 2).sum(-1) <= radius**2


def made(mask, linear, leave_out=None):
    box = mesh.box_of(mask)
    return mesh.mesh_of(mask[box], [one.start for one in box], mask.shape, np.asarray(linear, float), leave_out)


def volume(found, linear):
    """Return the signed volume of closed triangles in the world (x, y, z); positive where they look outwards."""
    a, b, c = ((found.vertices[found.faces[:, n]] @ np.asarray(linear).T)[:, ::-1] for n in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize(
    "linear",
    [
        np.diag([3.0, 0.8, 0.5]),
        np.diag([-3.0, 0.8, 0.5]),
        np.array([[0, 0.8, 0], [3.0, 0, 0], [0, 0, 0.5]]),
        np.array([[2.6, 0.4, 0], [-1.5, 0.7, 0], [0, 0, 0.5]]),
    ],
)
def test_volume_and_middle_are_those_of_the_mask(linear) -> None:
    spacing, centre = np.linalg.norm(linear, axis=0), (9, 30, 41)
    mask = ball((20, 60, 90), centre, 14.0, spacing).astype(np.uint8)
    found = made(mask, linear)
    voxel = abs(np.linalg.det(linear))
    assert volume(found, linear) == pytest.approx(mask.sum() * voxel, rel=0.05)
    middle = (found.vertices.min(0) + found.vertices.max(0)) / 2
    np.testing.assert_allclose(middle, centre, atol=0.01)


def test_every_label_has_a_surface_but_unsure_has_none() -> None:
    mask = np.zeros((12, 30, 30), np.uint8)
    mask[2:5, 3:9, 3:9], mask[7:10, 12:20, 12:20], mask[0, 25, 25] = 1, 7, 255
    found = made(mask, np.eye(3), leave_out=255)
    assert found.labels == (1, 7)
    assert found.vertices[found.values == 1].max() < 9
    assert (found.vertices[found.values == 7].min(0) == (6.5, 11.5, 11.5)).all()


def test_a_single_voxel_and_the_edge_of_the_scan_are_not_lost() -> None:
    mask = np.zeros((5, 6, 7), np.int64)
    mask[2, 3, 4] = 3
    assert len(made(mask, np.eye(3)).faces) == 8
    whole = made(np.ones((5, 6, 7), bool), np.eye(3))
    assert (whole.vertices.min(0) == 0).all()
    assert (whole.vertices.max(0) == (4, 5, 6)).all()


def test_a_large_mask_is_thinned_where_it_is_finest(monkeypatch) -> None:
    monkeypatch.setattr(mesh, "MOST_VOXELS", 8000)
    linear = np.diag([3.0, 0.8, 0.5])
    mask = ball((20, 60, 90), (9, 30, 41), 14.0, np.diag(linear)).astype(np.uint8)
    blocks = mesh.block_sizes(mask.shape, np.diag(linear))
    assert blocks[0] <= blocks[1] <= blocks[2]
    assert np.prod(np.ceil(np.array(mask.shape) / blocks)) <= 8000
    found, whole = made(mask, linear), mask.sum() * np.linalg.det(linear)
    assert volume(found, linear) == pytest.approx(whole, rel=0.1)
    np.testing.assert_allclose((found.vertices.min(0) + found.vertices.max(0)) / 2, (9, 30, 41), atol=1)
    thin = np.zeros((9, 200, 200), bool)
    thin[4, ::40, 100] = True
    assert len(made(thin, linear).faces)


@pytest.mark.parametrize("mask", [np.zeros((2, 2, 2), int), np.full((2, 2, 2), 255)])
def test_what_has_no_label_is_said(mask) -> None:
    with pytest.raises(ScanError, match="empty"):
        mesh.mesh_of(mask, (0, 0, 0), mask.shape, np.eye(3), 255)


def test_too_many_labels_are_said() -> None:
    with pytest.raises(ScanError, match="at most 64"):
        mesh.mesh_of(np.arange(125).reshape(5, 5, 5), (0, 0, 0), (5, 5, 5), np.eye(3), None)


def test_an_empty_mask_has_no_box() -> None:
    assert mesh.box_of(np.zeros((3, 4, 5), bool)) is None
