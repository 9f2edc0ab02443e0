"""The Lesion report widget, used as a person uses it."""

import json

import numpy as np
import pydicom
import pytest
from napari.layers import Labels, Shapes
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_unet_tumour import scans
from napari_unet_tumour.widgets.measure import layers
from napari_unet_tumour.widgets.measure.layers import DIAMETERS

TILT = np.array([[1, 0, 0, 5], [0, 0.8, -0.6, -20], [0, 0.6, 0.8, 7], [0, 0, 0, 1.0]])


def place(ndim=3):
    return {"scale": (5.0, 1.0, 0.5)[-ndim:], "affine": TILT[3 - ndim :, 3 - ndim :], "units": ["mm"] * ndim}


def volume():
    mask = np.zeros((8, 40, 60), np.uint8)
    mask[2:5, 10:30, 20:30] = 1
    mask[6, 30:34, 40:50] = 1
    return mask


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer()
    fill(viewer)
    return viewer


def fill(viewer):
    """Show the scan and its mask alone; return both layers."""
    viewer.layers.clear()
    mask = volume()
    image = viewer.add_image(mask * 10.0 + 100, name="head", **place())
    features = {"index": [0, 1], "label": ["background", "tumour"]}
    return viewer.add_labels(mask, name="head mask", features=features, **place()), image


@pytest.fixture
def widget(viewer):
    return viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Lesion report")[1]


@pytest.fixture
def press(qtbot, widget):
    """Press Measure and wait for the end."""

    def press():
        qtbot.mouseClick(widget._panel.run.native, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: not widget.running, timeout=20_000)

    return press


def cells(widget, head):
    heads = widget.table.heads()
    column = next(i for i, text in enumerate(heads) if text.strip().startswith(head))
    return [widget.table.item(row, column).text() for row in range(widget.table.rowCount())]


def click(qtbot, widget, row):
    table = widget.table
    middle = table.visualItemRect(table.item(row, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=middle)


def drawn(viewer):
    (layer,) = [one for one in viewer.layers if isinstance(one, Shapes)]
    return layer


def test_measures_the_mask_with_its_image_and_units(widget, press):
    assert (widget._panel.mask.value.name, widget._panel.scan.value.name) == ("head mask", "head")
    press()
    assert cells(widget, "Volume") == ["1.5", "0.1"]
    assert "Volume ml" in widget.table.heads()
    assert cells(widget, "Mean") == ["110", "110"]
    assert cells(widget, "Measurable") == ["yes", "no"]
    assert "2 lesions" in widget._panel.status.value
    assert "tumour: 2 lesions, 1.6 ml" in widget._panel.totals.native.toPlainText()


def test_a_click_jumps_to_the_lesion_and_draws_its_diameters(viewer, widget, press, qtbot):
    press()
    active = viewer.layers.selection.active
    for row, slice_number in ((1, 6), (0, 2)):
        click(qtbot, widget, row)
        layer, mask = drawn(viewer), viewer.layers["head mask"]
        lesion = widget.found.report.lesions[row]
        assert layer.name == DIAMETERS
        assert viewer.dims.current_step[0] == slice_number == lesion.diameter_slice
        for line, expected in zip(layer.data, (lesion.longest_line, lesion.perpendicular_line), strict=True):
            for end, wanted in zip(line, expected, strict=True):
                assert layer.data_to_world(end) == pytest.approx(mask.data_to_world(wanted))
        ends = [np.array(layer.data_to_world(end)) for end in layer.data[0]]
        assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(lesion.longest)
        middle = mask.data_to_world(np.mean(lesion.longest_line, axis=0))
        assert getattr(viewer, "scene", viewer).camera.center[1:] == pytest.approx(middle[1:])
        assert layer.units == mask.units
    assert viewer.layers.selection.active is active


def test_the_drawing_is_renewed_and_another_layer_of_that_name_is_left(viewer, widget, press, qtbot):
    own = viewer.add_shapes(np.zeros((1, 2, 3)), shape_type="line", name=DIAMETERS)
    press()
    click(qtbot, widget, 0)
    click(qtbot, widget, 1)
    shapes = [one for one in viewer.layers if isinstance(one, Shapes)]
    assert len(shapes) == 2
    assert len(own.data) == 1
    viewer.layers.remove(shapes[1])
    click(qtbot, widget, 0)
    assert len([one for one in viewer.layers if isinstance(one, Shapes)]) == 2


def test_columns_sort_by_their_figures(widget, press, qtbot):
    press()
    widget.table.sortByColumn(widget.table.heads().index("Volume ml"), Qt.SortOrder.AscendingOrder)
    assert cells(widget, "Volume") == ["0.1", "1.5"]
    click(qtbot, widget, 0)
    assert widget._viewer.dims.current_step[0] == 6


def test_slices_across_another_axis_turn_the_view(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    viewer.add_labels(volume(), scale=(5, 1, 0.5), units=["mm"] * 3)
    widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Lesion report")[1]
    widget._panel.axis.value = 2
    widget.measure()
    qtbot.waitUntil(lambda: not widget.running, timeout=20_000)
    assert widget.found.report.slice_axis == "x"
    click(qtbot, widget, 0)
    assert viewer.dims.order[0] == 2
    assert viewer.dims.current_step[2] == widget.found.report.lesions[0].diameter_slice


@pytest.mark.parametrize("units", [None, ["mm", "pixel", "pixel"]])
def test_without_units_of_length_sizes_count_pixels(make_napari_viewer, qtbot, units):
    viewer = make_napari_viewer()
    viewer.add_labels(volume(), scale=(5, 1, 1), units=units)
    widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Lesion report")[1]
    widget.measure()
    qtbot.waitUntil(lambda: not widget.running, timeout=20_000)
    assert cells(widget, "Volume") == ["600", "40"]
    assert "Longest px" in widget.table.heads()
    assert not any("mm" in head or "Mean" in head for head in widget.table.heads())


def test_micrometres_become_millimetres_and_pixels_can_be_forced(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    viewer.add_labels(volume(), scale=(5000, 1000, 500), units=["um"] * 3)
    widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Lesion report")[1]
    for sizes, shown in (("auto", ["1.5", "0.1"]), ("pixel", ["600", "40"])):
        widget._panel.sizes.value = sizes
        widget.measure()
        qtbot.waitUntil(lambda: not widget.running, timeout=20_000)
        assert cells(widget, "Volume") == shown


def test_compares_with_an_earlier_mask(viewer, widget, press):
    earlier = volume()
    earlier[2:5, 5:38, 10:50] = 1
    viewer.add_labels(earlier, name="spring", **place())
    widget._panel.mask.value = viewer.layers["head mask"]
    widget._panel.earlier.value = viewer.layers["spring"]
    press()
    text = widget._panel.totals.native.toPlainText()
    assert "since spring: volume -" in text
    assert "partial response" in text
    viewer.layers.selection.active = viewer.layers["spring"]
    widget.show_lesion(widget.found.report.lesions[0])
    assert widget._panel.mask.value == viewer.layers["head mask"]
    assert "not a medical device" in text


def test_two_dimensions_and_time(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    film = np.zeros((3, 8, 40, 60), np.uint8)
    film[2] = volume()
    viewer.add_labels(film, name="film", axis_labels=("t", "z", "y", "x"))
    flat = viewer.add_labels(volume()[3], name="flat")
    widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Lesion report")[1]
    for name, place_of in (("film", (2, 2)), ("flat", ())):
        widget._panel.mask.value = viewer.layers[name]
        widget.measure()
        qtbot.waitUntil(lambda: not widget.running, timeout=20_000)
        click(qtbot, widget, 0)
        assert viewer.dims.current_step[: len(place_of)] == place_of
        assert drawn(viewer).ndim == viewer.layers[name].ndim
    assert widget.found.report.lesions[0].voxels == (flat.data > 0).sum()


def test_saves_and_copies(widget, press, tmp_path, viewer):
    viewer.layers["head mask"].metadata = {"napari-unet-tumour": {"model": "t1ce-small", "hash": "abc123"}}
    press()
    for name in ("a.csv", "a.json"):
        widget.save(str(tmp_path / name))
        assert widget._panel.status.value == f"Saved {name}."
    assert "t1ce-small" in (tmp_path / "a.csv").read_text()
    assert json.loads((tmp_path / "a.json").read_text())["model"] == {"name": "t1ce-small", "hash": "abc123"}
    widget._panel.copy.native.click()
    lines = QApplication.clipboard().text().split("\n")
    assert len(lines) == 3
    assert lines[1].split("\t")[1] == "1.5"


def test_what_is_wrong_is_said_in_one_line(make_napari_viewer, tmp_path, qtbot):
    viewer = make_napari_viewer()
    widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Lesion report")[1]
    status = widget._panel.status

    def said(words):
        assert words in status.value
        assert "\n" not in status.value

    widget.measure()
    said("There is no mask")
    widget.copy_table()
    said("no report yet")
    viewer.add_image(np.zeros((8, 40, 61)), name="other")
    mask = viewer.add_labels(volume(), name="mask")
    widget._panel.scan.value = viewer.layers["other"]
    widget.measure()
    said("layer 'other' has other pixels than 'mask'")
    widget._panel.scan.value = None
    widget.measure()
    qtbot.waitUntil(lambda: not widget.running, timeout=20_000)
    (tmp_path / "file").write_text("")
    widget.save(str(tmp_path / "file/a.csv"))
    said("cannot be written")
    viewer.layers.remove(mask)
    click(qtbot, widget, 0)
    said("no longer open")


def test_painting_after_the_report_is_noticed(viewer, widget, press):
    press()
    viewer.layers["head mask"].paint((2, 5, 5), 1)
    assert "has changed" in widget._panel.status.value


CHANGES = {
    "other pixels of the mask": lambda mask, image: setattr(mask, "data", 1 - mask.data),
    "another shape of the mask": lambda mask, image: setattr(mask, "data", mask.data[0]),
    "a stroke": lambda mask, image: mask.data_setitem((np.array([2]), np.array([5]), np.array([5])), 1),
    "other pixels of the image": lambda mask, image: setattr(image, "data", image.data + 1),
    "another spacing": lambda mask, image: setattr(image, "scale", (1.0, 1.0, 1.0)),
    "another place": lambda mask, image: setattr(mask, "translate", (1.0, 0.0, 0.0)),
}


def test_what_changes_under_a_running_report_stops_it(viewer, widget, qtbot):
    for name, change in CHANGES.items():
        mask, image = fill(viewer)
        assert widget._panel.mask.value is mask
        widget.measure()
        task = widget._background.task
        change(mask, image)
        assert not widget.running, name
        assert "Stopped, since layer 'head" in widget._panel.status.value, name
        qtbot.waitUntil(lambda task=task: not task.thread.is_alive(), timeout=5000)
        assert widget.found is None
        assert widget.table.rowCount() == 0


def test_what_changes_after_a_report_is_said(viewer, widget, press):
    for name, change in CHANGES.items():
        mask, image = fill(viewer)
        press()
        assert widget.table.rowCount() > 0
        change(mask, image)
        assert "has changed since: measure again" in widget._panel.status.value, name


def test_an_empty_mask(viewer, widget, press):
    viewer.layers["head mask"].data = np.zeros_like(volume())
    press()
    assert widget.table.rowCount() == 0
    assert "No lesion" in widget._panel.status.value


def test_cancel_and_closing_while_it_measures(viewer, widget, qtbot):
    layer = Labels(np.random.default_rng(0).integers(0, 2, (60, 200, 200), np.uint8), name="noise")
    layer.data[::2] = 0
    layer.data[:, ::2] = 0
    layer.data[..., ::2] = 0
    layer.data[:, 40:] = 0
    viewer.add_layer(layer)
    widget._panel.mask.value = layer
    widget.measure()
    task = widget._background.task
    qtbot.mouseClick(widget._panel.run.native, Qt.MouseButton.LeftButton)
    assert not widget.running
    assert widget._panel.status.value == "Cancelled."
    qtbot.waitUntil(lambda: not task.thread.is_alive(), timeout=5000)
    widget.measure()
    task = widget._background.task
    viewer.window.remove_dock_widget(widget.native)
    qtbot.waitUntil(lambda: not task.thread.is_alive(), timeout=5000)
    viewer.layers.remove(layer)


def test_a_page_and_a_pdf_with_the_pictures(viewer, widget, press, tmp_path):
    press()
    widget.save(str(tmp_path / "r.html"))
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert text.count("<img ") == 2
    assert "not a medical device" in text
    widget.save(str(tmp_path / "r.pdf"))
    data = (tmp_path / "r.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    assert data.count(b"/Image") >= 2
    widget.save(str(tmp_path / "r.pdf" / "no.pdf"))
    assert "cannot be written" in widget._panel.status.value
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["r.html", "r.pdf"]


def test_a_dicom_report_of_a_series_and_one_line_for_other_scans(
    qtbot, tmp_path, dicom_series, affine_of, monkeypatch, widget, press
):
    press()
    widget.save(str(tmp_path / "r.dcm"))
    assert "'head mask' was not read from DICOM" in widget._panel.status.value
    assert list(tmp_path.glob("*.dcm")) == []
    viewer = widget._viewer
    viewer.layers.clear()
    dicom_series(tmp_path / "s", (volume() * 100).astype(np.int16), affine_of((0, 2, 1), (1.0, -1.0, 1.0), 0.0))
    (image,) = viewer.open(tmp_path / "s", plugin="napari-unet-tumour")
    drawn = np.asarray(image.data > 0, np.uint8)
    viewer.add_labels(drawn, name="drawn", **layers.geometry_of(image))
    press()
    kinds = "DICOM structured report (*.dcm)"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *given: (str(tmp_path / "r"), kinds))
    widget._panel.page.native.click()
    qtbot.waitUntil(lambda: "Saved" in widget._panel.status.value, timeout=60_000)
    assert widget._panel.status.value == "Saved r.dcm and r_seg.dcm."
    groups = [one for one in pydicom.dcmread(tmp_path / "r.dcm").ContentSequence if one.ValueType == "CONTAINER"]
    numbers = [one for group in groups[0].ContentSequence for one in group.ContentSequence if one.ValueType == "NUM"]
    values = [
        float(one.MeasuredValueSequence[0].NumericValue)
        for one in numbers
        if one.ConceptNameCodeSequence[0].CodeMeaning == "Volume"
    ]
    assert values[:2] == pytest.approx([one.volume for one in widget.found.report.lesions])
    back = scans.read_mask(tmp_path / "r_seg.dcm", onto=scans.read(tmp_path / "s"))
    np.testing.assert_array_equal(back.array > 0, drawn > 0)
