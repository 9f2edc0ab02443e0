"""Several layers as the channels of one model, mapped in the Segment widget as a person would."""

import json
import shutil

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication, QComboBox

from napari_unet_tumour.widgets.layers.image_source import KEY

MM = {"units": ("mm", "mm", "mm"), "axis_labels": ("z", "y", "x")}


@pytest.fixture
def two(home, tmp_path, save_known):
    """A model installed that looks at FLAIR, and asks for T1 too."""
    return save_known(home / "models" / "two.safetensors", ("FLAIR", "T1"))


def choose(one, name):
    one.panel.model.value = next(entry for entry in one.panel.model.choices if entry.name == name)


def pickers(one):
    return one.widget._choice.channels._pickers


def named(one):
    return {name: box.value and box.value.name for name, box in pickers(one).items()}


def test_rows_show_only_where_one_layer_does_not_do(opened, scan, two):
    def add(viewer):
        viewer.add_image(scan(5, 64, 64), name="grey", **MM)
        viewer.add_image(np.stack([scan(5, 64, 64)] * 2), name="stacked")

    one = opened(add)
    box = one.panel.channels.native
    one.viewer.layers.selection.active = one.viewer.layers["grey"]
    assert box.isHidden()
    choose(one, "two")
    assert not box.isHidden()
    assert list(pickers(one)) == ["FLAIR", "T1"]
    one.viewer.layers.selection.active = one.viewer.layers["stacked"]
    assert box.isHidden()
    one.viewer.layers.selection.active = one.viewer.layers["grey"]
    choose(one, "known")
    assert box.isHidden()


def test_layers_are_found_by_name_and_make_one_input(opened, scan, two):
    flair, t1 = scan(5, 64, 64), np.zeros((5, 64, 64), np.int16)

    def add(viewer):
        viewer.add_image(t1, name="p07 T1 axial", scale=(5, 1, 1), translate=(3, 4, 5), **MM)
        viewer.add_image(flair, name="p07 T2 FLAIR", scale=(5, 1, 1), translate=(3, 4, 5), **MM)

    one = opened(add)
    choose(one, "two")
    one.viewer.layers.selection.active = one.viewer.layers["p07 T1 axial"]
    assert named(one) == {"FLAIR": "p07 T2 FLAIR", "T1": "p07 T1 axial"}
    mask = one.run()
    np.testing.assert_array_equal(mask.data, flair > 127)
    assert mask.name == "p07 T1 axial mask"
    assert (mask.scale.tolist(), mask.translate.tolist()) == ([5, 1, 1], [3, 4, 5])
    assert mask.metadata[KEY]["channels"] == {"FLAIR": "p07 T2 FLAIR", "T1": "p07 T1 axial"}


@pytest.mark.parametrize("scope", ["all", "this"])
def test_a_layer_on_another_grid_is_brought_to_the_images(opened, scan, two, scope):
    flair = scan(9, 64, 64)

    def add(viewer):
        viewer.add_image(flair, name="flair", scale=(2, 1, 1), translate=(0, 0, 0), **MM)
        # Every other slice of it, half as wide, from the tenth row on.
        viewer.add_image(np.zeros((4, 54, 32)), name="t1", scale=(4, 1, 2), translate=(2, 10, 0), **MM)
        viewer.dims.set_point(0, 6)

    one = opened(add)
    choose(one, "two")
    one.viewer.layers.selection.active = one.viewer.layers["t1"]
    one.panel.scope.value = scope
    mask = one.run().data
    expected = flair[1:9:2, 10:, ::2] > 127
    if scope == "this":
        expected[[0, 2, 3]] = False
    assert mask.shape == (4, 54, 32)
    # The network works on 64 pixels, so an edge may fall on the other side of a pixel.
    assert (mask > 0)[expected].mean() > 0.97
    assert (mask > 0)[~expected].mean() < 0.01


def test_a_missing_channel_is_filled_as_the_model_says_or_named(opened, scan, home, save_known):
    save_known(home / "models" / "strict.safetensors", ("FLAIR", "T1"))
    save_known(home / "models" / "zeros.safetensors", ("FLAIR", "T1"), fill={"T1": "zeros"})
    save_known(home / "models" / "other.safetensors", ("FLAIR", "T1"), fill={"FLAIR": "T1"})
    data = scan(3, 64, 64)
    one = opened(lambda viewer: viewer.add_image(data, name="head flair", **MM))
    choose(one, "strict")
    one.click(one.panel.run)
    assert one.status.startswith("model 'strict' needs 2 channels (FLAIR, T1), nothing is given for T1:")
    assert pickers(one)["T1"].native.currentText() == "choose a layer"
    choose(one, "zeros")
    assert pickers(one)["T1"].native.currentText() == "none: zeros"
    np.testing.assert_array_equal(one.run().data, data > 127)
    choose(one, "other")
    pickers(one)["FLAIR"].value, pickers(one)["T1"].value = None, one.viewer.layers["head flair"]
    assert pickers(one)["FLAIR"].native.currentText() == "none: T1 stands in"
    one.viewer.layers["head flair mask"].data[:] = 0
    np.testing.assert_array_equal(one.run().data, data > 127)


def test_a_mapping_is_remembered_and_a_choice_is_left_alone(opened, scan, two, home):
    def add(viewer):
        for name in ("one", "other"):
            viewer.add_image(scan(3, 64, 64), name=name, **MM)

    one = opened(add)
    choose(one, "two")
    assert named(one) == {"FLAIR": None, "T1": None}
    pickers(one)["FLAIR"].value = one.viewer.layers["other"]
    pickers(one)["T1"].value = one.viewer.layers["one"]
    one.viewer.add_image(scan(3, 64, 64), name="my flair", **MM)
    assert named(one) == {"FLAIR": "other", "T1": "one"}
    one.close()
    kept = json.loads((home / "settings.json").read_text())["channels"]
    assert kept == {"two: FLAIR, T1": {"FLAIR": "other", "T1": "one"}}
    _, again = one.viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Segment")
    one.widget, one.panel = again, again._panel
    assert named(one) == {"FLAIR": "other", "T1": "one"}
    one.viewer.layers.remove("other")
    assert named(one)["FLAIR"] == "my flair"
    one.viewer.layers.clear()
    assert json.loads((home / "settings.json").read_text())["channels"] == kept


def test_layers_without_a_common_place_get_one_line(opened, scan, two):
    def add(viewer):
        viewer.add_image(scan(3, 64, 64), name="t1", **MM)
        viewer.add_image(scan(3, 64, 64), name="flair")
        viewer.add_image(scan(3, 64, 64), name="far", translate=(0, 999, 0), **MM)
        viewer.add_image(scan(64, 64), name="flat")

    one = opened(add)
    choose(one, "two")
    one.viewer.layers.selection.active = one.viewer.layers["t1"]
    for name, words in (("flair", "'flair' is in pixel and 't1' in mm"), ("far", "'far' lies elsewhere than 't1'"),
                        ("flat", "'flat' has 64 x 64 pixels (yx) and 't1' 3 x 64 x 64 (zyx)")):  # fmt: skip
        pickers(one)["FLAIR"].value = one.viewer.layers[name]
        one.click(one.panel.run)
        assert words in one.status
        assert "\n" not in one.status
    assert len(one.viewer.layers) == 4


@pytest.mark.parametrize("colours", [3, 4])
def test_colours_work_as_three_channels(opened, scan, home, colours, save_known):
    save_known(home / "models" / "three.safetensors", ("T1", "T2", "FLAIR"))
    grey = scan(4, 64, 64)
    colours = np.stack([grey, grey // 2, grey // 3, np.full_like(grey, 255)][:colours], -1)
    one = opened(lambda viewer: viewer.add_image(colours, rgb=True))
    choose(one, "three")
    assert one.panel.channels.native.isHidden()
    np.testing.assert_array_equal(one.run().data, grey > 127)


def test_the_command_names_a_file_for_each_channel(opened, scan, two, tmp_path):
    from skimage.io import imsave

    for name in ("t1", "flair"):
        imsave(tmp_path / f"{name}.png", scan(64, 64))
    one = opened(lambda viewer: viewer.open([str(tmp_path / "t1.png"), str(tmp_path / "flair.png")], plugin="napari"))
    choose(one, "two")
    files = {name: f"{name}={tmp_path / name.lower()}.png" for name in ("T1", "FLAIR")}
    for first, second in (("FLAIR", "T1"), ("T1", "FLAIR")):
        one.viewer.layers.selection.active = one.viewer.layers[first.lower()]
        one.click(one.panel.copy)
        text = QApplication.clipboard().text()
        assert text == f"napari-unet-tumour segment --channels {files[first]} {files[second]} --model two"


def test_rows_survive_models_of_other_channels(opened, scan, two, models, home):
    shutil.copy(models / "four.safetensors", home / "models")
    one = opened(lambda viewer: viewer.add_image(scan(3, 64, 64), name="t1ce", **MM))
    for name, count in (("two", 2), ("four", 4), ("two", 2)):
        choose(one, name)
        assert len(pickers(one)) == len(one.panel.channels) == count
    choose(one, "four")
    assert named(one) == {"T1": None, "T1ce": "t1ce", "T2": None, "FLAIR": None}
    one.qtbot.wait(50)
    boxes = [box for box in QApplication.allWidgets() if isinstance(box, QComboBox) and box.window() is box.parent()]
    assert not boxes, "rows of earlier models stay as windows of their own"
