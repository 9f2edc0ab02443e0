"""The threshold as a live slider on what the network has said, and what it does to the undo history."""

import threading

import numpy as np
import pytest

from napari_unet_tumour.widgets.layers.image_source import KEY
from napari_unet_tumour.widgets.layers.mask_writer import SETTLE_MS
from napari_unet_tumour.widgets.layers.predictions import REVIEWED


class Sure:
    """Equal to a mask that has the pixels where the model "known" is at least that sure; 0.03 for bf16 to differ in."""

    def __init__(self, data, threshold):
        sureness = 1 / (1 + np.exp(-8 * (data / 255 - 0.5)))
        self.wanted, self.clear = sureness >= threshold, abs(sureness - threshold) > 0.03

    def put(self, at, value):
        self.wanted[at], self.clear[at] = value, True
        return self

    def __getitem__(self, at):
        part = Sure.__new__(Sure)
        part.wanted, part.clear = self.wanted[at], self.clear[at]
        return part

    __hash__ = None

    def __eq__(self, mask):
        return self.clear.any() and np.array_equal(mask[self.clear], self.wanted[self.clear])


def sure(data, threshold):
    return Sure(data, threshold)


@pytest.fixture
def ran(opened, scan):
    """A viewer whose stack of 6 planes is segmented; its submit is counted."""
    data = scan(6, 64, 64)
    one = opened(lambda viewer: viewer.add_image(data))
    one.data, one.mask = data, one.run()
    return one


def slide(one, *values):
    for value in values:
        one.panel.form["threshold"].value = value
        one.qtbot.wait(20)
    one.qtbot.wait(SETTLE_MS + 50)
    one.wait(lambda: one.widget._masks._wanted is None)


def test_the_slider_moves_the_mask_without_a_second_run(ran, monkeypatch):
    monkeypatch.setattr("napari_unet_tumour.jobs.submit", lambda *args, **kw: pytest.fail("a job was submitted"))
    slide(ran, 0.8)
    assert sure(ran.data, 0.8) == ran.mask.data
    slide(ran, 0.1)
    assert sure(ran.data, 0.1) == ran.mask.data
    assert ran.mask.metadata[KEY]["settings"]["threshold"] == 0.1


def test_a_tick_after_the_run_does_not_pretend_that_the_mirrored_copy_was_asked(ran):
    before = ran.mask.data.copy()
    ran.panel.form["flip_tta"].value = True
    slide(ran, 0.9)
    slide(ran, 0.5)
    assert np.array_equal(ran.mask.data, before)
    assert ran.mask.metadata[KEY]["settings"]["flip_tta"] is False
    ran.run()
    assert ran.mask.metadata[KEY]["settings"]["flip_tta"] is True


def test_with_the_mirrored_copy_the_slider_moves_the_mask_as_a_run_would(ran):
    ran.panel.form["flip_tta"].value = True
    ran.panel.form["threshold"].value = 0.98  # above the surest pixel of every slice
    ran.run()
    wanted = ran.mask.data.copy()
    assert wanted.any()
    slide(ran, 0.3)
    assert not np.array_equal(ran.mask.data, wanted)
    slide(ran, 0.98)
    assert np.array_equal(ran.mask.data, wanted)


def test_the_slice_on_screen_follows_while_the_slider_moves(ran):
    shown = ran.viewer.dims.current_step[0]
    ran.panel.form["threshold"].value = 0.8
    assert sure(ran.data, 0.8)[shown] == ran.mask.data[shown]
    assert sure(ran.data, 0.5)[0] == ran.mask.data[0]
    assert sure(ran.data, 0.8)[shown] == (ran.mask._slice.image.view != 0)


def test_a_whole_drag_is_one_undo_step(ran):
    steps = len(ran.mask._undo_history)
    slide(ran, *np.linspace(0.5, 0.9, 15))
    assert len(ran.mask._undo_history) == steps + 1
    ran.mask.undo()
    assert sure(ran.data, 0.5) == ran.mask.data
    ran.mask.redo()
    assert sure(ran.data, 0.9) == ran.mask.data


def test_a_drag_that_comes_back_leaves_no_trace(ran):
    steps, shown = len(ran.mask._undo_history), ran.viewer.dims.current_step[0]
    slide(ran, 0.7, 0.9, 0.5)
    assert len(ran.mask._undo_history) == steps
    assert sure(ran.data, 0.5) == ran.mask.data
    assert sure(ran.data, 0.5)[shown] == (ran.mask._slice.image.view != 0)


def test_the_persons_strokes_stay(ran):
    ran.mask.data_setitem((np.array([2, 2]), np.array([0, 32]), np.array([0, 32])), np.array([1, 0], np.uint8))
    slide(ran, 0.2)
    wanted = sure(ran.data, 0.2)
    wanted.put((2, 0, 0), 1).put((2, 32, 32), 0)
    assert wanted == ran.mask.data
    ran.mask.undo()
    ran.mask.undo()
    assert sure(ran.data, 0.5) == ran.mask.data


def test_a_stroke_during_a_drag_stays(ran):
    shown = ran.viewer.dims.current_step[0]
    ran.panel.form["threshold"].value = 0.8
    ran.mask.data_setitem((np.array([shown]), np.array([0]), np.array([0])), 1)
    slide(ran, 0.7)
    wanted = sure(ran.data, 0.7)
    wanted.put((shown, 0, 0), 1)
    assert wanted == ran.mask.data


def test_the_slider_still_works_after_undo(ran):
    slide(ran, 0.2)
    ran.mask.undo()
    slide(ran, 0.3)
    assert sure(ran.data, 0.3) == ran.mask.data


def test_the_slider_works_on_a_rolled_view(ran):
    ran.viewer.dims.order = (1, 0, 2)
    slide(ran, 0.8)
    assert sure(ran.data, 0.8) == ran.mask.data


def test_small_objects_and_all_but_the_largest_go_without_a_second_run(opened):
    data = np.zeros((3, 64, 64), np.uint8)
    data[:, 4:9, 4:9] = 255
    data[0, 20:22, 20:22] = 255
    data[2, 40:50, 40:50] = 255
    one = opened(lambda viewer: viewer.add_image(data))
    mask = one.run()
    one.panel.form["min_object_size"].value = 5
    slide(one)
    assert not mask.data[0, 20:22, 20:22].any()
    assert mask.data[:, 4:9, 4:9].all()
    one.panel.form["keep_largest"].value = True
    slide(one)
    assert not mask.data[:, 4:9, 4:9].any()
    assert mask.data[2, 40:50, 40:50].all()


def test_keep_largest_in_a_run_means_the_largest_of_the_volume(opened):
    data = np.zeros((12, 64, 64), np.uint8)
    data[:3, 4:9, 4:9] = 255
    data[11, 40:60, 40:60] = 255
    one = opened(lambda viewer: viewer.add_image(data))
    one.panel.form["keep_largest"].value = True
    mask = one.run()
    slide(one)
    assert not mask.data[:3].any()
    assert mask.data[11, 40:60, 40:60].all()


def test_replaced_pixels_of_the_mask_are_left_alone(ran):
    ran.mask.data = np.ones((2, 8, 8), np.uint8)
    slide(ran, 0.2)
    assert (ran.mask.data == 1).all()


def test_the_slider_before_any_run_does_nothing(opened, scan):
    one = opened(lambda viewer: viewer.add_image(scan(64, 64)))
    slide(one, 0.9)
    assert len(one.viewer.layers) == 1


@pytest.fixture
def spotted(opened):
    """A viewer whose stack of 8 planes has a lesion on planes 2 to 5 and a spot on plane 4 alone, segmented."""
    data = np.zeros((8, 64, 64), np.uint8)
    data[2:6, 40:50, 40:50] = 255
    data[4, 5:15, 5:15] = 255
    one = opened(lambda viewer: viewer.add_image(data))
    one.data, one.mask = data, one.run()
    one.wait(lambda: one.widget.settled)
    return one


def test_a_spot_that_one_slice_alone_shows_is_left_out_and_said(spotted):
    assert not spotted.mask.data[4, 5:15, 5:15].any()
    assert spotted.mask.data[2:6, 40:50, 40:50].all()
    assert "tumour on 4 of them. Left out: 1 piece that one slice alone shows." in spotted.status


def test_a_run_has_settled_when_all_its_slices_have_decided(opened, monkeypatch):
    data = np.zeros((8, 64, 64), np.uint8)
    data[2:6, 40:50, 40:50] = data[4, 5:15, 5:15] = 255
    one = opened(lambda viewer: viewer.add_image(data))
    held, decide = threading.Event(), one.widget._masks._decide
    monkeypatch.setattr(one.widget._masks, "_decide", lambda *given: held.wait(10) and decide(*given))
    mask = one.run()
    one.qtbot.wait(300)
    assert not one.widget.settled
    assert mask.data[4, 5:15, 5:15].all()
    held.set()
    one.wait(lambda: one.widget.settled)
    assert not mask.data[4, 5:15, 5:15].any()


def test_undo_and_the_switch_bring_it_back(spotted):
    spotted.mask.undo()
    assert spotted.mask.data[4, 5:15, 5:15].all()
    spotted.mask.redo()
    spotted.panel.form["remove_isolated"].value = False
    slide(spotted)
    assert spotted.mask.data[4, 5:15, 5:15].all()
    assert "Left out" not in spotted.status
    assert "tumour on 4 of them." in spotted.status


def test_a_stroke_on_it_stays(spotted):
    spotted.mask.data_setitem((np.array([4]), np.array([7]), np.array([7])), 1)
    slide(spotted, 0.6)
    assert spotted.mask.data[4, 5:15, 5:15].sum() == 1
    assert spotted.mask.data[4, 7, 7] == 1


def test_one_slice_alone_says_nothing_of_its_neighbours(opened):
    data = np.zeros((8, 64, 64), np.uint8)
    data[4, 5:15, 5:15] = 255
    one = opened(lambda viewer: viewer.add_image(data))
    one.viewer.dims.set_point(0, 4)
    one.panel.scope.value = "this"
    mask = one.run()
    slide(one, 0.6)
    assert mask.data[4, 5:15, 5:15].all()


def test_time_points_keep_their_spots(opened):
    data = np.zeros((8, 64, 64), np.uint8)
    data[4, 5:15, 5:15] = 255
    one = opened(lambda viewer: viewer.add_image(data, axis_labels=("t", "y", "x")))
    mask = one.run()
    slide(one, 0.6)
    assert mask.data[4, 5:15, 5:15].all()


def test_a_reviewed_slice_vouches_for_the_spot_beside_it(spotted):
    spotted.panel.form["remove_isolated"].value = False
    slide(spotted)
    spotted.mask.data_setitem((np.full(4, 3), np.array([8, 8, 9, 9]), np.array([8, 9, 8, 9])), 1)
    REVIEWED[spotted.mask] = frozenset([3])
    spotted.panel.form["remove_isolated"].value = True
    slide(spotted)
    assert spotted.mask.data[4, 5:15, 5:15].all()
    assert spotted.mask.data[3, 8:10, 8:10].all()


def test_the_status_counts_the_slices_of_its_own_run(opened):
    data = np.zeros((8, 64, 64), np.uint8)
    data[2:6, 40:50, 40:50] = 255
    one = opened(lambda viewer: viewer.add_image(data))
    one.run()
    one.wait(lambda: one.widget._masks._wanted is None)
    one.viewer.dims.set_point(0, 0)
    one.panel.scope.value = "this"
    one.run()
    slide(one, 0.6)
    assert "nothing found" in one.status
