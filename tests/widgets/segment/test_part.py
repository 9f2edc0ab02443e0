"""The switch for the part of the tumour: the same mask from the window, Python and the command line."""

import shlex

import numpy as np
import pytest

from napari_unet_tumour import cli, scans, segment
from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.cli import main
from napari_unet_tumour.cli._options import settings_of
from napari_unet_tumour.models import registry
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.settings import ENHANCING, WHOLE, SegmentSettings
from napari_unet_tumour.widgets.common.settings_form import remember, remembered_part
from napari_unet_tumour.widgets.layers.image_source import KEY
from napari_unet_tumour.widgets.segment.cli_command import command_for
from shared_window import make_napari_viewer, window_of_file  # noqa: F401 - these tests share a window

NAMES = ("background", "enhancing part")


@pytest.fixture
def contrast(home, save_known):
    """Path of an installed model of contrast-enhanced T1."""
    return save_known(home / "models" / "contrast.safetensors", ("T1ce",), size=256)


@pytest.fixture
def rings():
    """Grey values (2, 256, 256) uint8: a bright disc with a darker core, in tissue, in air."""
    rows, columns = np.mgrid[:256, :256]
    planes = []
    for at in (90, 130):
        away = np.hypot(rows - 128, columns - at)
        plane = 75 + 15 * np.sin(rows / 9.0) * np.cos(columns / 7.0)
        plane[abs(columns - 128) > 100] = 0
        plane[away < 28] = 230
        plane[away < 14] = 134
        planes.append(plane)
    return np.stack(planes).astype(np.uint8)


def names_of(mask):
    return tuple(mask.features["label"])


def test_window_python_and_command_line_make_the_same_mask(opened, contrast, rings, tmp_path):
    scan = Scan(rings, "zyx", np.diag([3.0, 1, 1, 1]), "mm")
    scans.write_mask(tmp_path / "scan.nii.gz", rings, scan)
    one = opened(lambda viewer: viewer.add_image(rings, scale=(3, 1, 1)))
    one.widget.choose_model(str(contrast))
    assert not one.panel.part.native.isHidden()
    assert one.panel.form["part"].value == WHOLE
    whole = one.run().data.copy()
    one.panel.form["part"].value = ENHANCING
    mask = one.run()
    assert one.status.startswith("2 slices in ")
    assert "enhancing part on 2 of them" in one.status
    assert names_of(mask) == NAMES
    assert mask.metadata[KEY]["labels"] == list(NAMES)
    assert mask.metadata[KEY]["settings"]["part"] == ENHANCING
    python = segment(tmp_path / "scan.nii.gz", contrast, part=ENHANCING)
    assert python.labels == NAMES
    np.testing.assert_array_equal(mask.data, python.mask)
    assert main(["segment", str(tmp_path / "scan.nii.gz"), "--model", str(contrast), "--part", ENHANCING,
                 "--out", str(tmp_path / "out")]) == 0  # fmt: skip
    written = scans.read(tmp_path / "out" / "scan_mask.nii.gz")
    np.testing.assert_array_equal(written.array, python.mask)
    assert written.extra["names"] == NAMES
    assert python.mask.any()
    assert not np.array_equal(python.mask, whole)
    # The threshold moves without another run, and as the command line has it.
    one.panel.form["threshold"].value = 0.9
    one.wait(lambda: one.widget.settled)
    lower = segment(tmp_path / "scan.nii.gz", contrast, SegmentSettings(0.9), part=ENHANCING).mask
    np.testing.assert_array_equal(mask.data, lower)
    one.panel.form["part"].value = WHOLE
    one.panel.form["threshold"].value = 0.5
    np.testing.assert_array_equal(one.run().data, whole)
    assert names_of(mask) == ("background", "tumour")


def test_other_models_have_no_switch(opened, contrast, rings):
    one = opened(lambda viewer: viewer.add_image(rings))
    one.widget.choose_model(str(contrast))
    one.panel.form["part"].value = ENHANCING
    one.panel.model.value = next(entry for entry in one.panel.model.choices if entry.name == "known")
    assert one.panel.part.native.isHidden()
    assert one.widget._choice.settings.part == WHOLE
    one.panel.model.value = next(entry for entry in one.panel.model.choices if entry.name == "contrast")
    assert not one.panel.part.native.isHidden()


def test_it_is_remembered_with_its_model(contrast):
    entry, other = registry.find(contrast), registry.find("known")
    assert remembered_part(entry) == WHOLE
    remember("segment", {"settings": {"part": ENHANCING}, "model": str(entry.path)})
    assert remembered_part(entry) == ENHANCING
    assert remembered_part(other) == WHOLE
    remember("segment", {"settings": {"part": "nonsense"}, "model": str(entry.path)})
    assert remembered_part(entry) == WHOLE


def test_the_copied_command_names_it(contrast, rings):
    entry = registry.find(contrast)
    layout = layout_of(rings.shape)
    text = command_for({"": "scan.nii.gz"}, entry, SegmentSettings(part=ENHANCING), layout)
    assert "--part enhancing" in text
    args = cli.parser().parse_args(shlex.split(text)[1:])
    assert settings_of(args, entry.spec).part == ENHANCING
    assert "--part" not in command_for({"": "scan.nii.gz"}, entry, SegmentSettings(), layout)


def test_correct_goes_on_with_the_part_of_the_mask(opened, contrast, rings):
    """Segmented in Correct, and asked again, the slices show what the mask shows."""
    one = opened(lambda viewer: viewer.add_image(rings))
    one.widget.choose_model(str(contrast))
    one.panel.form["part"].value = ENHANCING
    mask = one.run()
    expected = mask.data.copy()
    _, correct = one.viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Correct and fine-tune")
    one.wait(lambda: correct.session is not None)
    correct.choose_model(registry.find(contrast))
    assert correct._choice.segmenting().part == ENHANCING
    correct._network.segment()
    one.wait(lambda: not correct._network.again.running)
    np.testing.assert_array_equal(mask.data, expected)
    assert names_of(mask) == NAMES
