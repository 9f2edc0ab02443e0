"""What a person drew stays: whichever button writes, whichever axis is in view, whatever is exchanged meanwhile."""

import dask.array
import numpy as np
import pytest
from napari.layers.base.base import Layer

from napari_unet_tumour.corrections import Store
from napari_unet_tumour.models import registry
from napari_unet_tumour.widgets.layers.image_source import KEY
from napari_unet_tumour.widgets.readers_writers import write_labels
from shared_window import make_napari_viewer, window_of_file  # noqa: F401 - these tests share a window

pytestmark = pytest.mark.usefixtures("instant")
CORRECT = "Correct and fine-tune"


def volume(n=6, side=24):
    """Dark, and on every slice a bright square at another place."""
    data = np.full((n, side, side), 40, np.uint8)
    for i in range(n):
        data[i, 4:10, 4 + i : 10 + i] = 220
    return data


@pytest.fixture
def correcting(opened):
    def open_(add, **options):
        one = opened(add, widget=CORRECT, **options)
        one.wait(lambda: one.widget.session is not None)
        return one

    return open_


def segment(one):
    one.click(one.panel.segment)
    one.wait(lambda: not one.widget.running)


def dock(one, name):
    _, widget = one.viewer.window.add_plugin_dock_widget("napari-unet-tumour", name)
    one.widget, one.panel = widget, widget._panel
    one.qtbot.wait(50)


def expert(data):
    """A mask that no network makes: three slices are drawn, the others are not."""
    mask = np.zeros(data.shape, np.uint8)
    mask[1:4, 12:20, 12:20] = 1
    return mask


def write_in_code(mask, drawn):
    mask.data[...] = drawn


def exchange(mask, drawn):
    mask.data = drawn


def set_items(mask, drawn):
    at = np.nonzero(drawn != mask.data)
    mask.data_setitem(at, drawn[at])


def paint_and_undo_and_redo(mask, drawn):
    set_items(mask, drawn)
    mask.undo()
    mask.redo()


FILL = [write_in_code, exchange, set_items, paint_and_undo_and_redo]


@pytest.mark.parametrize("fill", FILL)
def test_segment_in_its_own_panel_keeps_what_is_not_the_networks(opened, fill):
    data = volume()
    one = opened(lambda viewer: viewer.add_image(data, name="scan"))
    mask = one.run()
    fill(mask, expert(data))
    one.run()
    assert np.array_equal(mask.data, expert(data)), "slices that were emptied are the person's too"
    assert "Kept: 6 slices that you drew (192 pixels)" in one.status
    assert one.panel.question.asked
    assert "6 slices that you drew (192 pixels)" in str(one.panel.question.text.value)


def test_it_is_asked_once_and_the_persons_answer_counts(opened):
    data = volume()
    one = opened(lambda viewer: viewer.add_image(data, name="scan"))
    mask = one.run()
    mask.data[1:4] = expert(data)[1:4]
    one.run()
    one.click(one.panel.question.buttons[0])
    assert not one.panel.question.asked
    one.run()
    assert not one.panel.question.asked
    mask.data[2, 0, 0] = 1
    one.run()
    assert one.panel.question.asked
    one.click(one.panel.question.buttons[1])
    assert np.array_equal(mask.data, data > 127)
    mask.undo()
    assert mask.data[2, 0, 0] == 1


def test_the_threshold_leaves_kept_slices_alone(opened):
    data = volume()
    one = opened(lambda viewer: viewer.add_image(data, name="scan"))
    mask = one.run()
    mask.data[2] = 0
    mask.data[2, 5:9, 7:9] = 1  # inside what the network finds there
    was = mask.data[2].copy()
    one.run()
    for threshold in (0.9, 0.1):
        one.panel.form["threshold"].value = threshold
        one.wait(lambda: one.widget.settled)
    assert np.array_equal(mask.data[2], was)


def test_what_was_undone_or_emptied_as_a_whole_is_segmented_again(opened):
    data = volume()
    one = opened(lambda viewer: viewer.add_image(data, name="scan"))
    mask = one.run()
    while mask._undo_history:
        mask.undo()
    assert np.array_equal(one.run().data, data > 127)
    mask.data[...] = 0
    assert np.array_equal(one.run().data, data > 127)
    set_items(mask, np.where(np.arange(6)[:, None, None] == 2, 0, mask.data))
    one.run()
    assert not mask.data[2].any(), "a slice that a person emptied is theirs"


@pytest.mark.parametrize("where", ["Segment", CORRECT])
def test_a_slice_that_is_emptied_while_a_run_is_under_way_stays_empty(opened, instant, where):
    data = volume()
    one = opened(lambda viewer: viewer.add_image(data, name="scan"), widget=where)
    one.wait(lambda: where == "Segment" or one.widget.session is not None)
    button = one.panel.run if where == "Segment" else one.panel.segment
    one.click(button)
    one.wait(lambda: not one.widget.running and not one.widget._masks.deciding)
    mask = one.viewer.layers[-1]
    instant.gate.clear()
    one.click(button)
    set_items(mask, np.where(np.arange(6)[:, None, None] == 2, 0, mask.data))
    instant.gate.set()
    one.wait(lambda: not one.widget.running and not one.widget._masks.deciding)
    assert not mask.data[2].any()
    assert np.array_equal(np.delete(mask.data, 2, 0), np.delete(data > 127, 2, 0))


def test_segment_in_correct_keeps_a_mask_that_was_there_before(correcting):
    data = volume()

    def add(viewer):
        viewer.add_image(data, name="scan")
        viewer.add_labels(expert(data), name="expert")

    one = correcting(add)
    mask = one.viewer.layers["expert"]
    segment(one)
    assert np.array_equal(mask.data[1:4], expert(data)[1:4])
    assert np.array_equal(mask.data[[0, 4, 5]], data[[0, 4, 5]] > 127)
    assert one.status == (
        "3 slices segmented; 3 slices that you drew (192 pixels) and reviewed slices are as they were."
    )
    assert one.panel.question.asked


def test_accept_keeps_it_too(correcting, instant):
    data = volume()
    one = correcting(lambda viewer: viewer.add_image(data, name="scan"))
    segment(one)
    mask = one.viewer.layers[-1]
    set_items(mask, np.where(np.arange(6)[:, None, None] == 2, expert(data), mask.data))
    instant.brighter_than = 255
    session, entry = one.widget.session, one.widget._choice.entry
    one.widget._network.again.draw(session, entry, one.widget._choice.segmenting(), "", "known-v2 is now the default. ")
    one.wait(lambda: not one.widget.running)
    assert np.array_equal(mask.data[2], expert(data)[2])
    assert not np.delete(mask.data, 2, 0).any()


def square(one, mask, number, at):
    """Draw a square of 6 x 6 pixels on a slice."""
    rows, columns = np.mgrid[at : at + 6, at : at + 6]
    mask.data_setitem((np.full(36, number), rows.ravel(), columns.ravel()), 1)
    one.widget._desk.watch.flush()


def test_fill_between_keeps_the_slices_that_were_in_the_file(correcting):
    data = volume(7)
    drawn = np.zeros(data.shape, np.uint8)
    drawn[3, 12:18, 12:18] = 1

    def add(viewer):
        viewer.add_image(data, name="scan")
        viewer.add_labels(drawn.copy(), name="expert")

    one = correcting(add)
    mask = one.viewer.layers["expert"]
    square(one, mask, 1, 2)
    square(one, mask, 5, 2)
    one.viewer.dims.set_point(0, 2)
    steps = len(mask._undo_history)
    one.click(one.panel.tools["between"])
    assert one.status == "Slices 3 to 5 drawn between 2 and 6; one undo takes them back. Kept as they were: 4."
    assert np.array_equal(mask.data[3], drawn[3])
    for n in (2, 4):  # half way between a square at 2 and one at 12
        rows, columns = np.nonzero(mask.data[n])
        assert abs(rows.mean() - 9.5) < 1
        assert abs(columns.mean() - 9.5) < 1
    assert len(mask._undo_history) == steps + 1
    one.click(one.panel.tools["between"])
    assert one.status.startswith("There is no slice to fill between")


def test_fill_between_replaces_what_the_network_drew(correcting):
    data = volume(6)
    one = correcting(lambda viewer: viewer.add_image(data, name="scan"))
    segment(one)
    mask = one.viewer.layers[-1]
    for n in (1, 4):
        mask.data_setitem(np.nonzero(mask.data * (np.arange(6) == n)[:, None, None]), 0)
        square(one, mask, n, 14)
    one.viewer.dims.set_point(0, 2)
    one.click(one.panel.tools["between"])
    assert one.status == "Slices 3 to 4 drawn between 2 and 5; one undo takes them back."
    for n in (2, 3):
        assert mask.data[n, 15:19, 15:19].all()
        assert not mask.data[n, :12].any()


def test_selecting_a_mask_does_not_make_it_the_one_that_is_written(correcting):
    data = volume()
    one = correcting(lambda viewer: viewer.add_image(data, name="scan"))
    segment(one)
    mask = one.viewer.layers[-1]
    other = one.viewer.add_labels(expert(data), name="expert")
    one.qtbot.wait(150)
    assert one.viewer.layers.selection.active is other
    assert one.panel.mask.value is mask
    segment(one)
    assert np.array_equal(other.data, expert(data))


def test_a_reviewed_slice_stays_when_the_view_is_rolled(correcting):
    data = volume(12, 24)
    one = correcting(lambda viewer: viewer.add_image(data, name="scan"))
    segment(one)
    mask = one.viewer.layers[-1]
    one.viewer.dims.set_point(0, 3)
    mask.data_setitem((np.full(5, 3), np.arange(5), np.full(5, 2)), 1)
    one.click(one.panel.tick)
    was = mask.data[3].copy()
    dock(one, "Segment")
    one.panel.scope.value = "all"
    for order in ((2, 0, 1), (1, 2, 0)):
        one.viewer.dims.order = order
        one.run()
        one.wait(lambda: one.widget.settled)
        assert np.array_equal(mask.data[3], was)
        one.panel.form["threshold"].value = 0.9 if one.panel.form["threshold"].value == 0.5 else 0.5
        one.wait(lambda: one.widget.settled)
        assert np.array_equal(mask.data[3], was)


def choose(one, name):
    """Choose an image, wait until the widget knows it, and return it."""
    one.panel.image.value = image = one.viewer.layers[name]
    one.wait(lambda: one.widget.session is not None and one.widget.session.case.parts[0].image is image)
    return image


def shows(layer, data):
    """Return which slices of the data napari shows of a layer."""
    return [n for n, plane in enumerate(data) if np.array_equal(layer._slice.image.raw, plane)]


OBLIQUE = np.array([[4.9, 1.1, 0, 3], [-0.3, 0.9, 0, 7], [0, 0, 1, -2], [0, 0, 0, 1]])
PLACES = {
    "mm beside um": {"scale": (5, 1, 1), "units": ("mm",) * 3},
    "moved": {"scale": (2.5, 1, 1), "translate": (-20, 3, 3)},
    "from behind": {"scale": (-3, 1, 1)},
    "oblique": {"affine": OBLIQUE},
    "turned in the plane": {"rotate": 30, "scale": (3, 1, 1)},
}


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("about", PLACES.values(), ids=PLACES)
def test_a_tick_and_a_jump_mean_the_slice_on_screen(correcting, about):
    data = volume(12, 24)
    data[:, 0, 0] = np.arange(12)
    units = {"scale": (5000, 1000, 1000), "units": ("um",) * 3} if "units" in about else {}

    def add(viewer):
        viewer.add_image(volume(4, 24), name="other", **units)
        viewer.add_image(data, name="scan", **about)
        viewer.add_labels((data > 127).astype(np.uint8), name="mask", **about)

    one = correcting(add)
    image = choose(one, "scan")
    ticked = set()
    for step in range(0, one.viewer.dims.nsteps[0], max(1, one.viewer.dims.nsteps[0] // 9)):
        one.viewer.dims.set_current_step(0, step)
        on_screen = shows(image, data)
        one.click(one.panel.tick)
        if not on_screen:
            assert "on screen" in one.status
        else:
            ticked ^= set(on_screen)
        assert set(one.widget.session.reviewed()) == ticked
    for number in (7, 2):
        one.widget.go(number)
        assert shows(image, data) == [number]


def test_a_scan_with_fewer_slices_than_the_slider_is_left_alone_beyond_its_end(correcting):
    short = volume(6)

    def add(viewer):
        viewer.add_image(volume(30), name="long")
        viewer.add_image(short, name="short")

    one = correcting(add)
    choose(one, "short")
    one.viewer.dims.set_point(0, 20)
    one.click(one.panel.tick)
    assert one.status == (
        "no slice of layer 'short' is on screen: show it in 2D and move the slider to one of its slices"
    )
    assert one.widget.session.reviewed() == []
    dock(one, "Segment")
    one.panel.image.value = one.viewer.layers["short"]
    one.panel.scope.value = "this"
    one.click(one.panel.run)
    assert not one.widget.running
    assert one.status.startswith("no slice of layer 'short' is on screen")
    one.viewer.dims.set_point(0, 4)  # the remedy
    mask = one.run()
    assert mask.data[4].any()
    assert not np.delete(mask.data, 4, 0).any()


def flat(data):
    return data.max(0)


def other_pixels(data):
    return 255 - data


def other_type(data):
    return data.astype(np.float32)


@pytest.mark.parametrize("change", [flat, other_pixels, other_type])
@pytest.mark.parametrize("where", ["Segment", CORRECT])
def test_an_image_that_is_exchanged_under_a_run_stops_it(opened, instant, change, where):
    data = volume()
    one = opened(lambda viewer: viewer.add_image(data, name="scan"), widget=where)
    one.wait(lambda: where == "Segment" or one.widget.session is not None)
    instant.gate.clear()
    one.click(one.panel.run if where == "Segment" else one.panel.segment)
    one.viewer.layers["scan"].data = change(data)
    assert not one.widget.running
    instant.gate.set()
    one.wait(lambda: where == "Segment" or one.widget.session is not None)
    one.qtbot.wait(200)
    one.wait(lambda: not one.status.startswith("Looking"))
    assert one.status.startswith("Stopped, since the pixels of layer 'scan' were replaced: 0 of 6 slices done")
    assert len(one.viewer.layers) == 1


@pytest.mark.parametrize("where", ["Segment", CORRECT])
def test_an_image_that_is_changed_in_place_under_a_run_stops_it(opened, instant, where):
    data = volume()
    one = opened(lambda viewer: viewer.add_image(data, name="scan"), widget=where)
    one.wait(lambda: where == "Segment" or one.widget.session is not None)
    instant.gate.clear()
    one.click(one.panel.run if where == "Segment" else one.panel.segment)
    one.qtbot.wait(100)
    data[...] = 255 - data
    instant.gate.set()
    one.wait(lambda: not one.widget.running)
    assert one.status.startswith("layer 'scan' was changed while it was segmented: segment it again")


@pytest.mark.parametrize("where", ["Segment", CORRECT])
def test_a_mask_that_is_exchanged_under_a_run_stops_it(opened, instant, where):
    data = volume()
    one = opened(lambda viewer: viewer.add_image(data, name="scan"), widget=where)
    one.wait(lambda: where == "Segment" or one.widget.session is not None)
    button = one.panel.run if where == "Segment" else one.panel.segment
    one.click(button)
    one.wait(lambda: not one.widget.running)
    mask = one.viewer.layers[-1]
    instant.gate.clear()
    one.click(button)
    mask.data = np.ones((2, 8, 8), np.uint8)
    instant.gate.set()
    one.qtbot.wait(300)
    one.wait(lambda: not one.widget.running)
    assert (mask.data == 1).all()


def saved(mask, path):
    data, about, _ = mask.as_layer_data_tuple()
    write_labels(str(path), data, about)
    import nibabel

    return int(np.count_nonzero(np.asarray(nibabel.load(path).dataobj)))


def test_a_mask_of_0_and_255_is_one_label(correcting, tmp_path):
    data = volume()

    def add(viewer):
        viewer.add_image(data, name="scan")
        viewer.add_labels(expert(data) * np.uint8(255), name="expert")

    one = correcting(add)
    mask = one.viewer.layers["expert"]
    assert np.array_equal(mask.data, expert(data) * 255), "nothing is changed by opening the widget"
    assert saved(mask, tmp_path / "opened.nii.gz") == 192
    one.viewer.dims.set_point(0, 2)
    one.click(one.panel.tick)
    assert np.array_equal(mask.data, expert(data))
    assert saved(mask, tmp_path / "ticked.nii.gz") == 192
    one.widget._desk.watch.flush()
    store = Store(registry.data_dir() / "corrections")
    assert store.mask(one.widget.session.case.parts[0].scan, 2).max() == 1


def test_a_stroke_on_a_mask_of_0_and_255_and_its_undo_mean_the_same(correcting):
    data = volume()

    def add(viewer):
        viewer.add_image(data, name="scan")
        viewer.add_labels(expert(data) * np.uint8(255), name="expert")

    one = correcting(add)
    mask = one.viewer.layers["expert"]
    mask.data_setitem((np.full(8, 2), np.full(8, 12), np.arange(12, 20)), 0)
    one.wait(lambda: mask.data.max() == 1)
    mask.undo()
    assert np.array_equal(mask.data, expert(data))


def test_a_mask_of_0_and_255_that_takes_the_place_of_another_is_never_emptied(correcting, tmp_path):
    data = volume()

    def add(viewer):
        viewer.add_image(data, name="scan")
        viewer.add_labels(expert(data), name="expert")

    one = correcting(add)
    mask = one.viewer.layers["expert"]
    assert mask.metadata[KEY]["unsure"] == 255
    mask.data[...] *= 255
    assert saved(mask, tmp_path / "in place.nii.gz") == 192
    mask.data = expert(data) * np.uint8(255)
    assert saved(mask, tmp_path / "replaced.nii.gz") == 192
    one.viewer.dims.set_point(0, 2)
    one.click(one.panel.tick)
    assert np.array_equal(mask.data, expert(data))


def test_255_beside_several_labels_is_asked_for(correcting, tmp_path):
    data, drawn = volume(), expert(volume())
    drawn[2, 12:14] *= 2
    drawn[2, 18:] *= 255

    def add(viewer):
        viewer.add_image(data, name="scan")
        viewer.add_labels(drawn.copy(), name="expert")

    one = correcting(add)
    mask = one.viewer.layers["expert"]
    assert "255" in str(one.panel.question.text.value)
    assert saved(mask, tmp_path / "asked.nii.gz") == 192
    one.click(one.panel.question.buttons[1])
    assert np.array_equal(mask.data, np.where(drawn == 255, 3, drawn))


def test_a_mask_that_is_not_in_memory_can_be_copied(correcting):
    data = volume()
    lazy = dask.array.from_array(expert(data), chunks=(1, 24, 24))
    one = correcting(lambda viewer: viewer.add_image(data, name="scan"))
    mask = one.viewer.add_labels(lazy, name="lazy")
    one.panel.mask.value = mask
    one.wait(lambda: "not in memory" in one.status)
    one.click(one.panel.question.buttons[0])
    one.wait(lambda: one.widget.session is not None)
    copy = one.panel.mask.value
    assert isinstance(copy, Layer)
    assert isinstance(copy.data, np.ndarray)
    assert np.array_equal(copy.data, expert(data))
    assert mask.data is lazy
