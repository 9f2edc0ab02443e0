"""Pickers, settings and errors of the Segment widget: what a person sees before a run."""

import json
import subprocess
import sys

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QLabel

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.widgets.layers import image_source
from napari_unet_tumour.widgets.segment.view import THERE
from shared_window import make_napari_viewer, window_of_file  # noqa: F401 - these tests share a window


def test_the_picker_follows_the_selected_layer(opened, scan):
    def add(viewer):
        for name in ("first", "second"):
            viewer.add_image(scan(64, 64), name=name)
        viewer.add_points(np.zeros((1, 2)))

    one = opened(add)
    picker, layers = one.panel.image, one.viewer.layers
    for name in ("first", "second", "first"):
        layers.selection.active = layers[name]
        assert picker.value is layers[name]
    layers.selection.active = layers["Points"]
    assert picker.value is layers["first"]
    mask = one.run()
    layers.selection.active = layers["second"]
    layers.selection.active = mask
    assert picker.value is layers["first"]
    layers["first"].name = "renamed"
    assert {layer.name for layer in picker.choices} == {"renamed", "second"}
    assert picker.value.name == "renamed"
    layers.remove("renamed")
    assert picker.value is layers["second"]


def test_model_and_device_are_described(opened):
    one = opened()
    one.wait(lambda: "core" in str(one.panel.found.value))
    assert one.panel.about_model.value == "Bright is tumour.\nTrained on nothing\nScores: dice mean 0.90"
    assert [text for text in one.widget.native.findChildren(QLabel) if "not a medical device" in text.text()]


def test_the_key_runs_and_never_cancels(opened, scan):
    one = opened(lambda viewer: viewer.add_image(scan(64, 64)), show=True)
    canvas = one.viewer.window._qt_viewer
    assert "Shift-S" in one.panel.run.tooltip
    one.qtbot.keyClick(canvas, Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    assert one.widget.running
    one.qtbot.keyClick(canvas, Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    assert one.widget.running
    one.wait(lambda: not one.widget.running)
    assert len(one.viewer.layers) == 2


def test_a_key_of_the_persons_own_is_left_to_them(opened):
    pressed = []

    def add(viewer):
        viewer.bind_key("Shift-S", lambda viewer: pressed.append(viewer))

    one = opened(add)
    one.qtbot.keyClick(one.viewer.window._qt_viewer, Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    assert len(pressed) == 1
    assert not one.status
    one.close()
    assert len(one.viewer.keymap) == 1
    one.viewer.bind_key("Shift-S", None)


def test_the_command_goes_to_the_clipboard(opened, scan, tmp_path):
    from skimage.io import imsave

    imsave(tmp_path / "a.png", scan(64, 64))
    one = opened(lambda viewer: viewer.open(str(tmp_path / "a.png"), plugin="napari"))
    one.panel.form["flip_tta"].value = True
    one.click(one.panel.copy)
    text = QApplication.clipboard().text()
    assert text == f"napari-unet-tumour segment {tmp_path / 'a.png'} --model known --flip-tta"
    assert one.status == "Copied."


def test_choices_are_remembered_for_the_next_session(opened, scan, home, models):
    one = opened(lambda viewer: viewer.add_image(scan(64, 64)))
    one.panel.form["threshold"].value = 0.33
    one.panel.form["min_object_size"].value = 7
    one.panel.scope.value = "this"
    one.close()
    assert json.loads((home / "settings.json").read_text())["segment"]["settings"]["min_object_size"] == 7
    _, again = one.viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Segment")
    panel = again._panel
    assert (panel.form["threshold"].value, panel.form["min_object_size"].value, panel.scope.value) == (0.33, 7, "this")


def test_another_model_brings_its_own_defaults(opened, tmp_path, models):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    source = models / "known.safetensors"
    with safe_open(source, "numpy") as file:
        spec = json.loads(file.metadata()["napari-unet-tumour"])
    text = json.dumps(spec | {"name": "shy", "threshold": 0.9, "min_object_size": 30})
    save_file(load_file(source), tmp_path / "shy.safetensors", {"napari-unet-tumour": text})
    one = opened()
    one.panel.form["threshold"].value = 0.2
    one.widget.choose_model(str(tmp_path / "shy.safetensors"))
    assert one.panel.model.value.name == "shy"
    assert (one.panel.form["threshold"].value, one.panel.form["min_object_size"].value) == (0.9, 30)


@pytest.mark.parametrize(
    ("add", "words"),
    [
        (lambda viewer: viewer.add_labels(np.zeros((8, 8), int)), ("no image layer", "open a scan")),
        (lambda viewer: viewer.add_image(np.zeros((2, 2, 2, 2, 8, 8)), name="scan"), ("'scan'", "6 axes")),
    ],
    ids=["none", "axes"],
)
def test_a_layer_that_does_not_fit_gets_one_line(opened, add, words):
    one = opened(add)
    before = list(one.viewer.layers)
    one.click(one.panel.run)
    assert not one.widget.running
    assert all(word in one.status for word in words), one.status
    assert "\n" not in one.status
    assert list(one.viewer.layers) == before


@pytest.mark.parametrize(
    ("array", "word"), [(np.zeros((0, 8, 8)), "without pixels"), (np.zeros((8, 8), complex), "complex")]
)
def test_pixels_that_napari_itself_refuses_to_show_are_named_too(array, word):
    with pytest.raises(ScanError, match=f"'scan'.*{word}"):
        image_source._check("scan", array)


def test_a_model_for_other_channels_gets_one_line(opened, scan, models):
    def add(viewer):
        viewer.add_image(scan(5, 64, 64), name="grey")
        viewer.add_image(np.zeros((64, 64, 3), np.uint8), rgb=True, name="colour")

    one = opened(add)
    one.widget.choose_model(str(models / "four.safetensors"))
    for name, words in (("grey", "nothing is given for T1, T1ce, T2, FLAIR"), ("colour", "layer 'colour' has colours")):
        one.viewer.layers.selection.active = one.viewer.layers[name]
        one.click(one.panel.run)
        assert "needs 4 channels (T1, T1ce, T2, FLAIR)" in one.status
        assert words in one.status
    assert len(one.viewer.layers) == 2


def test_broken_model_files_get_one_line_and_change_nothing(opened, scan, models, tmp_path):
    whole = (models / "known.safetensors").read_bytes()
    files = {"cut": whole[:-9], "pickle": b"PK\x03\x04" + bytes(99), "other": b"hello", "empty": b""}
    one = opened(lambda viewer: viewer.add_image(scan(64, 64)))
    chosen = one.panel.model.value
    for name, content in files.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        one.panel.say("")
        one.widget.choose_model(str(path))
        assert path.name in one.status
        assert "\n" not in one.status
        assert one.panel.model.value == chosen
    one.widget.choose_model(str(tmp_path / "gone.safetensors"))
    assert "gone.safetensors" in one.status


def test_a_model_that_goes_or_changes_after_it_was_chosen(opened, scan, models, tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes((models / "known.safetensors").read_bytes())
    one = opened(lambda viewer: viewer.add_image(scan(64, 64)))
    one.widget.choose_model(str(path))
    path.write_bytes((models / "four.safetensors").read_bytes())
    one.run()
    assert "has changed" in one.status
    path.unlink()
    one.run()
    assert "mine.safetensors cannot be read" in one.status
    assert len(one.viewer.layers) == 1


def test_a_gpu_that_is_not_there(opened, scan):
    one = opened(lambda viewer: viewer.add_image(scan(64, 64)))
    one.panel.form["device"].value = "cuda"
    one.wait(lambda: one.panel.found.value not in ("", "…"))
    if one.panel.found.value != "not available":
        pytest.skip("this machine has a GPU")
    assert "cuda" in one.status
    one.panel.say("")
    one.run()
    assert "cuda" in one.status
    assert len(one.viewer.layers) == 1


def test_a_scheduler_that_does_not_answer(opened, scan):
    one = opened(lambda viewer: viewer.add_image(scan(64, 64)))
    one.panel.place.value = THERE
    assert not one.panel.address_row.native.isHidden()
    one.click(one.panel.run)
    assert "no address of the cluster" in one.status
    one.panel.address.value = "tls://127.0.0.1:9"
    one.panel.say("")
    one.run()
    assert "tls://127.0.0.1:9" in one.status
    assert len(one.viewer.layers) == 1


def test_a_lazy_layer_that_cannot_be_read(opened, scan):
    import dask.array

    def read(block):
        if block.max() == 255:
            raise OSError("the disk is gone")
        return block

    data = scan(9, 64, 64)
    data[8] = 255
    lazy = dask.array.from_array(data, chunks=(1, 64, 64)).map_blocks(read, dtype=data.dtype, meta=data[:0])
    one = opened(lambda viewer: viewer.add_image(lazy, contrast_limits=(0, 255), name="scan"))
    one.run()
    assert "'scan' cannot be read (the disk is gone)" in one.status


OPENING = """
import sys, time
import napari, numpy as np
viewer = napari.Viewer(show=False)
viewer.add_image(np.zeros((8, 64, 64)))
start = time.perf_counter()
_, widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Segment")
print(time.perf_counter() - start)
widget.segment()
end = time.time() + 60
from qtpy.QtWidgets import QApplication
while widget.running and time.time() < end:
    QApplication.processEvents()
assert len(viewer.layers) == 2, widget._panel.status.value
assert not {"torch", "monai"} & set(sys.modules)
viewer.close()
"""


def test_a_session_never_loads_torch_in_the_viewer(home):
    done = subprocess.run([sys.executable, "-c", OPENING], capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    # It does not hang; how long it takes is for benchmarks/responsiveness.py, since many tests may share two cores.
    assert float(done.stdout) < 15
