"""The View panel, used as a person uses it: with mouse and keys on the canvas."""

import itertools

import nibabel
import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.action_manager import action_manager
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication

from napari_unet_tumour.look.grey_window import automatic, sample
from napari_unet_tumour.widgets.common.canvas import canvas_of
from napari_unet_tumour.widgets.common.keys import ALL_KEYS_KEY, KEYS, TAKEN_OVER
from napari_unet_tumour.widgets.common.settings_form import remembered
from napari_unet_tumour.widgets.look.letters import camera_of, letters_of
from napari_unet_tumour.widgets.readers_writers import read_layers

CODES = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
]  # fmt: skip


def save(path, codes="RAS", scale=1.0):
    """A scan whose values say where a voxel lies: bright towards the right, anterior and the head."""
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    ramp = np.add.outer(np.add.outer(np.arange(8) * 1.0, np.arange(9) * 10.0), np.arange(10) * 100.0) * scale
    image = nibabel.Nifti1Image(ramp, np.diag([1.0, 1, 2, 1]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image.as_reoriented(turn), path)
    return path


def add(path):
    def add_(viewer):
        for data, about, kind in read_layers(str(path)):
            getattr(viewer, f"add_{kind}")(data, **about)

    return add_


@pytest.fixture
def view(opened, tmp_path):
    one = opened(add(save(tmp_path / "a_t1ce.nii.gz")), "View", show=True)
    one.canvas = canvas_of(one.widget.native)
    one.image = one.widget._image
    return one


def wheel(one, delta, modifiers=Qt.KeyboardModifier.NoModifier):
    middle = QPointF(one.canvas.rect().center())
    event = QWheelEvent(
        middle, QPointF(one.canvas.mapToGlobal(middle.toPoint())), QPoint(), QPoint(0, delta),
        Qt.MouseButton.NoButton, modifiers, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(one.canvas, event)


def drag(one, right, down, button=Qt.MouseButton.RightButton):
    start = one.canvas.rect().center()
    one.qtbot.mousePress(one.canvas, button, pos=start)
    for part in (0.5, 1):
        one.qtbot.mouseMove(one.canvas, pos=start + QPoint(int(right * part), int(down * part)))
        one.qtbot.wait(50)  # the window system reports moves when it has time
    one.qtbot.mouseRelease(one.canvas, button, pos=start + QPoint(right, down))


@pytest.mark.parametrize("codes", CODES)
def test_letters_are_right_for_every_orientation_rolled_and_flipped(make_napari_viewer_proxy_free, tmp_path, codes):
    """The values say where the patient's right, front and head are: the letters agree with what is on screen."""
    viewer = make_napari_viewer_proxy_free
    viewer.layers.clear()
    add(save(tmp_path / "a.nii.gz", codes))(viewer)
    layer = viewer.layers[0]
    brighter = {"R": 1.0, "A": 10.0, "H": 100.0}
    for order in itertools.permutations(range(3)):
        viewer.dims.order = order
        rows, columns = order[-2:]
        top, bottom, left, right = letters_of(viewer, layer)
        for axis, towards, away in ((rows, bottom, top), (columns, right, left)):
            step = np.zeros(3)
            step[axis] = abs(layer.scale[axis])
            start = np.array(layer.data_to_world((4, 4, 4)))
            one, other = (np.round(layer.world_to_data(at)).astype(int) for at in (start, start + step))
            change = float(layer.data[tuple(other)]) - float(layer.data[tuple(one)])
            expected = towards if towards in brighter else away
            assert abs(change) == brighter[expected]
            assert (change > 0) == (towards in brighter)
    viewer.dims.order = (0, 1, 2)
    before = letters_of(viewer, layer)
    camera_of(viewer).orientation2d = ("up", "left")
    assert letters_of(viewer, layer) == before[1] + before[0] + before[3] + before[2]
    camera_of(viewer).orientation2d = ("down", "right")


@pytest.fixture(scope="module")
def make_napari_viewer_proxy_free():
    return ViewerModel()


def test_letters_stand_at_the_edges_and_go_in_3d(view):
    view.wait(lambda: view.widget.letters == "APRL")
    top, bottom, left, right = view.widget._letters.labels
    assert top.y() < bottom.y()
    assert left.x() < right.x() <= view.canvas.width()
    view.viewer.dims.order = (1, 0, 2)
    assert view.widget.letters == "FHRL"
    view.image.scale = view.image.scale * [1, 1, -1]
    assert view.widget.letters == "FHLR"
    view.viewer.dims.ndisplay = 3
    assert view.widget.letters == ""
    view.viewer.dims.ndisplay = 2
    view.panel.letters.value = False
    assert view.widget.letters == ""
    view.panel.letters.value = True
    view.viewer.layers.clear()
    view.viewer.add_image(np.zeros((4, 5, 6)))
    assert view.widget.letters == "", "nobody knows how that patient lies"


def test_right_drag_changes_the_window_and_it_is_remembered(view, tmp_path):
    first = view.image.contrast_limits
    centre = list(camera_of(view.viewer).center)
    zoom = camera_of(view.viewer).zoom
    drag(view, 100, 0)
    low, high = view.image.contrast_limits
    assert high - low == pytest.approx((first[1] - first[0]) * 1.25, rel=0.02)
    drag(view, 0, 60)
    assert sum(view.image.contrast_limits) > low + high
    assert camera_of(view.viewer).zoom == zoom
    assert list(camera_of(view.viewer).center) == centre
    assert view.panel.preset.value == "Your own"
    # Another scan of the sequence, ten times as bright, opens with the same share of its grey values.
    chosen = np.array(view.image.contrast_limits)
    add(save(tmp_path / "b_t1ce.nii.gz", scale=10))(view.viewer)
    assert view.widget._image.name == "b_t1ce"
    assert view.widget._image.contrast_limits == pytest.approx(list(chosen * 10))
    add(save(tmp_path / "b_flair.nii.gz"))(view.viewer)
    assert view.widget._image.contrast_limits == pytest.approx(list(first)), "another sequence"
    view.viewer.layers.selection.active = view.viewer.layers["b_t1ce"]
    view.click(view.panel.reset)
    assert view.widget._image.contrast_limits == pytest.approx([10 * first[0], 10 * first[1]])
    assert remembered("look") == {}


def test_a_preset_is_chosen_by_name(view):
    view.panel.preset.value = "Whole range"
    values = sample(view.image.data)
    assert tuple(view.image.contrast_limits) == (values.min(), values.max())
    view.panel.preset.value = "Automatic"
    assert view.image.contrast_limits == pytest.approx([automatic(values).low, automatic(values).high])
    assert "Level" in view.panel.window.value


def test_outlines_by_key_and_the_size_of_what_is_painted(view):
    mask = view.viewer.add_labels(
        np.zeros(view.image.data.shape, np.uint8), scale=view.image.scale, translate=view.image.translate,
        units=view.image.units,
    )  # fmt: skip
    view.viewer.dims.set_current_step(0, 4)
    mask.data_setitem((np.array([4, 4, 5]), np.array([3, 4, 3]), np.array([2, 2, 2])), [1, 1, 1])
    view.wait(lambda: "2 mm²" in view.panel.size.value)
    assert view.panel.size.value == "Label 1: 0.006 ml, 2 mm² on this slice"
    view.viewer.dims.set_current_step(0, 5)
    view.wait(lambda: "1 mm²" in view.panel.size.value)
    view.qtbot.keyClick(view.canvas, Qt.Key.Key_O, Qt.KeyboardModifier.ShiftModifier)
    assert mask.contour == 2
    later = view.viewer.add_labels(np.zeros((4, 5, 6), np.uint8))
    assert later.contour == 2
    view.panel.outline.value = False
    assert (mask.contour, later.contour) == (0, 0)


def test_the_wheel_goes_through_slices_under_a_brush_and_zooms_else(view):
    camera = camera_of(view.viewer)
    mask = view.viewer.add_labels(np.zeros(view.image.data.shape, np.uint8), scale=view.image.scale)
    view.viewer.dims.set_current_step(0, 4)
    zoom = camera.zoom
    wheel(view, 120)
    view.wait(lambda: camera.zoom != zoom)
    mask.mode, zoom, size = "paint", camera.zoom, mask.brush_size
    wheel(view, 120)
    wheel(view, 120)
    assert view.viewer.dims.current_step[0] == 2
    wheel(view, -120)
    assert view.viewer.dims.current_step[0] == 3
    wheel(view, 120, Qt.KeyboardModifier.ControlModifier)
    assert mask.brush_size > size
    assert view.viewer.dims.current_step[0] == 3, "napari's own meaning of Ctrl and wheel waits"
    wheel(view, -120, Qt.KeyboardModifier.ControlModifier)
    assert mask.brush_size == size
    assert camera.zoom == zoom
    drag(view, 100, 0)
    mask.mode = "pan_zoom"
    wheel(view, 120, Qt.KeyboardModifier.ControlModifier)
    assert view.viewer.dims.current_step[0] != 3, "napari's own meaning is back"
    assert camera.mouse_zoom
    mask.mode = "paint"
    view.close()
    assert camera.mouse_zoom
    assert any(call.__name__ == "dims_scroll" for call in view.viewer.mouse_wheel_callbacks)


def test_the_keys_are_shown(view):
    view.qtbot.keyClick(view.canvas, Qt.Key.Key_H, Qt.KeyboardModifier.ShiftModifier)
    assert view.panel.help.value
    for key, _, what in KEYS:
        assert f"{key}: {what}" in view.panel.keys.value
    view.wait(lambda: view.panel.brush._shared.keys is not None)
    for widget in (view.canvas, view.viewer.window._qt_window):
        view.qtbot.keyClick(widget, "?", Qt.KeyboardModifier.ShiftModifier)
        assert view.panel.brush._shared.keys.text == view.panel.keys.value
        view.qtbot.keyClick(widget, "?", Qt.KeyboardModifier.ShiftModifier)
        assert view.panel.brush._shared.keys.text == ""


def test_no_key_is_naparis_but_those_that_are_listed(view):
    """Of the viewer, of masks and of images, as napari has registered them; and of its menus."""
    naparis = {key: owner.__name__ for owner in (ViewerModel, Labels, Image) for key in owner.class_keymap}
    for name, action in action_manager._actions.items():
        if action.keymapprovider in (ViewerModel, Labels, Image):
            naparis |= dict.fromkeys(action_manager._shortcuts[name], name)
    for rule in get_app_model().keybindings:
        naparis.setdefault(rule.keybinding, rule.command_id)
    naparis = {str(coerce_keybinding(key)): name for key, name in naparis.items()}
    assert {"P", "Shift+V", "Ctrl+Z", "Ctrl+O"} <= set(naparis), "these are napari's"
    ours = [key for key, _, _ in KEYS if key != ALL_KEYS_KEY]
    clashes = {(key, naparis[name]) for key in ours if (name := str(coerce_keybinding(key))) in naparis}
    assert clashes == {(key, action) for key, action, _ in TAKEN_OVER}
    assert len(set(ours)) == len(ours)
    assert not coerce_keybinding(ALL_KEYS_KEY).part0.key, "napari has learnt this key: bind it as the others"


def test_every_key_that_is_bound_is_in_the_list(view):
    for name in ("Segment", "Correct and fine-tune"):
        view.viewer.window.add_plugin_dock_widget("napari-unet-tumour", name)
    listed = {str(coerce_keybinding(key)) for key, _, _ in KEYS if key != ALL_KEYS_KEY}
    assert {str(key) for key in view.viewer.keymap} == listed
