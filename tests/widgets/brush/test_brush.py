"""Brushes limited by the image, and locks: real strokes with the mouse on the canvas."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_unet_tumour.widgets.brush.limits import BrushKind
from napari_unet_tumour.widgets.common.canvas import canvas_of
from napari_unet_tumour.widgets.common.settings_form import remembered
from napari_unet_tumour.widgets.layers.locks import REVIEWED_REFUSAL, label_refusal, locked_labels

pytestmark = pytest.mark.usefixtures("instant")
LEFT, RIGHT = 1, 2
SHAPE = (8, 40, 48)


def lesion(shape=SHAPE):
    """A bright ball with noise, and where it is."""
    middle, away = [size // 2 for size in shape], np.indices(shape).astype(float)
    inside = np.linalg.norm([3, 1, 1] * (away.T - middle), axis=-1).T <= 9
    noise = np.random.default_rng(1).normal(0, 4, shape)
    return (np.where(inside, 200, 80) + noise).astype(np.float32), inside


class Mouse:
    """A button of the mouse on the canvas, as vispy tells of it."""

    def __init__(self, viewer):
        self._viewer, self._canvas = viewer, viewer.window._qt_viewer.canvas

    def tell(self, what, at, button=LEFT):
        """Let something happen over a place of the world, which is brought to the middle of the canvas."""
        if what == "mouse_move":
            QTest.qWait(10)  # napari leaves out moves that follow each other sooner
        self._viewer.scene.camera.center = at
        wide, high = self._canvas.size
        tell = getattr(self._canvas._scene_canvas.events, what)
        held = [button] if button else []
        press = getattr(self, "_press", None)
        event = tell(pos=(wide / 2, high / 2), button=button, buttons=held, modifiers=(), press_event=press)
        self._press = {"mouse_press": event, "mouse_release": None}.get(what, press)

    def stroke(self, *places, button=LEFT):
        """Press at the first place, move over the others, release."""
        self.tell("mouse_press", places[0], button)
        for at in places[1:]:
            self.tell("mouse_move", at, button)
        self.tell("mouse_release", places[-1], button)


def shown(one, index):
    """Return a pixel of the mask as a place on the canvas: position in the world along the displayed axes."""
    world = one.mask.data_to_world(index)
    place = [world[axis] for axis in one.viewer.dims.displayed]
    return (0, *place)


def stroke(one, *indices, **more):
    one.mouse.stroke(*(shown(one, index) for index in indices), **more)


def begin(opened, image, mask_about=None, image_about=None, shape=None, widget="View"):
    def add(viewer):
        viewer.add_image(image, name="scan", **(image_about or {}))
        viewer.add_labels(np.zeros(shape or image.shape, np.uint8), name="mask", **(mask_about or {}))

    one = opened(add, widget)
    one.mask = one.viewer.layers["mask"]
    one.viewer.layers.selection.active = one.mask
    one.mask.mode, one.mask.brush_size = "paint", 25
    one.mouse = Mouse(one.viewer)
    one.brush = one.panel.brush._shared.brush
    one.note = lambda: one.panel.brush._shared.note.text() if one.panel.brush._shared.note else ""
    return one


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def go(one, *index):
    for axis, at in enumerate(index):
        if at is not None:
            one.viewer.dims.set_point(axis, one.mask.data_to_world([at if n == axis else 0 for n in range(3)])[axis])


def test_a_stroke_paints_the_range_where_it_began_and_is_one_step(opened):
    image, inside = lesion()
    one = begin(opened, image)
    go(one, 4)
    one.panel.brush.kind.value = "Range"
    one.panel.brush.width.value = 5.0
    assert remembered("brush") == {"width": 5.0}
    # It ends far outside the lesion: what counts is where it begins.
    stroke(one, (4, 20, 24), (4, 20, 30), (4, 20, 44))
    painted = one.mask.data[4] > 0
    assert dice(painted, inside[4]) > 0.97
    assert not one.mask.data[[3, 5]].any()
    one.mask.mode = "erase"
    one.mask.brush_size = 60
    stroke(one, (4, 5, 5), (4, 20, 24))
    assert np.array_equal(one.mask.data[4] > 0, painted), "the eraser began elsewhere"
    stroke(one, (4, 20, 24))
    assert one.mask.data.sum() < 0.05 * painted.sum()
    one.mask.undo()
    assert np.array_equal(one.mask.data[4] > 0, painted)
    one.mask.undo()
    assert not one.mask.data.any(), "a stroke is one step"
    one.mask.redo()
    assert np.array_equal(one.mask.data[4] > 0, painted)
    one.brush.kind = BrushKind.ALL
    one.mask.mode = "paint"
    stroke(one, (4, 5, 5))
    assert one.mask.data[4, 5, 5], "without a limit"


def test_the_brush_stops_at_edges_on_every_axis(opened):
    shape = (40, 40, 48)
    middle, away = [size // 2 for size in shape], np.indices(shape).astype(float)
    inside = np.linalg.norm(away.T - middle, axis=-1).T <= 9
    image = (np.where(inside, 200, 80) + np.random.default_rng(1).normal(0, 4, shape)).astype(np.float32)
    one = begin(opened, image)
    one.brush.kind = BrushKind.EDGES
    for axis in range(3):
        one.viewer.dims.order = (axis, *(n for n in range(3) if n != axis))
        one.viewer.dims.set_point(axis, middle[axis])
        stroke(one, middle)
        at = tuple(slice(None) if n != axis else middle[axis] for n in range(3))
        assert dice(one.mask.data[at] > 0, inside[at]) > 0.95
        assert one.mask.data.sum() == one.mask.data[at].sum(), "no other slice"
        one.mask.undo()
        assert not one.mask.data.any()


def test_a_mask_on_another_grid_is_painted_by_place(opened):
    """The image is turned by 90 degrees, flipped, anisotropic and in another unit; the mask has a grid of its own."""
    image, inside = lesion()
    turned = np.ascontiguousarray(np.swapaxes(image, 1, 2)[:, ::-1])
    # Index of the turned image -> mm: z by 3, its rows run along -x, its columns along y.
    affine = np.array([[3.0, 0, 0, 5], [0, 0, 0.5, -2], [0, -0.5, 0, 30], [0, 0, 0, 1]]) / [[10], [10], [10], [1]]
    one = begin(
        opened, turned, image_about={"affine": affine, "units": "cm"},
        mask_about={"scale": (3, 1, 1), "translate": (5, -2, 6.5), "units": "mm"}, shape=(8, 20, 24),
    )  # fmt: skip
    one.brush.width, one.mask.brush_size = 5.0, 17
    one.viewer.dims.set_point(0, 17 if "milli" in str(one.viewer.dims.units[0]) else 1.7)
    for kind in (BrushKind.RANGE, BrushKind.EDGES):
        one.brush.kind = kind
        stroke(one, (4, 10, 12))
        assert dice(one.mask.data[4] > 0, inside[4, ::2, 1::2]) > 0.85
        assert one.mask.data.sum() == one.mask.data[4].sum()
        one.mask.undo()


def test_without_an_image_the_brush_says_so_and_paints(opened):
    one = begin(opened, lesion()[0], mask_about={"translate": (0, 200, 0)})
    go(one, 4)
    one.brush.kind = BrushKind.RANGE
    one.wait(lambda: one.panel.brush._shared.note is not None)
    stroke(one, (4, 20, 24))
    assert one.mask.data[4].sum() > 400
    assert one.note() == "No image is shown under 'mask': the brush paints all pixels."


def test_a_locked_label_is_left_by_every_tool(opened, qtbot):
    one = begin(opened, lesion()[0])
    go(one, 4)
    one.mask.data[4, 10:20, 10:20] = 2
    one.mask.data[4, 25:30, 10:20] = 3
    one.mask.refresh()
    one.mask.selected_label = 2
    assert not one.panel.brush.lock.native.isChecked()
    one.click(one.panel.brush.lock)
    assert locked_labels(one.mask) == {2}
    one.wait(lambda: one.note() == "Label 2: locked (Shift-L unlocks it)")
    before = one.mask.data.copy()
    stroke(one, (4, 30, 40), (4, 30, 30))
    assert np.array_equal(one.mask.data, before)
    assert one.note() == label_refusal(2)
    assert not one.mask._undo_history, "nothing to undo"
    one.mask.selected_label = 1
    one.wait(lambda: one.panel.brush.lock.native.isChecked() is False)
    one.panel.brush._shared.note._forget()
    assert one.note() == "Label 2: locked"
    one.brush.lock(True)
    assert one.note() == "Labels 1, 2: locked (Shift-L unlocks 1)"
    one.brush.lock(False)
    one.mask.brush_size = 30
    stroke(one, (4, 15, 20), (4, 18, 20))
    assert np.array_equal(one.mask.data == 2, before == 2)
    assert (one.mask.data == 1).sum() > 300
    painted = one.mask.data.copy()
    one.mask.mode = "erase"
    stroke(one, (4, 15, 20), (4, 28, 12))
    assert np.array_equal(one.mask.data == 2, before == 2)
    assert (one.mask.data == 1).sum() < (painted == 1).sum()
    one.mask.undo()
    assert np.array_equal(one.mask.data, painted)
    one.mask.mode = "fill"
    stroke(one, (4, 15, 15))
    assert np.array_equal(one.mask.data, painted), "filled over"
    one.mask.paint_polygon([(4, 5, 5), (4, 5, 35), (4, 35, 35), (4, 35, 5)], 4)
    assert np.array_equal(one.mask.data == 2, before == 2)
    assert (one.mask.data == 4).sum() > 400
    one.mask.undo()
    one.mask.undo()
    assert np.array_equal(one.mask.data, before), "every step undone"
    one.mask.selected_label = 2
    qtbot.keyClick(canvas_of(one.widget.native), Qt.Key.Key_L, Qt.KeyboardModifier.ShiftModifier)
    assert locked_labels(one.mask) == set()
    one.mask.mode = "paint"
    stroke(one, (4, 30, 40))
    assert (one.mask.data == 2).sum() > (before == 2).sum()


def test_encircling_with_the_right_button_is_limited_and_one_step(opened):
    one = begin(opened, lesion()[0])
    go(one, 4)
    one.brush.kind, one.mask.brush_size = BrushKind.RANGE, 3
    one.brush.width = 5
    one.mask.selected_label = 2
    one.brush.lock(True)
    stroke(one, (4, 14, 24), button=RIGHT)
    for at in ((4, 20, 34), (4, 30, 24), (4, 20, 14), (4, 14, 24)):
        one.mouse.tell("mouse_move", shown(one, at), 0)
    assert not one.mask.data.any(), "the label is locked"
    one.brush.lock(False)
    stroke(one, (4, 14, 24), button=RIGHT)
    for at in ((4, 20, 34), (4, 30, 24), (4, 20, 14), (4, 14, 24)):
        one.mouse.tell("mouse_move", shown(one, at), 0)
    assert one.mask.data[4, 20, 24] == 2
    one.mask.undo()
    assert not one.mask.data.any()


def test_reviewed_slices_are_locked_and_it_is_said(opened, qtbot):
    image, _ = lesion((8, 64, 64))
    one = begin(opened, image, widget="Correct and fine-tune")
    one.wait(lambda: one.widget.session is not None)
    go(one, 4)
    stroke(one, (4, 20, 24))
    before = one.mask.data.copy()
    assert before.any()
    one.click(one.panel.tick)
    one.wait(lambda: one.note() == "Reviewed slice: locked (R unlocks it)")
    assert "locked" in one.panel.place.value
    assert "locked" in one.panel.strip.summary(4)
    stroke(one, (4, 40, 24), (4, 45, 30))
    assert np.array_equal(one.mask.data, before)
    assert one.status == one.note() == REVIEWED_REFUSAL
    one.mask.mode = "fill"
    stroke(one, (4, 60, 60))
    one.mask.mode = "polygon"
    one.mask._overlays["polygon"].points = [(4, 5, 5), (4, 5, 35), (4, 35, 35)]
    qtbot.keyClick(canvas_of(one.widget.native), Qt.Key.Key_Return)
    assert not one.mask._overlays["polygon"].points, "napari has closed it"
    one.click(one.panel.tools["smooth"])
    assert one.status == REVIEWED_REFUSAL
    assert np.array_equal(one.mask.data, before)
    one.mask.mode = "paint"
    one.viewer.dims.order = (1, 0, 2)
    one.viewer.dims.set_point(1, 20)
    stroke(one, (4, 20, 24))
    assert np.array_equal(one.mask.data[4], before[4]), "seen along another axis, too"
    assert one.mask.data[[3, 5]].any()
    one.mask.undo()
    one.viewer.dims.order = (0, 1, 2)
    go(one, 5)
    assert one.note() == ""
    go(one, 4)
    one.click(one.panel.tick)
    assert one.note() == ""
    stroke(one, (4, 40, 24))
    assert one.mask.data.sum() > before.sum()
    one.widget._desk.watch.flush()
    assert one.widget.session.is_edited(4), "journalled as a person's"
    one.brush.lock(True)
    locked = one.mask.data.copy()
    one.click(one.panel.segment)
    one.wait(lambda: not one.widget.running)
    one.click(one.panel.tools["smooth"])
    assert np.array_equal(one.mask.data == 1, locked == 1), "neither tools nor the network"
    one.brush.lock(False)
    one.click(one.panel.tools["smooth"])
    assert not np.array_equal(one.mask.data, locked)


def test_both_panels_show_one_brush_and_leave_the_layer_as_it_was(opened, qtbot):
    one = begin(opened, lesion()[0])
    canvas = canvas_of(one.widget.native)
    _, other = one.viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Correct and fine-tune")
    qtbot.keyClick(canvas, Qt.Key.Key_B, Qt.KeyboardModifier.ShiftModifier)
    assert one.panel.brush.kind.value == other._panel.brush.kind.value == "Range"
    assert not one.panel.brush.width.native.isHidden()
    other._panel.brush.kind.value = "Up to edges"
    assert one.brush.kind is BrushKind.EDGES
    assert one.panel.brush.kind.value == "Up to edges"
    assert one.panel.brush.width.native.isHidden()
    one.brush.lock(True)
    one.close()
    assert "paint" in vars(one.mask)
    other._panel.brush.kind.value = "All pixels"
    one.viewer.window.remove_dock_widget(other.native)
    assert not {"paint", "_apply_mask_to_data", "data_setitem"} & vars(one.mask).keys()
    assert locked_labels(one.mask) == {1}, "remembered while the layer is open"
    one.mask.paint((4, 20, 24), 1)
    assert one.mask.data.any()


def test_a_drag_on_the_real_canvas(opened, qtbot):
    one = begin(opened, lesion()[0])
    one.viewer.show()
    canvas = canvas_of(one.widget.native)
    go(one, 4)
    one.viewer.scene.camera.center, one.viewer.scene.camera.zoom = (0, 20, 24), 6
    one.brush.kind, one.mask.brush_size = BrushKind.EDGES, 9
    middle = canvas.rect().center()
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=middle)
    for step in range(1, 6):
        qtbot.mouseMove(canvas, pos=middle + QPoint(6 * step, 0))
        qtbot.wait(20)
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=middle + QPoint(30, 0))
    assert one.mask.data[4, 20, 24:30].all()
    assert len(one.mask._undo_history) == 1
