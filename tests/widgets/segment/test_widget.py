"""The Segment widget, driven as a person would, with a real worker."""

import threading
import time

import dask.array
import numpy as np
import psutil
import pytest

from napari_unet_tumour.widgets.layers.image_source import KEY

TURNED = {"scale": (3, 1.5, 0.5), "translate": (-20, 7, 30), "rotate": (10, 20, 30), "shear": (0.1, 0, 0.2)}
AFFINE = np.array([[1, 0, 0.1, 5], [0.2, -1, 0, 3], [0, 0, 2, -8], [0, 0, 0, 1.0]])


def hills(mask, data):
    return np.array_equal(mask.data, data > 127)


def slow(data, seconds=0.05):
    """Return the same pixels as a lazy array whose planes take a while to read."""

    def read(block):
        time.sleep(seconds)
        return block

    return dask.array.from_array(data, chunks=(1, *data.shape[1:])).map_blocks(read, dtype=data.dtype)


@pytest.mark.parametrize("dtype", ["uint8", ">i2", "float64"])
def test_the_mask_lies_on_the_right_pixels(opened, scan, dtype):
    one = opened()
    for shape in ((64, 64), (48, 64), (5, 64, 40), (3, 4, 64, 64)):
        data = scan(*shape).astype(dtype)
        one.viewer.add_image(data)
        assert hills(one.run(), data), shape
        one.viewer.layers.clear()


def test_colours_are_seen_as_grey(opened, scan):
    grey = scan(5, 64, 64)
    mask = opened(lambda viewer: viewer.add_image(np.stack([grey] * 3, -1), rgb=True)).run()
    assert mask.ndim == 3
    assert hills(mask, grey)


def test_any_axis_may_be_the_slice_axis(opened, scan):
    one = opened()
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0)):
        data = np.ascontiguousarray(scan(40, 64, 56).transpose(np.argsort(order)))
        one.viewer.add_image(data)
        one.viewer.dims.order = order
        assert hills(one.run(), data), order
        assert one.status.startswith("40 slices in ")
        one.viewer.layers.clear()


def test_a_lazy_stack_is_read_in_the_background(opened, scan):
    data, readers = scan(6, 64, 64), set()

    def read(block):
        readers.add(threading.current_thread())
        return block

    lazy = dask.array.from_array(data, chunks=(1, 64, 64)).map_blocks(read, dtype=data.dtype, meta=data[:0])
    one = opened(lambda viewer: viewer.add_image(lazy, contrast_limits=(0, 255)))
    readers.clear()
    assert hills(one.run(), data)
    assert threading.main_thread() not in readers


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_the_mask_lies_where_the_image_lies(opened, scan):
    names = {"units": ("mm", "um", "um"), "axis_labels": ("head", "back", "left")}
    one = opened(lambda viewer: viewer.add_image(scan(5, 64, 64), affine=AFFINE, **TURNED, **names))
    image, mask = one.viewer.layers[0], one.run()
    for index in np.ndindex(2, 2, 2):
        assert np.allclose(mask.data_to_world(np.array(index) * 4), image.data_to_world(np.array(index) * 4))
    for name in ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels"):
        assert np.all(np.asarray(getattr(mask, name)) == np.asarray(getattr(image, name))), name


def test_channels_on_the_first_axis_are_one_input(opened, scan, models):
    data = np.stack([scan(5, 64, 64), *np.zeros((3, 5, 64, 64), np.uint8)])
    one = opened(lambda viewer: viewer.add_image(data, scale=(1, 3, 2, 2), translate=(0, 5, 6, 7), channel_axis=None))
    one.widget.choose_model(str(models / "four.safetensors"))
    mask = one.run()
    assert hills(mask, data[0])
    assert mask.scale.tolist() == [3, 2, 2]
    assert mask.translate.tolist() == [5, 6, 7]


def test_the_slice_on_screen_comes_first_then_its_neighbours(opened, scan):
    def add(viewer):
        viewer.add_image(scan(30, 64, 64))
        viewer.dims.set_point(0, 20)

    steps = list(opened(add).run()._undo_history)
    order = [int(atoms[0][0][0][0]) for atoms in steps]
    assert sorted(order) == list(range(30))
    assert order[0] == 20
    assert set(order[:9]) == set(range(16, 25))


def test_the_planes_near_the_slider_come_next_when_it_moves(opened, scan):
    def add(viewer):
        viewer.add_image(slow(scan(60, 64, 64), 0.01), contrast_limits=(0, 255))
        viewer.dims.set_point(0, 0)

    one = opened(add)
    one.click(one.panel.run)
    one.wait(lambda: len(one.viewer.layers) == 2)
    one.viewer.dims.set_point(0, 59)
    one.wait(lambda: not one.widget.running)
    order = [int(atoms[0][0][0][0]) for atoms in one.viewer.layers[-1]._undo_history]
    assert order.index(59) < 50


@pytest.mark.parametrize("scope", ["this", "view"])
def test_only_this_slice_or_region(opened, scan, scope):
    data = scan(5, 64, 64)

    def add(viewer):
        viewer.add_image(data)
        viewer.dims.set_point(0, 3)

    one = opened(add, show=True)
    if scope == "view":
        camera = getattr(one.viewer, "scene", one.viewer).camera  # before napari 0.9 it was the viewer's own
        camera.center, camera.zoom = (0, 20, 32), 40
        one.qtbot.wait(100)
    one.panel.scope.value = scope
    mask = one.run().data
    assert mask[3].any()
    assert not np.delete(mask, 3, 0).any()
    wanted = data[3] > 127
    if scope == "view":
        (r0, c0), (r1, c1) = one.viewer.layers[0].corner_pixels[:, 1:]
        assert 0 < r1 - r0 < 63
        wanted[:r0], wanted[r1 + 1 :], wanted[:, :c0], wanted[:, c1 + 1 :] = 0, 0, 0, 0
        inside = (slice(r0 + 1, r1), slice(c0 + 1, c1))
        assert (mask[3][inside] == wanted[inside]).mean() > 0.95
        assert not mask[3][:r0].any()
    else:
        assert np.array_equal(mask[3], wanted)


def test_a_second_run_updates_its_own_layer_and_no_other(opened, scan):
    data = scan(5, 64, 64)
    one = opened(lambda viewer: viewer.add_image(data, name="scan"))
    mine = one.viewer.add_labels(np.full(data.shape, 3), name="scan mask")
    mask = one.run()
    backup = one.viewer.layers[one.viewer.layers.index(mask)].as_layer_data_tuple()
    copy = one.viewer._add_layer_from_data(*backup)[0]
    mask.data[:] = 0
    count = len(one.viewer.layers)
    one.viewer.layers.selection.active = one.viewer.layers["scan"]
    one.run()
    assert len(one.viewer.layers) == count
    assert hills(mask, data)
    assert (mine.data == 3).all()
    assert hills(copy, data)


def test_the_metadata_says_what_made_the_mask(opened, scan):
    one = opened(lambda viewer: viewer.add_image(scan(64, 64), name="scan"))
    note = one.run().metadata[KEY]
    assert note["model"] == "known"
    assert len(note["hash"]) == 12
    assert note["settings"]["threshold"] == 0.5
    assert note["version"]
    assert note["slices"] == [0]


def test_each_slice_is_one_undo_step(opened, scan):
    data = scan(7, 64, 64)
    data[3] = 0
    mask = opened(lambda viewer: viewer.add_image(data)).run()
    assert len(mask._undo_history) == 6
    changed = mask.data.copy()
    mask.undo()
    assert [int((mask.data[n] != changed[n]).any()) for n in range(7)].count(1) == 1
    for _ in range(5):
        mask.undo()
    assert not mask.data.any()
    for _ in range(6):
        mask.redo()
    assert hills(mask, data)


@pytest.mark.slow
def test_many_slices_leave_the_persons_own_strokes_within_undo(opened, scan):
    data = scan(150, 64, 64)
    one = opened(lambda viewer: viewer.add_image(data))
    one.panel.scope.value = "this"
    mask = one.run()
    mask.data_setitem((np.array([9]), np.array([1]), np.array([1])), 1)
    one.panel.scope.value = "all"
    one.run()
    while mask._undo_history:
        mask.undo()
    assert not mask.data.any()


def test_cancel_is_felt_at_once_and_keeps_what_was_there(opened, scan):
    data = scan(40, 64, 64)
    one = opened(lambda viewer: viewer.add_image(slow(data), contrast_limits=(0, 255)))
    mask_was = None
    one.click(one.panel.run)
    assert one.panel.run.text == "Cancel"
    one.wait(lambda: len(one.viewer.layers) == 2 and len(one.viewer.layers[-1]._undo_history) > 3)
    start = time.perf_counter()
    one.click(one.panel.run)
    one.wait(lambda: not one.widget.running)
    assert time.perf_counter() - start < 0.5
    mask = one.viewer.layers[-1]
    done = len(mask._undo_history)
    assert one.status == f"Cancelled: {done} of 40 slices done"
    mask_was = mask.data.copy()
    one.qtbot.wait(600)
    assert np.array_equal(mask.data, mask_was), "slices still arrive"
    assert one.panel.run.text == "Run"
    assert len(mask.metadata[KEY]["slices"]) == done
    one.panel.scope.value = "this"
    one.run()
    assert one.status.startswith("1 slice in ")


@pytest.mark.parametrize("which", [0, 1], ids=["image", "mask"])
def test_removing_a_layer_stops_the_run(opened, scan, which):
    one = opened(lambda viewer: viewer.add_image(slow(scan(40, 64, 64)), contrast_limits=(0, 255)))
    one.click(one.panel.run)
    one.wait(lambda: len(one.viewer.layers) == 2)
    one.viewer.layers.pop(which)
    assert not one.widget.running
    assert one.status.startswith("Stopped, since the layer was removed: ")
    one.qtbot.wait(300)
    assert len(one.viewer.layers) == 1


def test_moving_and_rolling_the_view_does_no_harm(opened, scan):
    data = scan(40, 64, 64)
    one = opened(lambda viewer: viewer.add_image(slow(data, 0.02), contrast_limits=(0, 255)))
    one.click(one.panel.run)
    one.wait(lambda: len(one.viewer.layers) == 2)
    for order, ndisplay in (((1, 0, 2), 2), ((2, 1, 0), 2), ((0, 1, 2), 3), ((0, 1, 2), 2)):
        one.viewer.dims.order = order
        one.viewer.dims.ndisplay = ndisplay
        one.viewer.dims.set_point(order[0], 30)
        one.qtbot.wait(100)
    one.wait(lambda: not one.widget.running)
    assert hills(one.viewer.layers[-1], data)


def test_closing_the_widget_stops_the_run_and_opening_it_again_works(opened, scan):
    data = scan(40, 64, 64)
    one = opened(lambda viewer: viewer.add_image(slow(data), contrast_limits=(0, 255)))
    one.click(one.panel.run)
    one.wait(lambda: len(one.viewer.layers) == 2)
    mask = one.viewer.layers[-1]
    one.close()
    was = mask.data.copy()
    one.qtbot.wait(300)
    assert np.array_equal(mask.data, was)
    assert not np.array_equal(was, data > 127)
    assert not [key for key in one.viewer.keymap if "S" in str(key)]
    _, again = one.viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Segment")
    one.widget, one.panel = again, again._panel
    assert hills(one.run(), data)
    assert len(one.viewer.layers) == 2


def test_closing_the_widget_with_a_threshold_on_trial_leaves_the_mask_as_it_was(opened, scan):
    one = opened(lambda viewer: viewer.add_image(scan(6, 64, 64), contrast_limits=(0, 255)))
    mask = one.run()
    was = mask.data.copy()
    one.panel.form["threshold"].value = 0.95
    assert not np.array_equal(mask.data, was), "the slice on screen shows it"
    one.close()
    one.qtbot.wait(300)
    assert np.array_equal(mask.data, was)


def test_closing_the_window_stops_the_run(opened, scan):
    one = opened(lambda viewer: viewer.add_image(slow(scan(40, 64, 64)), contrast_limits=(0, 255)))
    one.click(one.panel.run)
    one.wait(lambda: len(one.viewer.layers) == 2)
    run = one.widget._going.run
    one.viewer.close()
    one.qtbot.wait(300)
    assert run._stop.is_set()
    assert not [thread for thread in threading.enumerate() if "feeder" in thread.name]


def test_a_window_that_was_closed_does_not_hear_of_new_defaults(opened):
    from napari_unet_tumour.models import registry
    from napari_unet_tumour.widgets.common.settings_form import registry_events

    one = opened()
    entry = one.panel.model.value or registry.entries()[0]
    one.viewer.close()
    one.qtbot.wait(300)
    registry_events.chosen.emit(entry)


def kill_worker():
    workers = [child for child in psutil.Process().children() if "worker.boot" in " ".join(child.cmdline())]
    assert workers
    for worker in workers:
        worker.kill()


def test_a_killed_worker_is_one_clear_line_and_the_next_run_works(opened, scan, models):
    data = scan(40, 64, 64)
    one = opened(lambda viewer: viewer.add_image(data))
    known = one.panel.model.value
    one.widget.choose_model(str(models / "slow.safetensors"))
    for _ in range(3):  # a kill between two chunks costs nothing: the next one is sent again
        one.click(one.panel.run)
        one.wait(lambda: one.widget._going and len(one.widget._going.done) >= 2)
        mask = one.viewer.layers[-1]
        mask.data[39] = 1
        kill_worker()
        one.wait(lambda: not one.widget.running)
        if "worker" in one.status:
            break
    assert "worker" in one.status
    assert "\n" not in one.status
    assert (mask.data[39] == 1).all()
    one.panel.model.value = known
    mask = one.run()
    assert np.array_equal(mask.data[:39], data[:39] > 127)
    assert (mask.data[39] == 1).all(), "what was filled by code is the person's"
