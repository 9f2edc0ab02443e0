"""A label that the model does not know, driven as a person would with a real worker; the learning is a stand-in."""

import numpy as np
import pytest

from napari_unet_tumour import jobs
from napari_unet_tumour.corrections import FineTuneOutcome
from napari_unet_tumour.models import registry
from napari_unet_tumour.widgets.correct.before_after_view import figures
from napari_unet_tumour.widgets.layers import drawn_pixels
from napari_unet_tumour.widgets.layers.image_source import KEY
from shared_window import make_napari_viewer, window_of_file  # noqa: F401 - these tests share a window

CORE = 8
pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.fixture
def correcting(opened, scan):
    """Open a viewer with a scan, its mask and the widget, and wait until it knows the scan."""

    def open_(n=8):
        data = scan(n, 64, 64)

        def add(viewer):
            viewer.add_image(data, name="scan")
            viewer.add_labels((data > 127).astype(np.uint8), name="drawn")

        one = opened(add, widget="Correct and fine-tune")
        one.panel.seconds.value = 1
        one.wait(lambda: one.widget.session is not None)
        return data, one

    return open_


def paint_core(one, *slices, value=2):
    """Paint the middle of the hill with napari's brush, and tick the slice."""
    mask = one.viewer.layers[-1]
    mask.brush_size = CORE
    for n in slices:
        one.viewer.dims.set_point(0, n)
        mask.paint((n, 32 + n % 5, 32 - n % 7), value)
        one.click(one.panel.tick)


def shown(part):
    return not part.native.isHidden()


def name(one, text):
    one.qtbot.keyClicks(one.panel.new_class.name.native, text)
    one.click(one.panel.new_class.add)


def offered(one):
    one.click(one.panel.run)
    assert not one.widget.running
    assert shown(one.panel.new_class.question)
    assert shown(one.panel.new_class.answers)


def brightest(mask, data):
    """Tell whether a mask is what the stand-in's model finds: from 175 on the old label, from 192 on the new one."""
    clear = (abs(data.astype(int) - 175) > 5) & (abs(data.astype(int) - 192) > 5)
    return np.array_equal(mask[clear], ((data > 175) + np.uint8(1) * (data > 192))[clear])


def test_from_a_stroke_to_a_model_that_finds_the_class_and_back(correcting):
    data, one = correcting()
    mask = one.viewer.layers[-1]
    assert list(one.panel.paint.choices) == [1, 2, 255, 0]
    one.panel.paint.value = 2
    assert (mask.mode, mask.selected_label) == ("paint", 2)
    paint_core(one, 1, 3)
    assert not shown(one.panel.new_class.question)
    offered(one)
    assert one.panel.new_class.question.value == "Add a class for label 2 to the model? It is called:"
    name(one, "core")
    assert not shown(one.panel.new_class.question)
    one.wait(lambda: one.widget.running)
    one.wait(lambda: not one.widget.running)
    assert shown(one.panel.deciding), one.status
    wide = registry.find()
    assert (wide.name, wide.spec.labels) == ("known-v2", ("background", "tumour", "core"))
    assert wide.spec.parent == registry.find("known").hash
    assert one.panel.model.value.hash == wide.hash
    assert list(one.panel.paint.choices) == [1, 2, 3, 255, 0]
    assert list(mask.features["label"]) == ["background", "tumour", "core"]
    kept = {n: mask.data[n].copy() for n in (1, 3)}
    one.click(one.panel.accept)
    one.wait(lambda: one.status.endswith("reviewed slices are as they were."))
    # The mask came from a file: its slices stay until the person says otherwise.
    assert one.panel.question.asked
    assert not brightest(mask.data[0], data[0])
    one.click(one.panel.question.buttons[1])

    learnt = registry.find()
    assert learnt.name == "known-v3"
    assert [entry.name for entry in registry.lineage(learnt)] == ["known-v3", "known-v2", "known"]
    assert all(brightest(mask.data[n], data[n]) for n in (0, 2, 4, 5, 6, 7))
    assert (mask.data[0] == 2).any()
    assert all(np.array_equal(mask.data[n], was) for n, was in kept.items())
    others = [mask.get_color(1), mask.get_color(255), np.zeros(4)]
    assert all(np.abs(mask.get_color(2) - other).max() > 0.3 for other in others), "a colour of its own"
    assert mask.metadata[KEY]["labels"] == ["background", "tumour", "core"]

    one.panel.model.value = next(entry for entry in one.panel.model.choices if entry.name == "known")
    one.click(one.panel.segment)
    one.wait(lambda: not one.widget.running)
    assert np.array_equal(np.delete(mask.data, [1, 3], 0), np.delete(data > 127, [1, 3], 0))


def test_not_now_loses_nothing_and_asks_again(correcting):
    _, one = correcting()
    paint_core(one, 1)
    before = one.viewer.layers[-1].data.copy()
    offered(one)
    assert one.status.startswith("the mask has label 2, model 'known' knows only 1 = tumour")
    one.click(one.panel.new_class.later)
    assert not shown(one.panel.new_class.question)
    assert "No class was added" in one.status
    assert [entry.name for entry in registry.entries()] == ["known"]
    assert np.array_equal(one.viewer.layers[-1].data, before)
    assert one.widget.session.reviewed() == [1]
    offered(one)


@pytest.mark.parametrize(("given", "said"), [("", "needs a name"), ("Tumour", "taken"), ("eraser", "taken")])
def test_a_name_that_cannot_be(correcting, given, said):
    _, one = correcting()
    paint_core(one, 1)
    offered(one)
    name(one, given)
    assert said in one.status
    assert shown(one.panel.new_class.answers)
    assert [entry.name for entry in registry.entries()] == ["known"]


def test_several_labels_are_asked_for_one_by_one_and_get_the_next_numbers(correcting):
    _, one = correcting()
    mask = one.viewer.layers[-1]
    paint_core(one, 1)
    mask.data[5, :4, :4] = 7
    mask.data[4, :4, :4] = 7
    layout = one.widget.session.case.parts[0].layout
    drawn_pixels.note_written(mask, layout, 4, None, mask.data[4].copy())  # as by a model that knew more labels
    one.viewer.dims.set_point(0, 5)
    one.click(one.panel.tick)
    offered(one)
    name(one, "core")
    assert one.panel.new_class.question.value == "Add a class for label 7 to the model, as label 3? It is called:"
    name(one, "corner")
    one.wait(lambda: one.widget.running)
    one.widget.cancel()
    assert registry.find().spec.labels == ("background", "tumour", "core", "corner")
    assert [entry.name for entry in registry.entries()] == ["known-v2", "known"]
    assert (mask.data[4:6, :4, :4] == 3).all()
    assert not drawn_pixels.is_drawn(mask, layout, 4), "another number is no stroke of the person"
    mask.undo()
    assert (mask.data[5, :4, :4] == 7).all()


def test_a_failure_is_one_line_and_leaves_all_as_it_was(correcting, monkeypatch):
    _, one = correcting()
    paint_core(one, 1)
    before = one.viewer.layers[-1].data.copy()
    offered(one)
    monkeypatch.setitem(jobs.TASKS, "add_classes", "nowhere:nothing")
    name(one, "core")
    one.wait(lambda: "nowhere" in one.status)
    assert [entry.name for entry in registry.entries()] == ["known"]
    assert np.array_equal(one.viewer.layers[-1].data, before)


def test_going_to_another_scan_meanwhile_drops_it(correcting):
    _, one = correcting()
    paint_core(one, 1)
    offered(one)
    name(one, "core")
    one.viewer.layers.clear()
    one.wait(lambda: one.widget.session is None)
    one.qtbot.wait(1500)
    assert not one.widget.running
    assert [entry.name for entry in registry.entries()] == ["known"]


def test_a_model_that_comes_before_the_case_is_closed_is_dropped_too(correcting):
    _, one = correcting()
    paint_core(one, 1)
    offered(one)
    name(one, "core")
    task = one.widget._network.new_class._background.task
    one.viewer.layers.clear()
    one.widget._desk._timer.stop()  # the case is closed a moment after its layers have gone: let that be long
    one.wait(lambda: not task.thread.is_alive())
    assert not task.wanted
    assert one.widget.session is not None
    one.qtbot.wait(500)
    assert [entry.name for entry in registry.entries()] == ["known"]


def test_the_table_has_a_row_for_every_label_of_the_truth():
    def scores(dice, **labels):
        rows = {label: {"dice": value, "iou": value, "hd95": None} for label, value in labels.items()}
        return {"dice": dice, "iou": dice, "hd95": None, "by_label": rows}

    rows = [
        {"before": scores(0.5, tumour=0.5, core=0.0), "after": scores(0.8, tumour=0.5, core=0.9)},
        {"before": scores(0.7, tumour=0.7), "after": scores(0.7, tumour=0.7)},
    ]
    told = dict(figures(FineTuneOutcome(b"x", 1.0, 1, 1.0, rows)))
    assert told["Kept for scoring (2)"][0] == "0.600 → 0.750"
    assert told["tumour (2)"][0] == "0.600 → 0.600"
    assert told["core (1)"] == ["0.000 → 0.900", "0.000 → 0.900", "– → –"]


def test_distances_are_in_mm_where_every_scan_has_a_place():
    scores = {"dice": 0.5, "iou": 0.4, "hd95": 4.0}
    here, there = ({"scan": name, "slice": 1, "before": scores, "after": scores | {"hd95": 3.0}} for name in "ab")
    outcome = FineTuneOutcome(b"x", 1.0, 1, 1.0, [here], [here, there])
    told = dict(figures(outcome, {"a": 0.5}))
    assert told["Kept for scoring (1)"][2] == "2.0 → 1.5 mm"
    assert told["Reference (2)"][2] == "4.0 → 3.0 px"
