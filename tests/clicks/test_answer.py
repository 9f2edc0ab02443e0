from __future__ import annotations

import numpy as np
import pytest

from napari_unet_tumour.clicks.answer import INSIDE, Click, Known, answer, relevelled


def disc(row: int, column: int, radius: float, shape: tuple[int, int] = (200, 240)) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - row, columns - column) <= radius


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    mask = found >= INSIDE
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def test_a_click_outlines_the_disc_under_it(net, discs_plane) -> None:
    found = answer(net, discs_plane, [Click(58, 72)])
    assert found.dtype == np.uint8
    assert found.shape == discs_plane.shape
    assert overlap(found, disc(60, 70, 14)) > 0.95


def test_two_lesions_are_two_windows(net, discs_plane) -> None:
    found = answer(net, discs_plane, [Click(58, 72), Click(141, 182)])
    assert overlap(found, disc(60, 70, 14) | disc(140, 180, 10)) > 0.93


def test_far_from_all_clicks_everything_stays(net, discs_plane) -> None:
    base = np.where(disc(140, 180, 12), 200, 3).astype(np.uint8)
    found = answer(net, discs_plane, [Click(58, 72)], Known(base=base))
    assert (found[130:160, 165:195] == base[130:160, 165:195]).all()
    before = np.where(disc(150, 40, 6), 255, 0).astype(np.uint8)
    found = answer(net, discs_plane, [Click(141, 182)], Known(base=base, before=before))
    assert (found[140:160, 30:50] == before[140:160, 30:50]).all()


def test_no_click_leaves_the_answer_as_it_is(net, discs_plane) -> None:
    base = np.where(disc(140, 180, 12), 200, 3).astype(np.uint8)
    assert (answer(net, discs_plane, [], Known(base=base)) == base).all()
    assert not answer(net, discs_plane, []).any()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_every_click_is_obeyed_whatever_the_network_says(discs_plane, value) -> None:
    rng = np.random.default_rng(0)
    clicks = [Click(int(rng.integers(200)), int(rng.integers(240)), int(rng.choice([-1, 1]))) for _ in range(200)]
    found = answer(lambda x: np.full((len(x), *x.shape[2:]), value, np.float32), discs_plane, clicks)
    last = {(c.row, c.column): c.sign for c in clicks}
    for (row, column), sign in last.items():
        assert (found[row, column] >= INSIDE) == (sign > 0)


def test_of_contradicting_clicks_the_later_one_counts(net, discs_plane) -> None:
    assert answer(net, discs_plane, [Click(60, 70, 1), Click(60, 70, -1)])[60, 70] < INSIDE
    assert answer(net, discs_plane, [Click(60, 70, -1), Click(60, 70, 1)])[60, 70] >= INSIDE


@pytest.mark.parametrize(("row", "column"), [(0, 0), (199, 239), (0, 239), (199, 0), (100, 239)])
def test_clicks_at_the_edge(net, discs_plane, row, column) -> None:
    assert answer(net, discs_plane, [Click(row, column)])[row, column] >= INSIDE


@pytest.mark.parametrize("fill", [0, 7, np.nan])
def test_a_blank_slice_shows_the_clicks_alone(net, fill) -> None:
    found = answer(net, np.full((90, 80), fill), [Click(40, 30), Click(42, 30, -1)])
    assert found[40, 30] >= INSIDE
    assert found[42, 30] < INSIDE
    assert (found >= INSIDE).sum() < 40


def test_nan_around_a_click(net, discs_plane) -> None:
    plane = discs_plane.astype(float)
    plane[30:90, 40:100] = np.nan
    found = answer(net, plane, [Click(60, 70)])
    assert found[60, 70] >= INSIDE
    assert found[150, 20] < INSIDE


@pytest.mark.parametrize("shape", [(1, 300), (3, 3), (2000, 40), (700, 900)])
def test_planes_of_any_shape(net, shape) -> None:
    plane = np.random.default_rng(0).random(shape)
    found = answer(net, plane, [Click(shape[0] // 2, shape[1] // 2)])
    assert found.shape == shape
    assert found[shape[0] // 2, shape[1] // 2] >= INSIDE


def test_the_plane_and_what_is_known_are_not_changed(net, discs_plane) -> None:
    base = np.where(disc(60, 70, 9), 200, 3).astype(np.uint8)
    plane, copy = discs_plane.copy(), base.copy()
    answer(net, plane, [Click(60, 70), Click(90, 70, -1)], Known(base=base, before=base, region=disc(60, 70, 20)))
    assert (plane == discs_plane).all()
    assert (base == copy).all()


def test_the_window_follows_the_lesion(discs_plane) -> None:
    sides = []

    def whole(pictures: np.ndarray) -> np.ndarray:
        sides.extend([float((one[6] > 0.5).mean()) for one in pictures])
        return pictures[:, 6]

    answer(whole, discs_plane, [Click(60, 70)])
    assert len(sides) > 1
    assert sides[-1] > 1.5 * sides[0]


def test_a_scribble_is_obeyed_pixel_by_pixel(discs_plane) -> None:
    scribble = np.zeros(discs_plane.shape, np.int8)
    scribble[55, 60:80], scribble[100, 60:80] = 1, -1
    for value in (0.0, 1.0):
        found = answer(
            lambda x, v=value: np.full((len(x), *x.shape[2:]), v, np.float32), discs_plane, [], Known(scribble=scribble)
        )
        assert (found[scribble > 0] >= INSIDE).all()
        assert (found[scribble < 0] < INSIDE).all()


def test_a_box_alone_is_shown_to_the_network(discs_plane) -> None:
    region = np.zeros(discs_plane.shape, bool)
    region[44:76, 54:86] = True
    found = answer(lambda x: x[:, 4], discs_plane, [], Known(region=region))
    assert overlap(found, region) > 0.95


@pytest.mark.parametrize("level", [1, 5, 64, 128, 200, 255])
def test_levels(level) -> None:
    values = np.arange(256, dtype=np.uint8)
    found = relevelled(values, level, INSIDE)
    assert ((found >= INSIDE) == (values >= level)).all()
    assert (np.diff(found.astype(int)) >= 0).all()
    back = relevelled(found, INSIDE, level)
    assert ((back >= level) == (values >= level)).all()
