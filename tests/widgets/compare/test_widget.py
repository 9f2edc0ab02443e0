"""The Compare masks panel, used as a person uses it."""

import json

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt

from napari_unet_tumour.measure import MaskComparison
from napari_unet_tumour.widgets.compare.layers import shown_difference

TILT = np.array([[1, 0, 0, 5], [0, 0.8, -0.6, -20], [0, 0.6, 0.8, 7], [0, 0, 0, 1.0]])
PLACE = {"scale": (5.0, 1.0, 0.5), "affine": TILT, "units": ["mm"] * 3}


def boxes():
    first, second = np.zeros((2, 8, 40, 60), np.uint8)
    first[2:5, 10:30, 20:30] = 1
    second[2:6, 12:32, 20:30] = 1
    return first, second


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer()
    first, second = boxes()
    viewer.add_labels(first, name="first reader", **PLACE)
    viewer.add_labels(second, name="second reader", **PLACE)
    return viewer


@pytest.fixture
def widget(viewer):
    return viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Compare masks")[1]


@pytest.fixture
def press(qtbot, widget):
    """Press Compare and wait for the end."""

    def press() -> MaskComparison:
        qtbot.mouseClick(widget._panel.run.native, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: not widget.running, timeout=20_000)
        return widget.found

    return press


def test_two_masks_are_compared_and_the_difference_is_shown(viewer, widget, press, tmp_path):
    panel = widget._panel
    assert (panel.first.value.name, panel.second.value.name) == ("first reader", "second reader")
    active = viewer.layers.selection.active
    found = press()
    first, second = boxes()
    assert found.rows[0].dice == pytest.approx(2 * np.count_nonzero(first & second) / (first.sum() + second.sum()))
    assert widget.table.rowCount() == 1
    assert (found.units, found.rows[0].volume_first) == ("mm", pytest.approx(1.5))
    assert "Dice" in panel.status.value
    layer = shown_difference(viewer)
    np.testing.assert_array_equal(layer.data, np.where(first & second, 1, np.where(first, 2, np.where(second, 3, 0))))
    for corner in ((0, 0, 0), (7, 39, 59)):
        assert layer.data_to_world(corner) == pytest.approx(viewer.layers["first reader"].data_to_world(corner))
    assert viewer.layers.selection.active is active
    # Slice 5 is only in the second mask: most voxels differ there.
    viewer.dims.set_current_step(0, 0)
    panel.largest.native.click()
    assert viewer.dims.current_step[0] == 5
    panel.difference.value = False
    assert shown_difference(viewer) is None
    widget.save(str(tmp_path / "o.json"), ".json")
    assert json.loads((tmp_path / "o.json").read_text())["first"] == "first reader"
    widget.save(str(tmp_path / "o.json" / "no"), ".csv")
    assert "cannot be written" in panel.status.value
    # A press after painting renews everything, and the masks are never touched.
    viewer.layers["second reader"].data_setitem((np.array([6]), np.array([0]), np.array([0])), [1])
    assert "compare again" in panel.status.value
    assert press().rows[0].volume_second > found.rows[0].volume_second
    np.testing.assert_array_equal(viewer.layers["first reader"].data, first)
    widget.native.parent().close()


def test_a_mask_that_changes_while_it_is_compared_stops_the_comparison(viewer, widget, qtbot):
    widget.compare()
    thread = widget._background.task.thread
    viewer.layers["second reader"].data_setitem((np.array([6]), np.array([0]), np.array([0])), [1])
    assert not widget.running
    qtbot.waitUntil(lambda: not thread.is_alive(), timeout=10_000)
    qtbot.wait(50)
    assert "has changed since" in widget._panel.status.value
    assert widget.found is None


def test_a_mask_cut_to_its_extent_lies_where_the_patient_lies(viewer, widget, press):
    viewer.layers.remove("first reader")
    first, second = boxes()
    cut = viewer.add_labels(first[2:5, 10:30, 20:30], name="cut", **PLACE, translate=(10, 10, 10))
    widget._panel.first.value = cut
    widget._panel.second.value = viewer.layers["second reader"]
    found = press()
    assert found.rows[0].dice == pytest.approx(2 * np.count_nonzero(first & second) / (first.sum() + second.sum()))
    layer = shown_difference(viewer)
    only_second = np.argwhere(layer.data == 3)[-1]
    index = viewer.layers["second reader"].world_to_data(layer.data_to_world(only_second))
    assert index == pytest.approx(np.argwhere(second & (1 - first))[-1])


def test_what_is_in_the_way_is_said(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Compare masks")[1]
    assert widget._panel.start_view.text.native.isVisibleTo(widget.native)
    widget._panel.dates.native.click()
    assert any("Two dates" in name for name in viewer.window.dock_widgets)
    mask = viewer.add_labels(boxes()[0], name="a")
    widget.compare()
    assert "Choose two masks" in widget._panel.status.value
    viewer.add_labels(boxes()[1][:4], name="b")
    widget._panel.first.value, widget._panel.second.value = mask, viewer.layers["b"]
    widget.compare()
    qtbot.waitUntil(lambda: not widget.running, timeout=20_000)
    assert "choose two masks of one scan" in widget._panel.status.value
    assert [layer.name for layer in viewer.layers] == ["a", "b"]
    assert all(isinstance(layer, Labels) for layer in viewer.layers)
    assert not widget._panel.csv.enabled
