"""The Work-list panel, used as a person uses it, with the real worker."""

import time

import nibabel
import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_unet_tumour import scans
from napari_unet_tumour.widgets.layers import labels
from napari_unet_tumour.worklist import ACCEPTED, CORRECTED, NEW, SEGMENTED, Worklist

PLACE = np.diag([1.0, 1, 3, 1])


@pytest.fixture
def folder(tmp_path, scan):
    """Three scans with a bright hill each, and one that is damaged, second in the order."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for n, name in enumerate(("a", "c", "d")):
        affine = PLACE.copy()
        affine[:3, 3] = n
        image = nibabel.Nifti1Image(scan(4, 64, 64).transpose(2, 1, 0), affine)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, folder / f"{name}.nii.gz")
    (folder / "b.nii.gz").write_bytes(b"nonsense")
    return folder


@pytest.fixture
def list_of(opened):
    def open_(folder, **options):
        one = opened(widget="Work-list", **options)
        one.widget.open_folder(str(folder))
        return one

    return open_


def state(one, key):
    return one.widget.worklist[key].state


def next_patient(one):
    one.click(one.panel.next)
    one.wait(lambda: not one.widget.busy)


def test_from_the_first_scan_to_the_last(list_of, folder):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    one = list_of(folder)
    widget, viewer = one.widget, one.viewer
    assert [widget.table.item(row, 1).text() for row in range(4)] == ["new"] * 4
    next_patient(one)
    assert widget.case.key == "a.nii.gz"
    # New scans are segmented while the window is free: this one, and the next but for the broken one.
    one.wait(lambda: widget._open.mask is not None)
    assert (state(one, "a.nii.gz"), widget.worklist["a.nii.gz"].lesions) == (SEGMENTED, 1)
    mask = widget._open.mask
    assert mask is labels.own_mask(viewer, widget._open.image)
    np.testing.assert_array_equal(mask.data > 0, np.asarray(widget._open.image.data) > 127)
    one.wait(lambda: widget.worklist["b.nii.gz"].broken)
    assert "cannot be opened" in [widget.table.item(row, 1).text() for row in range(4)]
    mask.data_setitem((np.array([0]), np.array([2]), np.array([3])), [1])
    next_patient(one)
    # The broken one is named in the list, and the next one is opened.
    assert widget.case.key == "c.nii.gz"
    assert (state(one, "a.nii.gz"), state(one, "c.nii.gz")) != (NEW, ACCEPTED)
    assert state(one, "a.nii.gz") == CORRECTED
    one.wait(lambda: widget._open.mask is not None)
    assert [layer.name for layer in viewer.layers] == ["c", "c mask"]
    kept = scans.read_mask(widget.worklist.mask_path("a.nii.gz"), onto=scans.read(folder / "a.nii.gz"))
    assert kept.array[0, 2, 3] == 1
    one.wait(lambda: state(one, "d.nii.gz") == SEGMENTED)
    one.wait(lambda: (ready := widget._preparer.prepared("d.nii.gz")) is not None and ready.mask is not None)
    start = time.thread_time()  # other programs do not count
    one.click(one.panel.accept)
    assert (state(one, "c.nii.gz"), widget.case.key) == (ACCEPTED, "d.nii.gz")
    assert widget._open.mask is not None, "it was prepared: its mask is on screen at once"
    assert time.thread_time() - start < 2
    one.wait(lambda: [layer.name for layer in viewer.layers] == ["d", "d mask"])
    one.wait(lambda: widget.worklist["a.nii.gz"].lesions == 2)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.slow
def test_on_another_day_it_goes_on_where_it_stopped(list_of, folder, make_napari_viewer, opened):
    one = list_of(folder)
    one.panel.background.value = False
    next_patient(one)
    drawn = one.viewer.add_labels(np.zeros((4, 64, 64), np.uint8), name="mine", scale=(3, 1, 1), units=["mm"] * 3)
    next_patient(one)
    assert state(one, "a.nii.gz") == NEW, "an empty layer is no mask"
    assert one.widget.case.key == "c.nii.gz"
    image = one.widget._open.image
    drawn = one.viewer.add_labels(
        np.zeros((4, 64, 64), np.uint8), name="by hand", scale=image.scale, translate=image.translate, units=image.units
    )
    drawn.paint((1, 30, 30), 1)
    one.wait(lambda: state(one, "c.nii.gz") == CORRECTED)
    one.close()
    again = opened(widget="Work-list")
    again.panel.start_view.buttons[1].native.click()
    assert state(again, "c.nii.gz") == CORRECTED
    again.panel.background.value = False
    next_patient(again)
    assert again.widget.case.key == "c.nii.gz"
    np.testing.assert_array_equal(again.widget._open.mask.data, drawn.data)
    image = again.widget._open.image
    for corner in ((0, 0, 0), (3, 63, 63)):
        assert again.widget._open.mask.data_to_world(corner) == pytest.approx(image.data_to_world(corner))


def test_other_layers_stay_and_a_full_disk_closes_nothing(list_of, folder, monkeypatch):
    one = list_of(folder)
    one.panel.background.value = False
    points = one.viewer.add_points(np.zeros((1, 3)), name="mine")
    next_patient(one)
    later = one.viewer.add_points(np.zeros((1, 3)), name="mine, too")
    image = one.widget._open.image
    mask = one.viewer.add_labels(np.ones((4, 64, 64), np.uint8), scale=image.scale, translate=image.translate)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("nibabel.save", full)
        next_patient(one)
        assert "No space left" in one.status
        assert mask in one.viewer.layers
        assert one.widget.case.key == "a.nii.gz"
    next_patient(one)
    assert [layer.name for layer in one.viewer.layers] == ["mine", "mine, too", "c"]
    assert points in one.viewer.layers
    assert later in one.viewer.layers
    assert Worklist(folder)["a.nii.gz"].state == CORRECTED


def test_what_is_in_the_way_is_said(list_of, folder, tmp_path, qtbot):
    one = list_of(tmp_path / "nowhere")
    assert "check the path" in one.status
    one.widget.open_folder(str(folder))
    one.widget.accept()
    assert "No scan of the list is open" in one.status
    one.widget.save_pairs(str(tmp_path / "p.csv"))
    assert "is accepted yet" in one.status
    one.panel.background.value = False
    row = one.widget.table.visualItemRect(one.widget.table.item(1, 0)).center()
    qtbot.mouseClick(one.widget.table.viewport(), Qt.MouseButton.LeftButton, pos=row)
    one.wait(lambda: one.widget.case is not None)
    assert one.widget.case.key == "c.nii.gz", "the broken one was clicked: the next one is opened"
    assert "b.nii.gz" in one.status
    for _ in range(3):
        one.click(one.panel.accept)
        one.wait(lambda: not one.widget.busy)
    assert "accepted, or cannot be opened" in one.status
    one.widget.save_pairs(str(tmp_path / "p.csv"))
    assert "3 accepted scans" in one.status


def test_the_prepared_scan_is_shown_before_the_old_layers_go(list_of, tmp_path):
    """Scans of the same name in folders of their own, with a layer of the person's beside them."""
    for n, (name, spacing) in enumerate((("p1", (1, 1, 3)), ("p2", (1, 3, 1)), ("p3", (1, 1, 3)))):
        (tmp_path / "list" / name).mkdir(parents=True)
        image = nibabel.Nifti1Image(np.full((9, 8, 7), n, np.int16), np.diag([*spacing, 1.0]))
        image.header.set_xyzt_units("mm")
        nibabel.save(image, tmp_path / "list" / name / "t1.nii.gz")
    one = list_of(tmp_path / "list")
    one.panel.background.value = False
    widget, layers = one.widget, one.viewer.layers
    next_patient(one)
    image = widget._open.image
    # A reader on a thread and a new Labels layer change Python's list of warnings for a moment: not both at once.
    one.wait(lambda: widget._preparer.prepared("p2/t1.nii.gz") is not None)
    drawn = one.viewer.add_labels(np.ones((7, 8, 9), np.uint8), scale=image.scale, units=image.units)
    points = one.viewer.add_points(np.zeros((1, 3)), name="mine")
    for key, old in (("p2/t1.nii.gz", [image, drawn]), ("p3/t1.nii.gz", [])):
        one.wait(lambda key=key: widget._preparer.prepared(key) is not None)
        widget.next()
        assert widget.case.key == key
        assert [layer for layer in old if layer in layers and layer.visible] == []
        image = widget._open.image
        assert (image.name, image.visible) == ("t1", True)
        assert widget._open.mask is None, "the mask of the scan before is no mask of this one"
        one.wait(lambda: len(layers) == 2)
        assert list(layers) == [points, image]
    assert state(one, "p1/t1.nii.gz") == CORRECTED
