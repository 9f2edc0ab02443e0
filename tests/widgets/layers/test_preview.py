"""Drawing while a preview is on screen: what the person draws is theirs, equal to the preview or not."""

import numpy as np
import pytest
from napari.layers import Labels

from napari_unet_tumour.base.compressed import CompressedArray
from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.widgets.layers import labels
from napari_unet_tumour.widgets.layers.predictions import PlanePrediction
from napari_unet_tumour.widgets.layers.preview import Preview

CORRECT = "Correct and fine-tune"
pytestmark = pytest.mark.usefixtures("instant")


def volume():
    data = np.full((4, 24, 24), 40, np.uint8)
    data[:, 4:10, 4:10], data[:, 14:18, 4:10] = 220, 150
    return data


class Mouse:
    """The left mouse button on the canvas, as vispy tells of it."""

    def __init__(self, viewer):
        self._viewer, self._canvas = viewer, viewer.window._qt_viewer.canvas

    def _tell(self, what, row, column):
        viewer = self._viewer
        viewer.scene.camera.center = (0, row, column)
        wide, high = self._canvas.size
        tell = getattr(self._canvas._scene_canvas.events, what)
        tell(pos=(wide / 2, high / 2), button=1, buttons=[1], modifiers=())

    def press(self, row, column):
        self._tell("mouse_press", row, column)

    def release(self, row, column):
        self._tell("mouse_release", row, column)

    def paint(self, row, column):
        self.press(row, column)
        self.release(row, column)


@pytest.fixture
def corrected(opened):
    """The Correct widget with a segmented scan, slice 1 on screen, and a brush of one pixel."""
    one = opened(lambda viewer: viewer.add_image(volume(), name="scan"), widget=CORRECT)
    one.wait(lambda: one.widget.session is not None)
    one.click(one.panel.segment)
    one.wait(lambda: not one.widget.running and not one.widget._masks.deciding)
    one.mask = brush(one)
    one.part = one.widget.session.case.parts[0]
    return one


def brush(one):
    mask = one.viewer.layers[-1]
    one.viewer.layers.selection.active = mask
    one.viewer.dims.set_point(0, 1)
    mask.brush_size, mask.mode = 1, "paint"
    return mask


def preview(one, new):
    one.widget._masks.show_preview(one.part.mask, one.part.layout, 1, new)


@pytest.mark.parametrize("value", [1, 0])
def test_a_pixel_that_is_painted_as_the_preview_shows_it_is_painted(corrected, value):
    mask, mouse = corrected.mask, Mouse(corrected.viewer)
    row, column = (20, 20) if value else (5, 5)
    before = mask.data.copy()
    assert before[1, row, column] == 1 - value
    mask.mode = "paint" if value else "erase"
    preview(corrected, np.full((24, 24), value, np.uint8))
    assert mask.data[1, row, column] == value
    mouse.press(row, column)
    preview(corrected, np.full((24, 24), 1 - value, np.uint8))
    mouse.release(row, column)
    preview(corrected, np.full((24, 24), 1 - value, np.uint8))
    assert mask.data[1, row, column] == value, "a stroke is on top of every further preview"
    corrected.widget._masks.hide_preview()
    changed = np.argwhere(mask.data != before)
    assert changed.tolist() == [[1, row, column]]
    mask.undo()
    assert np.array_equal(mask.data, before)


def test_while_the_button_is_down_and_while_a_polygon_is_drawn_there_is_no_preview(corrected):
    mask, mouse = corrected.mask, Mouse(corrected.viewer)
    before = mask.data[1].copy()
    everywhere = np.ones((24, 24), np.uint8)
    preview(corrected, everywhere)
    mouse.press(5, 5)
    assert np.array_equal(mask.data[1], before)
    preview(corrected, everywhere)
    assert np.array_equal(mask.data[1], before)
    mouse.release(5, 5)
    preview(corrected, everywhere)
    assert mask.data[1].all()
    mask.mode = "polygon"
    preview(corrected, everywhere)
    assert np.array_equal(mask.data[1], before)
    mask.mode = "pan_zoom"
    preview(corrected, everywhere)
    mouse.paint(5, 5)
    assert mask.data[1].all(), "a click that draws nothing leaves the preview"


def test_nothing_listens_to_the_mouse_once_the_preview_is_off(corrected):
    calls = corrected.viewer.mouse_drag_callbacks, corrected.viewer.mouse_double_click_callbacks
    before = [len(every) for every in calls]
    mouse = Mouse(corrected.viewer)
    preview(corrected, np.ones((24, 24), np.uint8))
    assert [len(every) for every in calls] == [n + 1 for n in before]
    mouse.press(5, 5)
    corrected.widget._masks.hide_preview()
    mouse.release(5, 5)
    assert [len(every) for every in calls] == before


def test_a_new_threshold_is_taken_up_where_the_person_draws_on_it(opened):
    """Painted is a pixel that the mask had before the threshold moved: napari would not record it."""
    one = opened(lambda viewer: viewer.add_image(volume(), name="scan"))
    one.panel.scope.value = "all"
    one.run()
    one.wait(lambda: one.widget.settled)
    mask = brush(one)
    mask.mode = "erase"
    mouse = Mouse(one.viewer)
    one.panel.form["threshold"].value = 0.9
    one.widget._masks._timer.stop()
    shown = mask.data[1].copy()
    mouse.paint(5, 5)
    assert np.array_equal(np.delete(mask.data[1].ravel(), 5 * 24 + 5), np.delete(shown.ravel(), 5 * 24 + 5))
    one.widget._masks._timer.start(0)
    one.wait(lambda: one.widget.settled)
    assert mask.data[1, 5, 5] == 0


def test_what_a_run_writes_during_a_stroke_is_no_part_of_the_stroke(corrected, instant):
    mask, mouse = corrected.mask, Mouse(corrected.viewer)
    instant.brighter_than = 200
    mouse.press(20, 20)
    corrected.click(corrected.panel.segment)
    corrected.wait(lambda: not corrected.widget.running and not corrected.widget._masks.deciding)
    mouse.release(20, 20)
    written = np.where(volume() > 200, 1, 0)
    assert np.array_equal(np.delete(mask.data, 1, 0), np.delete(written, 1, 0))
    assert mask.data[1, 20, 20] == 1
    mask.undo()
    assert mask.data[1, 20, 20] == 0
    assert np.array_equal(np.delete(mask.data, 1, 0), np.delete(written, 1, 0))


def test_undo_and_redo_count_also_where_they_say_what_the_preview_says():
    mask = Labels(np.zeros((4, 24, 24), np.uint8))
    layout = layout_of(mask.data.shape)
    for column in (5, 6, 7):
        mask.data_setitem((np.array([1]), np.array([5]), np.array([column])), 1)
    held = mask.data[1].copy()
    nothing = CompressedArray(np.zeros((24, 24), np.uint8))
    seen = Preview(
        mask, mask.data, layout, PlanePrediction(1, None, nothing, nothing), held, np.zeros(held.shape, bool), held
    )
    for undo, left in ((mask.undo, 2), (mask.undo, 1), (mask.redo, 2)):
        seen.shown = np.zeros((24, 24), np.uint8)
        labels.preview(mask, layout, 1, None, seen.shown)
        undo()
        seen.notice(labels.pixels(mask, layout, 1))
        assert np.count_nonzero(seen.base) == left
        assert seen.base[5, 5:8].tolist() == [1] * left + [0] * (3 - left)
    seen.shown = np.zeros((24, 24), np.uint8)
    labels.preview(mask, layout, 1, None, seen.shown)
    mask.data_setitem((np.array([1]), np.array([9]), np.array([9])), 1)  # ends what could be redone
    seen.notice(labels.pixels(mask, layout, 1))
    assert np.argwhere(seen.base).tolist() == [[5, 5], [5, 6], [9, 9]]
