"""What a message advises works when it is followed to the letter."""

import shutil
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from napari_unet_tumour import jobs
from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.models import registry
from napari_unet_tumour.widgets.layers import geometry

CORRECT = "Correct and fine-tune"
pytestmark = pytest.mark.usefixtures("instant")


def volume():
    data = np.full((5, 24, 24), 40, np.uint8)
    data[:, 4:10, 4:10] = 220
    data[:, 0, 0] = range(5)
    return data


def reopen(one, name):
    one.close()
    _, one.widget = one.viewer.window.add_plugin_dock_widget("napari-unet-tumour", name)
    one.panel = one.widget._panel
    if name == CORRECT:
        one.wait(lambda: one.widget.session is not None)


def test_there_is_no_model_import_one(opened, home, models):
    (home / "models" / "known.safetensors").unlink()
    one = opened(lambda viewer: viewer.add_image(volume(), name="scan"), widget=CORRECT)
    assert one.status == "There is no model: import one with 'napari-unet-tumour models import'"
    registry.import_(models / "known.safetensors")
    one.click(one.panel.segment)
    assert one.status == "Looking at the scan: try again in a moment"
    one.wait(lambda: one.widget.session is not None)
    one.click(one.panel.segment)
    one.wait(lambda: not one.widget.running)
    assert np.array_equal(one.viewer.layers[-1].data, volume() > 127)


@pytest.mark.parametrize("name", ["Segment", CORRECT])
def test_the_model_file_has_changed_close_and_reopen_the_panel(opened, home, save_known, tmp_path, name):
    one = opened(lambda viewer: viewer.add_image(volume(), name="scan"), widget=name)
    one.wait(lambda: name == "Segment" or one.widget.session is not None)
    shutil.copy(
        save_known(tmp_path / "known.safetensors", description="Another."), home / "models" / "known.safetensors"
    )

    def run():
        one.click(one.panel.run if name == "Segment" else one.panel.segment)
        one.wait(lambda: not one.widget.running)

    run()
    assert one.status == (
        "known.safetensors has changed since it was chosen: close and reopen this panel, then choose it"
    )
    assert len(one.viewer.layers) == 1
    reopen(one, name)
    run()
    assert len(one.viewer.layers) == 2, one.status


def test_the_image_has_changed_close_and_reopen_the_panel(opened, monkeypatch):
    data = volume()
    one = opened(lambda viewer: viewer.add_image(data, name="scan"), widget=CORRECT)
    one.wait(lambda: one.widget.session is not None)
    one.click(one.panel.segment)
    one.wait(lambda: not one.widget.running)

    def learn(*slices):
        for n in slices:
            one.viewer.dims.set_point(0, n)
            one.click(one.panel.tick)
        one.click(one.panel.run)
        one.wait(lambda: not one.widget.state.learning)

    data[4] = 0
    learn(1)
    assert one.status.startswith("the image 'scan' has changed since it was corrected: bring back the image")
    assert one.status.split("; ")[0].endswith("or close and reopen this panel to begin anew")
    reopen(one, CORRECT)
    assert one.widget.session.reviewed() == []
    refused = jobs.Failed(TrainingError("this was asked for"))

    def refuse(*given, on_event, **options):
        on_event(refused)
        return SimpleNamespace(cancel=lambda: None)

    monkeypatch.setattr(jobs, "submit", refuse)
    learn(1)
    assert one.status.startswith("this was asked for")


def tilt(degrees):
    """Return index -> world of (x, y, z), turned about y."""
    turn = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[[0, 0, 2, 2], [0, 2, 0, 2]] = np.cos(turn), -3 * np.sin(turn), np.sin(turn), 3 * np.cos(turn)
    return affine


def jump(opened, add, number):
    one = opened(add, widget=CORRECT)
    one.wait(lambda: one.widget.session is not None)
    one.widget.go(number)
    return one


SAID = "Slice 4 cannot be brought on screen, since the scan lies oblique in the window: "
STRAIGHTEN = "se Layers > Transform > Straighten"


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_a_slice_is_out_of_reach_straighten(opened, tmp_path):
    nibabel.save(nibabel.Nifti1Image(volume().transpose(2, 1, 0), tilt(50)), tmp_path / "tilted.nii.gz")
    one = jump(opened, lambda viewer: viewer.open(tmp_path / "tilted.nii.gz", plugin="napari-unet-tumour"), 3)
    assert one.status == f"{SAID}u{STRAIGHTEN}"
    geometry.straighten()
    one.wait(lambda: one.widget.session is not None)
    one.widget.go(3)
    assert one.widget.session.case.on_screen(one.viewer) == 3


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_a_slice_of_another_reader_is_out_of_reach_open_its_file_here(opened, tmp_path):
    nibabel.save(nibabel.Nifti1Image(volume().transpose(2, 1, 0), tilt(50)), tmp_path / "tilted.nii.gz")

    def add(viewer):
        viewer.open(tmp_path / "tilted.nii.gz", plugin="napari-unet-tumour")
        viewer.layers[0].metadata = {}

    one = jump(opened, add, 3)
    assert one.status == f"{SAID}open its file with napari-unet-tumour, then u{STRAIGHTEN}"
