"""The Correct and fine-tune widget, driven as a person would with a real worker; the learning is a stand-in."""

import threading
import time
import warnings

import dask.array
import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_unet_tumour import jobs
from napari_unet_tumour.corrections import UNSURE, Store
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.tuned_scores import in_words
from napari_unet_tumour.widgets.correct.state import Phase
from napari_unet_tumour.widgets.layers.image_source import KEY
from napari_unet_tumour.widgets.readers_writers import write_labels
from shared_window import make_napari_viewer, window_of_file  # noqa: F401 - these tests share a window

pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.fixture
def correcting(opened, qtbot):
    """Open a viewer with layers and the widget, and wait until it knows the scan."""

    def open_(add, **options):
        one = opened(add, widget="Correct and fine-tune", **options)
        one.panel.seconds.value = 1
        one.wait(lambda: one.widget.session is not None)
        return one

    return open_


def segment(one):
    one.click(one.panel.segment)
    one.wait(lambda: not one.widget.running)
    one.wait(lambda: one.widget.session.unsure.complete)
    return one.viewer.layers[-1]


def with_mask(scan, n=6):
    """Return a function that adds a scan and a Labels layer drawn by hand."""
    data = scan(n, 64, 64)

    def add(viewer):
        viewer.add_image(data, name="scan")
        viewer.add_labels((data > 127).astype(np.uint8), name="drawn")

    return data, add


def paint(one, n, value=1, at=(8, 8)):
    one.viewer.dims.set_point(0, n)
    mask = one.viewer.layers[-1]
    mask.brush_size = 6
    mask.paint((n, *at), value)


def review(one, *slices):
    for n in slices:
        one.viewer.dims.set_point(0, n)
        one.click(one.panel.tick)


def names(one):
    return [state.name for state in one.widget.session.states()]


def looked(one):
    """Wait until the journal has seen what was done."""
    one.widget._desk.watch.flush()
    one.widget._on_seen()


def learn(one):
    one.click(one.panel.run)
    one.wait(lambda: one.widget.state.result is not None or not one.widget.state.learning)


def darker(mask, data):
    """Tell whether a mask is what the stand-in's model finds: grey values from 175 on; bf16 blurs the brink."""
    clear = abs(data.astype(int) - 175) > 5
    return np.array_equal(mask[clear], (data > 175)[clear])


def shown(part):
    """Tell whether a part of the widget would be seen, were the window on a screen."""
    return not part.native.isHidden()


def record(one):
    store = Store(registry.data_dir() / "corrections")
    return store, store.load(one.widget.session.case.parts[0].scan)


def test_the_whole_way(opened, correcting, scan):
    data = scan(8, 64, 64)
    one = correcting(lambda viewer: viewer.add_image(data, name="scan"))
    assert one.status == "There is no mask yet: press Segment."
    mask = segment(one)
    assert np.array_equal(mask.data, data > 127)
    assert set(names(one)) == {"predicted"}
    assert all(state.unsure > 0 for state in one.widget.session.states())

    one.viewer.window._qt_viewer.setFocus()
    one.click(one.panel.next)
    first = one.widget.session.order()[0]
    assert one.viewer.dims.current_step[0] == first == one.panel.strip.shown
    paint(one, first)
    looked(one)
    assert names(one)[first] == "edited"
    one.click(one.panel.tick)
    one.click(one.panel.next)
    second = one.viewer.dims.current_step[0]
    assert second != first
    one.click(one.panel.tick)
    assert names(one)[first] == "reviewed"
    one.click(one.panel.next)
    third = one.viewer.dims.current_step[0]
    one.click(one.panel.tick)
    assert names(one)[third] == "held out"
    done = [first, second, third]
    kept = {n: mask.data[n].copy() for n in done}
    one.click(one.panel.next)
    steps = len(mask._undo_history)

    learn(one)
    assert "context 5 replay 0" in one.status
    assert f"trained {sorted([first, second])}" in one.status
    assert "0.500 → 0.750" in one.panel.table.value
    assert one.panel.table.native.sizeHint().width() <= 300, "it fits into a panel of 320 pixels"
    assert len(one.panel.curve.loss) == 10
    assert one.panel.pictures.pictures[0].title == f"Slice {third + 1}, kept for scoring"
    assert len(mask._undo_history) == steps, "nothing is changed before Accept"
    one.click(one.panel.accept)
    one.wait(lambda: one.status.endswith("reviewed slices are as they were."))
    assert one.status.startswith("known-v2 is now the default. 5 slices segmented")
    for n in range(8):
        assert np.array_equal(mask.data[n], kept[n]) if n in kept else darker(mask.data[n], data[n])
    assert len(mask._undo_history) == steps + 5
    assert registry.find().name == "known-v2"
    assert registry.find().spec.parent == registry.find("known").hash
    tuned_on = (
        "Fine-tuned on 2 slices that you corrected. On 1 slice kept for scoring: Dice 0.50 → 0.75, HD95 8.0 → 5.0 px"
    )
    assert in_words(registry.find().spec) == tuned_on
    _, segment_panel = one.viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Segment")
    assert tuned_on in segment_panel._panel.about_model.value
    assert mask.metadata[KEY]["hash"] == registry.find().hash
    for _ in range(5):
        mask.undo()
    assert np.array_equal(np.delete(mask.data, done, 0), np.delete(data > 127, done, 0))

    # Roll back: the shipped model is there, and is the default again.
    one.panel.model.value = next(e for e in one.panel.model.choices if e.name == "known")
    assert registry.find().name == "known"
    segment(one)
    assert np.array_equal(np.delete(mask.data, done, 0), np.delete(data > 127, done, 0))


def test_keys_do_what_the_buttons_say(correcting, scan, qtbot):
    data, add = with_mask(scan)
    one = correcting(add, show=True)
    assert "(N)" in one.panel.next.text
    assert "(R)" in one.panel.tick.text
    one.viewer.dims.set_point(0, 4)
    canvas = one.viewer.window._qt_viewer.canvas.native
    qtbot.keyClick(canvas, Qt.Key.Key_R)
    assert one.widget.session.reviewed() == [4]
    qtbot.keyClick(one.panel.tick.native, Qt.Key.Key_R)
    qtbot.keyClick(one.panel.tick.native, Qt.Key.Key_R)
    assert one.widget.session.reviewed() == [4]
    qtbot.keyClick(canvas, Qt.Key.Key_N)
    one.wait(lambda: one.widget.session.unsure.complete and one.viewer.dims.current_step[0] != 4)
    assert np.array_equal(one.viewer.layers[-1].data, data > 127), "asking the network draws nothing"
    one.close()
    assert not {"N", "R"} & {str(key) for key in one.viewer.keymap}


def test_a_stroke_of_the_mouse_is_noticed(correcting, scan, qtbot):
    one = correcting(with_mask(scan)[1])
    one.viewer.dims.set_point(0, 2)
    one.panel.paint.value = UNSURE
    one.panel.paint.value = 1
    mask = one.viewer.layers[-1]
    assert mask.mode == "paint"
    canvas = one.viewer.window._qt_viewer.canvas.native
    middle = canvas.rect().center()
    mask.data[2] = 0
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=middle)
    qtbot.mouseMove(canvas, middle / 2)
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=middle)
    assert mask.data[2].any()
    one.wait(lambda: names(one)[2] == "edited")


def test_several_classes_are_learnt_and_unknown_ones_are_not(correcting, scan, models):
    data = scan(6, 64, 64)

    def add(viewer):
        viewer.add_image(data, name="scan")
        viewer.add_labels((data > 127) + np.uint8(1) * (data > 200), name="two")

    registry.import_(models / "two.safetensors")
    one = correcting(add)
    one.panel.model.value = next(entry for entry in one.panel.model.choices if entry.name == "two")
    one.wait(lambda: one.widget.session is not None and len(one.panel.paint.choices) == 5)
    review(one, 1, 3)
    one.panel.model.value = next(entry for entry in one.panel.model.choices if entry.name == "known")
    one.click(one.panel.run)
    assert one.status.startswith("the mask has label 2, model 'known' knows only 1 = tumour")


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (0, 2, 1)])
def test_slices_may_lie_across_any_axis(correcting, scan, order):
    data = np.ascontiguousarray(scan(6, 64, 56).transpose(np.argsort(order)))

    def add(viewer):
        viewer.add_image(data, scale=(3, 2, 1.5), translate=(7, -4, 9))
        viewer.dims.order = order

    one = correcting(add)
    assert len(one.widget.session.case) == 6
    mask = segment(one)
    assert np.array_equal(mask.data, data > 127)
    one.widget.go(4)
    assert one.panel.strip.shown == 4
    mask.data[(slice(None),) * order[0] + (4,)] = 0
    one.click(one.panel.tick)
    one.widget.go(2)
    one.click(one.panel.tick)
    one.viewer.dims.order = (0, 1, 2) if order[0] else (1, 0, 2)
    one.click(one.panel.tick)
    assert one.status == ("no slice of layer 'Image' is on screen, the axes are rolled: click one in the strip")
    one.widget.go(4)
    assert one.panel.strip.shown == 4
    assert names(one)[4] == names(one)[2] == "reviewed"


def test_several_layers_are_the_channels_of_one_scan(correcting, scan, models):
    data = scan(5, 64, 64)

    def add(viewer):
        for name in ("FLAIR", "T2", "T1ce", "T1"):
            viewer.add_image(data if name == "T1" else data * 0, name=name)

    registry.import_(models / "four.safetensors")
    one = correcting(add)
    one.panel.model.value = next(entry for entry in one.panel.model.choices if entry.name == "four")
    one.wait(lambda: one.widget.session is not None and one.widget.session.case.parts[0].layout.channels == 4)
    assert shown(one.panel.channels)
    mask = segment(one)
    assert np.array_equal(mask.data, data > 127)
    review(one, 1, 2, 3)
    assert names(one)[1:4] == ["reviewed", "reviewed", "held out"]
    learn(one)
    assert one.panel.pictures.pictures[0].title == "Slice 4, kept for scoring"


def test_a_lazy_colour_scan_works_too(correcting, scan):
    grey = scan(4, 64, 64)
    colours = dask.array.from_array(np.stack([grey] * 3, -1), chunks=(1, 64, 64, 3))
    one = correcting(lambda viewer: viewer.add_image(colours, rgb=True, name="lazy"))
    mask = segment(one)
    assert np.array_equal(mask.data, grey > 127)
    review(one, 0, 1, 2)
    learn(one)
    assert one.panel.pictures.pictures[0].title == "Slice 3, kept for scoring"


def test_a_click_on_the_strip_goes_to_the_slice(correcting, scan):
    one = correcting(with_mask(scan)[1])
    strip = one.panel.strip
    one.panel.strip.clicked.emit(strip.slice_at(strip.width() - 2))
    assert one.viewer.dims.current_step[0] == 5
    assert strip.summary(5).startswith("Slice 6: predicted")


def test_an_empty_reviewed_slice_is_a_true_negative_and_one_is_enough(correcting, scan):
    one = correcting(with_mask(scan)[1])
    one.viewer.layers[-1].data[2] = 0
    review(one, 2)
    learn(one)
    assert "trained [2]" in one.status
    one.click(one.panel.reject)
    review(one, 2, 3)
    one.click(one.panel.run)
    assert one.widget.session.reviewed() == [3]
    assert "No slice is kept for scoring yet" in one.status
    one.wait(lambda: one.widget.state.result is not None)
    assert not shown(one.panel.table)


def test_reject_leaves_all_as_it_was(correcting, scan):
    data, add = with_mask(scan)
    one = correcting(add)
    review(one, 1, 3)
    one.viewer.dims.set_point(0, 5)
    learn(one)
    one.click(one.panel.reject)
    assert one.status == "Rejected: model and mask are as they were."
    assert np.array_equal(one.viewer.layers[-1].data, data > 127)
    assert [entry.name for entry in registry.entries()] == ["known"]
    assert not shown(one.panel.deciding)


def test_while_it_learns_the_slice_on_screen_follows_and_painting_works(correcting, scan):
    data, add = with_mask(scan)
    one = correcting(add)
    mask = one.viewer.layers[-1]
    review(one, 1, 3)
    one.viewer.dims.set_point(0, 5)
    one.panel.seconds.value = 4
    one.click(one.panel.run)
    one.wait(lambda: np.array_equal(mask.data[5], data[5] > 160))
    paint(one, 5, at=(60, 60))
    paint(one, 3, at=(60, 60))
    looked(one)
    store, now = record(one)
    assert np.array_equal(store.mask(now.scan, 5)[:50], data[5, :50] > 127), "what it tries on is not journalled"
    assert store.mask(now.scan, 5)[60, 60] == 1
    one.click(one.panel.run)
    assert shown(one.panel.asking)
    one.click(one.panel.discard)
    assert one.status == "Cancelled: model and mask are as they were."
    assert mask.data[5, 60, 60] == mask.data[3, 60, 60] == 1
    mask.data[5, 50:, 50:] = mask.data[3, 50:, 50:] = 0
    assert np.array_equal(mask.data, data > 127)


def test_cancel_may_keep_the_best_so_far(correcting, scan):
    one = correcting(with_mask(scan)[1])
    review(one, 1, 3)
    one.panel.seconds.value = 60
    one.click(one.panel.run)
    one.wait(lambda: len(one.panel.curve.loss) > 5)
    one.click(one.panel.run)
    assert one.panel.best.enabled
    one.click(one.panel.best)
    one.wait(lambda: one.widget.state.result is not None)
    assert shown(one.panel.deciding)
    assert not shown(one.panel.asking)


def test_a_failure_is_one_line_and_leaves_all_as_it_was(correcting, scan, monkeypatch):
    data, add = with_mask(scan)
    one = correcting(add)
    review(one, 1, 3)
    monkeypatch.setitem(jobs.TASKS, "finetune", "job_tasks:iter_die")
    learn(one)
    assert "worker" in one.status
    assert one.status.endswith("model and mask are as they were")
    assert one.panel.run.text == "Fine-tune"
    assert np.array_equal(one.viewer.layers[-1].data, data > 127)


def test_unsure_pixels_are_neither_saved_nor_counted(correcting, scan, tmp_path):
    data, add = with_mask(scan)
    one = correcting(add)
    one.panel.paint.value = UNSURE
    mask = one.viewer.layers[-1]
    assert mask.selected_label == UNSURE
    paint(one, 2, UNSURE)
    assert tuple(mask.get_color(UNSURE)) != tuple(mask.get_color(1))
    layer, meta, _ = mask.as_layer_data_tuple()
    written = write_labels(str(tmp_path / "mask.tif"), layer, meta)
    from tifffile import imread

    assert np.array_equal(imread(written[0]) > 0, data > 127)
    from napari_unet_tumour.widgets.measure.layers import measured

    assert measured(mask, None, in_pixels=True).mask.max() == 1


def test_each_tool_is_one_undo_step(correcting, scan):
    data, add = with_mask(scan)
    one = correcting(add)
    mask = one.viewer.layers[-1]
    for name, spoil in (("specks", (5, 5)), ("holes", (32, 32))):
        one.viewer.dims.set_point(0, 2)
        mask.data[2][spoil] ^= 1
        before, steps = mask.data.copy(), len(mask._undo_history)
        one.click(one.panel.tools[name])
        assert np.array_equal(mask.data[2], data[2] > 127)
        assert len(mask._undo_history) == steps + 1
        mask.undo()
        assert np.array_equal(mask.data, before)
        mask.redo()
    for name in ("smooth", "snap"):
        one.click(one.panel.tools[name])
        assert (mask.data[2] != (data[2] > 127)).mean() < 0.1
    one.click(one.panel.tools["between"])
    assert one.status.startswith("There are no two corrected slices around this one")
    mask.data[3:5] = 0
    review(one, 2, 5)
    one.viewer.dims.set_point(0, 3)
    steps = len(mask._undo_history)
    one.click(one.panel.tools["between"])
    assert mask.data[3].any()
    assert mask.data[4].any()
    assert len(mask._undo_history) == steps + 1


def test_a_run_of_segment_leaves_reviewed_slices_alone(correcting, scan, models):
    data = scan(5, 64, 64)
    one = correcting(lambda viewer: viewer.add_image(data))
    mask = segment(one)
    paint(one, 2)
    review(one, 2)
    kept = mask.data[2].copy()
    _, other = one.viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Segment")
    other._panel.scope.value = "all"
    one.click(other._panel.run)
    one.wait(lambda: not other.running)
    assert np.array_equal(mask.data[2], kept)
    registry.import_(models / "two.safetensors")
    one.widget._choice.list_models()
    one.panel.model.value = next(entry for entry in one.panel.model.choices if entry.name == "two")
    assert other._panel.model.value.name == "two", "a new default is chosen in the Segment widget too"
    other._panel.form["threshold"].value = 0.9
    one.wait(lambda: not np.array_equal(mask.data[0], data[0] > 127))
    assert np.array_equal(mask.data[2], kept)


def test_what_one_slice_alone_shows_is_left_out_and_no_stroke(correcting):
    data = np.zeros((7, 64, 64), np.uint8)
    data[1:6, 40:50, 40:50] = data[3, 5:15, 5:15] = 255
    one = correcting(lambda viewer: viewer.add_image(data))
    mask = segment(one)
    one.wait(lambda: one.widget._masks._wanted is None)
    assert not mask.data[3, 5:15, 5:15].any()
    assert mask.data[1:6, 40:50, 40:50].all()
    looked(one)
    assert not any(one.widget.session.is_edited(n) for n in range(7))


def test_two_dates_of_a_dicom_patient_share_their_roles_and_the_journal_knows_no_number(correcting, scan, tmp_path):
    data = scan(6, 64, 64)
    for date, array in (("before", data), ("after", 255 - data)):
        write_series(tmp_path / "scans" / date, array)
    one = correcting(lambda viewer: viewer.open(tmp_path / "scans" / "before", plugin="napari-unet-tumour"))
    draw(one, data > 127)
    go_and_review(one, 1, 2, 3)
    assert names(one)[1:4] == ["reviewed", "reviewed", "held out"]
    looked(one)
    person = record(one)[1].person
    assert len(person) == 16
    before = one.widget.session
    one.viewer.layers.clear()
    one.viewer.open(tmp_path / "scans" / "after", plugin="napari-unet-tumour")
    one.panel.tick.native.click()  # at once: the scan before has gone, and keeps its marks
    assert all(before.is_reviewed(n) for n in (1, 2, 3))
    one.wait(lambda: one.widget.session is not None and one.widget.session.case.is_in(one.viewer))
    draw(one, data < 128)
    go_and_review(one, 3, 2, 5)
    assert [names(one)[n] for n in (3, 2, 5)] == ["held out", "reviewed", "reviewed"]
    learn(one)
    assert "trained [2, 5]" in one.status
    assert "replay 3" in one.status
    looked(one)
    kept = [record(one)[1], *record(one)[0].records()]
    assert {one.person for one in kept} == {person}
    files = [path for path in (registry.data_dir() / "corrections").rglob("*") if path.is_file()]
    assert len(files) >= 2 + 2 * 6
    for path in files:
        content = path.read_bytes()
        assert not any(word in content for word in (b"4711-Q", b"Doe", b"Jane", b"before"))
        assert "4711" not in path.name


def write_series(folder, array):
    """Write a DICOM series of Jane Doe, number 4711-Q."""
    import pydicom

    example = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm", download=False))
    folder.mkdir(parents=True)
    example.SeriesInstanceUID = pydicom.uid.generate_uid()
    example.PatientName, example.PatientID, example.SeriesDescription = "Doe^Jane", "4711-Q", "head"
    example.Rows, example.Columns, example.RescaleIntercept = *array.shape[1:], 0
    for n, plane in enumerate(array):
        example.SOPInstanceUID = pydicom.uid.generate_uid()
        example.ImagePositionPatient, example.ImageOrientationPatient = [0, 0, 5 * n], [1, 0, 0, 0, 1, 0]
        example.PixelData = plane.astype(np.int16).tobytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            example.save_as(folder / f"{n}.dcm")


def go_and_review(one, *slices):
    for n in slices:
        one.widget.go(n)
        one.click(one.panel.tick)


def draw(one, mask):
    """Draw a mask by hand on the scan that is open."""
    image = one.viewer.layers[-1]
    one.viewer.add_labels(
        mask.astype(np.uint8), name="drawn", scale=image.scale, translate=image.translate, units=image.units
    )
    one.wait(lambda: one.widget.session is not None and one.widget.session.case.parts[0].mask is not None)


def test_looking_at_another_scan_and_coming_back_asks_nothing(correcting, scan):
    one = correcting(with_mask(scan)[1])
    paint(one, 4)
    review(one, 1, 2, 3)
    looked(one)
    one.viewer.add_image(255 - scan(6, 64, 64), name="other")
    one.wait(lambda: one.widget.session is not None and one.widget.session.case.parts[0].image.name == "other")
    assert one.widget.session.reviewed() == []
    one.viewer.layers.selection.active = one.viewer.layers["scan"]
    one.wait(lambda: one.widget.session is not None and one.widget.session.case.parts[0].image.name == "scan")
    assert not shown(one.panel.restoring)
    assert names(one)[1:5] == ["reviewed", "reviewed", "held out", "edited"]


def test_a_click_on_another_scan_does_not_stop_the_learning(correcting, scan):
    def add(viewer):
        viewer.add_image(255 - scan(6, 64, 64), name="other")
        with_mask(scan)[1](viewer)

    one = correcting(add)
    review(one, 1, 2)
    one.panel.seconds.value = 60
    one.click(one.panel.run)
    one.wait(lambda: len(one.panel.curve.loss) > 2)
    one.viewer.layers.selection.active = one.viewer.layers["other"]
    one.qtbot.wait(200)
    assert one.widget.running
    one.widget.cancel()


def test_flat_images_are_slices_of_one_case(correcting, scan):
    planes = scan(4, 64, 64)

    def add(viewer):
        for n, plane in enumerate(planes):
            viewer.add_image(plane, name=f"image {n}")

    one = correcting(add)
    assert len(one.widget.session.case) == 4
    segment(one)
    masks = [layer for layer in one.viewer.layers if "mask" in layer.name]
    assert len(masks) == 4
    one.widget.go(2)
    one.click(one.panel.tick)
    one.widget.go(1)
    assert [layer.name for layer in one.viewer.layers if layer.visible] == ["image 1", "image 1 mask"]
    one.click(one.panel.tick)
    one.widget.go(3)
    one.click(one.panel.tick)
    assert names(one) == ["predicted", "reviewed", "reviewed", "held out"]
    learn(one)
    one.click(one.panel.accept)
    one.wait(lambda: one.status.endswith("reviewed slices are as they were."))
    for n, plane in enumerate(planes):
        mask = one.viewer.layers[f"image {n} mask"].data
        assert np.array_equal(mask, plane > 127) if n else darker(mask, plane)


def test_earlier_scans_are_replayed_and_can_be_deleted(correcting, scan):
    _, add = with_mask(scan)
    one = correcting(add)
    review(one, 1, 3)
    looked(one)
    one.viewer.layers.clear()
    other = 255 - scan(6, 64, 64)
    one.viewer.add_image(other, name="other")
    one.viewer.add_labels((other > 127).astype(np.uint8), name="other drawn")
    one.wait(lambda: one.widget.session is not None and one.widget.session.case.parts[0].image.name == "other")
    review(one, 2)
    learn(one)
    assert "replay 2" in one.status
    one.click(one.panel.reject)
    assert shown(one.panel.keeping)
    one.click(one.panel.delete)
    one.click(one.panel.delete)
    assert one.status.startswith("Deleted for good")
    assert not shown(one.panel.keeping)
    assert Store(registry.data_dir() / "corrections").replay(list(one.widget.session.records)) == []


# ---- bad input ---------------------------------------------------------------------------------------


def test_a_mask_of_another_shape(correcting, scan):
    def add(viewer):
        viewer.add_image(scan(6, 64, 64), name="scan")
        viewer.add_labels(np.zeros((5, 64, 64), np.uint8), name="short")

    one = correcting(add)
    assert one.panel.mask.value is None
    one.panel.mask.value = one.viewer.layers["short"]
    one.wait(lambda: "short" in one.status)
    assert one.status == (
        "the mask 'short' has 5 x 64 x 64 pixels, the image 'scan' has 6 x 64 x 64: choose the mask of this image"
    )


def test_the_image_is_removed_or_changed(correcting, scan):
    data, add = with_mask(scan)
    one = correcting(add)
    image, mask = one.viewer.layers
    review(one, 1, 3)
    was = mask.data.copy()
    data[4] = 0
    learn(one)
    assert one.status.startswith("the image 'scan' has changed since it was corrected")
    image.data = scan(6, 64, 64)
    one.wait(lambda: one.status.startswith("Restored: 2 reviewed"))
    one.viewer.layers.remove(image)
    one.wait(lambda: one.widget.session is None)
    assert one.status.startswith("There is no image layer")
    assert np.array_equal(mask.data, was)
    assert len(Store(registry.data_dir() / "corrections").records()) == 1


def test_the_image_is_removed_while_it_learns(correcting, scan):
    data, add = with_mask(scan)
    one = correcting(add)
    review(one, 1, 3)
    one.viewer.dims.set_point(0, 5)
    mask = one.viewer.layers[-1]
    one.panel.seconds.value = 60
    one.click(one.panel.run)
    one.wait(lambda: np.array_equal(mask.data[5], data[5] > 160))
    one.viewer.layers.remove("scan")
    one.wait(lambda: not one.widget.running)
    assert np.array_equal(mask.data, data > 127)


def test_a_full_disk_is_said_and_painting_goes_on(correcting, scan):
    one = correcting(with_mask(scan)[1])
    folder = registry.data_dir() / "corrections"
    folder.write_text("a file in the way")
    paint(one, 2)
    one.wait(lambda: "Corrections are not on disk" in one.status)
    review(one, 2)
    paint(one, 3)
    folder.unlink()
    one.wait(lambda: one.status == "Corrections are on disk again.")
    store, now = record(one)
    assert now.reviewed == [2]
    assert {2, 3} <= set(store.masks(now.scan))


@pytest.mark.parametrize("how", ["gone", "replaced"])
def test_the_model_file_is_gone_or_replaced(correcting, scan, models, how):
    data, add = with_mask(scan)
    one = correcting(add)
    review(one, 1, 3)
    path = registry.find().path
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes((models / "four.safetensors").read_bytes())
    learn(one)
    assert path.name in one.status
    assert one.status.endswith("model and mask are as they were")
    assert np.array_equal(one.viewer.layers[-1].data, data > 127)


def test_every_stroke_is_on_disk_within_two_seconds(correcting, scan):
    one = correcting(with_mask(scan)[1])
    paint(one, 2)
    begun = time.perf_counter()
    store, scan_id = Store(registry.data_dir() / "corrections"), one.widget.session.case.parts[0].scan
    one.wait(lambda: (mask := store.mask(scan_id, 2)) is not None and mask[8, 8] == 1)
    assert time.perf_counter() - begun < 2
    mask = one.viewer.layers[-1]
    mask.undo()
    one.wait(lambda: store.mask(scan_id, 2)[8, 8] == 0)
    one.wait(lambda: names(one)[2] == "predicted")


def test_closing_the_window_writes_what_is_not_written(correcting, scan):
    one = correcting(with_mask(scan)[1])
    paint(one, 2)
    store, scan_id = Store(registry.data_dir() / "corrections"), one.widget.session.case.parts[0].scan
    one.viewer.close()
    one.qtbot.wait(100)
    assert store.mask(scan_id, 2)[8, 8] == 1
    assert not [thread for thread in threading.enumerate() if thread.name.endswith(Phase.LEARNING.value)]
