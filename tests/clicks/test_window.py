from __future__ import annotations

import numpy as np
import pytest

from napari_unet_tumour.clicks.window import SIDE, Window

PLANE = np.random.default_rng(0).random((70, 90)).astype(np.float32)


def ramp(height: int, width: int) -> np.ndarray:
    rows, columns = np.indices((height, width))
    return (3.0 * rows + columns).astype(np.float32)


def test_a_window_of_the_networks_own_size_is_a_cut() -> None:
    found = Window(3, 11, SIDE).take(PLANE)
    np.testing.assert_allclose(found, PLANE[3 : 3 + SIDE, 11 : 11 + SIDE], atol=1e-6)


@pytest.mark.parametrize("side", [20.0, 33.3, 64.0, 100.0, 211.7])
def test_there_and_back_is_the_same_place(side: float) -> None:
    plane = ramp(300, 320)
    window = Window(41.3, 55.1, side)
    back = window.put(window.take(plane), plane.shape)
    rows, columns = window.region(plane.shape)
    inner = (slice(3, -3), slice(3, -3))
    step = max(1.0, window.step)
    np.testing.assert_allclose(back[inner], plane[rows, columns][inner], atol=0.51 * step)
    assert abs((back - plane[rows, columns])[inner].mean()) < 0.02


@pytest.mark.parametrize("side", [20.0, 100.0])
def test_a_pixels_place_in_the_picture_is_where_its_value_is(side: float) -> None:
    plane = np.zeros((200, 200), np.float32)
    plane[88, 104] = 1
    window = Window(78.4, 94.9, side)
    found = window.take(plane)
    middle = np.array([(np.indices(found.shape)[axis] * found).sum() / found.sum() for axis in (0, 1)])
    np.testing.assert_allclose(middle, window.inside(88, 104), atol=0.05)
    assert window.covers(88, 104)
    assert not window.covers(10, 10)


def test_outside_the_plane_is_the_fill() -> None:
    found = Window(-SIDE, 0, SIDE).take(PLANE, -7.0)
    assert (found == -7).all()
    half = Window(-SIDE / 2, 0, SIDE).take(PLANE, -7.0)
    assert (half[: SIDE // 2] == -7).all()
    np.testing.assert_allclose(half[SIDE // 2 :], PLANE[: SIDE // 2, :SIDE], atol=1e-6)


def test_a_window_wholly_outside_has_no_pixels() -> None:
    window = Window(500, 500, 20)
    rows, columns = window.region(PLANE.shape)
    assert rows.stop == rows.start
    assert columns.stop == columns.start
    assert window.put(np.zeros((SIDE, SIDE), np.float32), PLANE.shape).size == 0


def test_a_coarse_look_averages() -> None:
    noise = np.random.default_rng(1).normal(size=(SIDE * 8, SIDE * 8)).astype(np.float32)
    assert Window(0, 0, SIDE * 8).take(noise).std() < 0.2


@pytest.mark.parametrize("shape", [(1, 50), (50, 1), (1, 1), (2, 3)])
def test_thin_planes(shape: tuple[int, int]) -> None:
    window = Window(-10, -10, 40)
    plane = np.full(shape, 3.0, np.float32)
    found = window.take(plane)
    assert np.isfinite(found).all()
    assert window.put(found, shape).shape == plane[window.region(shape)].shape
