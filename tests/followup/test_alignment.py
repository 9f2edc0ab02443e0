"""A later scan brought to the earlier one: known turns and shifts of a head, on other grids and with other contrast."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.followup import Cancelled, align, alignment
from napari_unet_tumour.phantom import phantom
from napari_unet_tumour.scans.scan import Scan

pytest.importorskip("SimpleITK")


@pytest.fixture(scope="module")
def head():
    return phantom()[0]


def moved_head(head, turn, spacing, shape, axes=(0, 1, 2), flips=(1, 1, 1)):
    """Return the head as it is scanned after the patient was moved by `turn`, on another grid, with other contrast."""
    world = np.zeros((4, 4))
    for n, axis in enumerate(axes):
        world[axis, n] = spacing[n] * flips[n]
    world[3, 3] = 1
    middle = head.world @ [*(np.array(head.array.shape) - 1) / 2, 1]
    world[:3, 3] = (turn @ middle)[:3] - world[:3, :3] @ (np.array(shape) - 1) / 2
    to_head = np.linalg.inv(head.world) @ np.linalg.inv(turn) @ world
    values = ndimage.affine_transform(head.array.astype(np.float32), to_head[:3, :3], to_head[:3, 3], shape, order=1)
    brighter = 400 - 300 * np.sqrt(values / max(values.max(), 1.0))
    noise = np.random.default_rng(0).normal(0, 3, shape)
    return Scan((brighter + noise).astype(np.float32), "zyx", world, "mm", "later")


def farthest(found, turn, head):
    """Return how far, in mm, the corners of the middle half of the head are from where they belong."""
    corners = np.array([[*at, 1] for at in np.ndindex(2, 2, 2)], float)
    corners[:, :3] = (0.25 + 0.5 * corners[:, :3]) * (np.array(head.array.shape) - 1)
    places = corners @ head.world.T
    return np.linalg.norm(places @ turn.T @ found.to_earlier.T - places, axis=1).max()


def turned(head, vector, degrees, shift):
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * np.array(vector) / np.linalg.norm(vector)).as_matrix()
    middle = (head.world @ [*(np.array(head.array.shape) - 1) / 2, 1])[:3]
    turn[:3, 3] = middle - turn[:3, :3] @ middle + shift
    return turn


@pytest.mark.parametrize(
    ("vector", "degrees", "shift", "grid"),
    [
        ((1, 0, 0), 0, (0, 0, 0), ((3.0, 1.5, 1.5), (40, 110, 110))),
        ((1, 0.3, 0.2), 9, (4, -7, 5), ((3.0, 1.5, 1.5), (40, 110, 110))),
        ((0.1, 1, 0.5), 6, (-9, 3, 12), ((1.6, 2.0, 2.5), (100, 80, 60), (2, 1, 0), (-1, 1, -1))),
        ((1, 0, 0), 4, (300, -150, 80), ((3.0, 1.5, 1.5), (40, 110, 110))),
    ],
)
def test_a_known_movement_is_found(head, vector, degrees, shift, grid):
    turn = turned(head, vector, degrees, shift)
    told = []
    found = align(head, moved_head(head, turn, *grid), told.append)
    assert farthest(found, turn, head) < 1.0
    assert found.degrees == pytest.approx(degrees, abs=0.7)
    assert np.linalg.det(found.to_earlier[:3, :3]) == pytest.approx(1)
    assert told
    assert all(0 < one.done <= one.total for one in told)


def test_it_stops_when_nobody_wants_it_any_more(head):
    told = []
    with pytest.raises(Cancelled):
        align(head, head, told.append, lambda: len(told) < 3)
    assert len(told) < 10


def test_what_cannot_be_aligned_is_said(head, monkeypatch):
    with pytest.raises(ScanError, match="'head' is not a grey volume in millimetres"):
        align(head, replace(head, units="pixel", name="head"))
    with pytest.raises(ScanError, match="one grey value"):
        align(head, replace(head, array=np.zeros_like(head.array)))
    monkeypatch.setattr(alignment, "find_spec", lambda name: None)
    with pytest.raises(ScanError, match=r"napari-unet-tumour\[align\]"):
        align(head, head)
