"""A ticked slice is carried to its neighbours, in a real window, painted and ticked as a person would."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from napari_unet_tumour.models import registry
from napari_unet_tumour.widgets.common.settings_form import remembered
from napari_unet_tumour.widgets.correct import carry_stack, messages
from napari_unet_tumour.widgets.layers.predictions import PREDICTIONS
from shared_window import make_napari_viewer, window_of_file  # noqa: F401 - these tests share a window

SIDE, COUNT, MIDDLE = 64, 12, 6


def lesion(radius=12.0, half=5.0):
    """Return the truth (N, H, W): a ball, widest in the middle."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    widths = radius * np.sqrt(np.clip(1 - ((np.arange(COUNT) - MIDDLE) / half) ** 2, 0, None))
    return np.hypot(rows - 32, columns - 32) < widths[:, None, None]


def head(texture=0):
    """Return a head (N, H, W) with a lesion of which a network that goes by brightness sees only the core."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = np.hypot(rows - 31.5, columns - 31.5) < 29
    planes = np.where(inside, 60 + texture * np.sin(rows / 2) * np.sin(columns / 2), 5)
    planes = planes + np.where(lesion(), 45, 0) + np.where(lesion(6), 80, 0)
    return np.clip(planes + rng.normal(0, 3, planes.shape), 0, 255).astype(np.uint8)


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / max(np.count_nonzero(one) + np.count_nonzero(other), 1)


@pytest.fixture
def correcting(opened, instant):
    def open_(add=lambda viewer: viewer.add_image(head(), name="head"), on=True, segment=True):
        one = opened(add, widget="Correct and fine-tune")
        one.panel.carry.value = on
        one.wait(lambda: one.widget.session is not None)
        if segment:
            one.click(one.panel.segment)
            one.wait(lambda: not one.widget.running)
            one.wait(lambda: one.widget.session.unsure.complete)
        return one

    return open_


def paint(one, n, value=1, size=24, at=(32, 32)):
    one.viewer.dims.set_point(0, n)
    mask = one.viewer.layers[-1]
    mask.brush_size = size
    mask.paint((n, *at), value)


def tick(one, n):
    one.viewer.dims.set_point(0, n)
    one.click(one.panel.tick)
    one.wait(lambda: not one.widget._carry.working)


def changed(before, after):
    return [n for n in range(len(before)) if not np.array_equal(before[n], after[n])]


def test_neighbours_follow_as_predictions(correcting):
    one = correcting()
    mask, truth = one.viewer.layers[-1], lesion()
    first = mask.data.copy()
    own = {n: PREDICTIONS[mask].planes[n].probability for n in range(COUNT)}
    paint(one, MIDDLE)
    drawn, steps = mask.data[MIDDLE].copy(), len(mask._undo_history)
    tick(one, MIDDLE)
    followers = [4, 5, 7, 8]
    assert changed(first, mask.data) == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert np.array_equal(mask.data[MIDDLE], drawn)
    for n in followers:
        assert dice(mask.data[n] > 0, truth[n]) > dice(first[n] > 0, truth[n]) + 0.15
    for n in (2, 3, 9, 10):  # the network's outline is too small everywhere
        assert dice(mask.data[n] > 0, truth[n]) > dice(first[n] > 0, truth[n]) + 0.05
    assert one.status.endswith("4 slices follow this correction, 4 more are outlined like it.")
    assert one.status.startswith(f"Slice {MIDDLE + 1}: reviewed")
    assert len(mask._undo_history) == steps + 8, "one undo step per slice"
    one.widget._desk.watch.flush()
    names = [state.name for state in one.widget.session.states()]
    assert [names[n] for n in (2, 3, *followers, 9, 10)] == ["predicted"] * 8
    assert all(PREDICTIONS[mask].own(n).probability is own[n] for n in range(COUNT)), "the network's own is kept"

    after = mask.data.copy()
    mask.undo()
    [back] = changed(after, mask.data)
    assert np.array_equal(mask.data[back], first[back])
    tick(one, 0)  # what was undone stays undone
    assert np.array_equal(mask.data[back], first[back])
    mask.redo()

    settings = one.widget._choice.segmenting()
    shown = {n: PREDICTIONS[mask].planes[n] for n in followers}
    stricter = replace(settings, threshold=0.95)
    one.widget._masks.move(one.viewer.layers[0], stricter, at_once=True)
    one.wait(lambda: not one.widget._masks.deciding)
    for n in followers:
        assert np.array_equal(mask.data[n], shown[n].decided(stricter)), "the threshold works on it"
    assert np.array_equal(mask.data[MIDDLE], drawn)


def test_a_new_run_goes_beneath_what_is_carried(correcting, instant):
    one = correcting()
    mask = one.viewer.layers[-1]
    paint(one, MIDDLE)
    tick(one, MIDDLE)
    carried, steps = mask.data.copy(), len(mask._undo_history)
    one.click(one.panel.segment)
    one.wait(lambda: not one.widget.running)
    assert np.array_equal(mask.data, carried), "no slice falls back to the network's own answer"
    assert len(mask._undo_history) == steps
    own = {n: PREDICTIONS[mask].own(n) for n in (4, 5, 7, 8)}
    assert not any(plane.carried for plane in own.values())

    instant.brighter_than = 255  # a network that sees nothing any more
    one.click(one.panel.segment)
    one.wait(lambda: not one.widget.running)
    assert np.array_equal(mask.data[[5, 7]], carried[[5, 7]]), "until it is carried anew"
    one.wait(lambda: not mask.data[5].any())

    one.panel.carry.value = False
    instant.brighter_than = 127
    one.click(one.panel.segment)
    one.wait(lambda: not one.widget.running)
    assert mask.data[5].any()
    assert not np.array_equal(mask.data[5], carried[5]), "without carrying it is the network's answer"


def test_reviewed_and_drawn_slices_do_not_change(correcting):
    one = correcting()
    mask = one.viewer.layers[-1]
    first = mask.data.copy()
    tick(one, 5)
    assert 5 not in changed(first, mask.data)
    paint(one, 7, size=4, at=(50, 50))
    paint(one, 8, value=0, size=60)
    assert not mask.data[8].any()
    paint(one, MIDDLE)
    kept = mask.data.copy()
    tick(one, MIDDLE)
    assert {5, 6, 7, 8}.isdisjoint(changed(kept, mask.data))
    assert 4 in changed(kept, mask.data)
    assert "this correction" in one.status


def test_a_tick_taken_back_and_a_mask_that_is_changed(correcting):
    one = correcting()
    mask = one.viewer.layers[-1]
    first = mask.data.copy()
    paint(one, MIDDLE)
    tick(one, MIDDLE)
    wide = mask.data.copy()
    tick(one, MIDDLE)
    assert changed(first, mask.data) == [MIDDLE]
    assert one.status == f"Slice {MIDDLE + 1}: no longer reviewed. 8 slices no longer follow a correction."
    paint(one, MIDDLE, value=0, size=30)
    paint(one, MIDDLE, size=16)
    tick(one, MIDDLE)
    smaller = mask.data.copy()
    assert 0 < np.count_nonzero(smaller[5]) < np.count_nonzero(wide[5])
    tick(one, MIDDLE)
    paint(one, MIDDLE)
    tick(one, MIDDLE)
    assert np.array_equal(mask.data, wide), "the answer depends on nothing that was carried earlier"


def test_a_new_run_is_carried_on(correcting, instant):
    one = correcting()
    mask = one.viewer.layers[-1]
    paint(one, MIDDLE)
    tick(one, MIDDLE)
    wide = mask.data.copy()
    instant.brighter_than = 145
    one.click(one.panel.segment)
    one.wait(lambda: not one.widget.running)
    one.wait(lambda: one.status.endswith("4 slices follow your corrections, 4 more are outlined like them."))
    for n in (5, 7):
        assert dice(mask.data[n] > 0, wide[n] > 0) > 0.9
    assert not PREDICTIONS[mask].own(5).carried
    assert PREDICTIONS[mask].planes[5].carried


def test_one_tick_switches_it_off(correcting):
    one = correcting()
    assert one.panel.carry.text == "Carry to other slices"
    assert one.panel.carry.tooltip
    one.panel.carry.value = False
    mask = one.viewer.layers[-1]
    paint(one, MIDDLE)
    before = mask.data.copy()
    tick(one, MIDDLE)
    assert np.array_equal(mask.data, before)
    assert "follow" not in one.status
    assert remembered("carry") == {"on": False}
    one.panel.carry.value = True
    one.wait(lambda: one.status.endswith("4 slices follow your corrections, 4 more are outlined like them."))
    assert remembered("carry") == {"on": True}


def test_flat_images_have_no_neighbours(correcting):
    def add(viewer):
        for n in (5, 6, 7):
            viewer.add_image(head()[n], name=f"flat {n}")

    one = correcting(add)
    before = {layer.name: np.array(layer.data) for layer in one.viewer.layers}
    one.click(one.panel.tick)
    assert not one.widget._carry.working
    assert "reviewed" in one.status
    assert "follow" not in one.status
    assert all(np.array_equal(layer.data, before[layer.name]) for layer in one.viewer.layers)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_a_hand_drawn_mask_with_two_labels_on_another_axis(correcting, models, order):
    """No network has seen the scan."""
    truth = (lesion() + lesion(6).astype(np.uint8)).transpose(np.argsort(order))
    grey = np.ascontiguousarray(head(texture=15).transpose(np.argsort(order)))

    def add(viewer):
        viewer.add_image(grey, name="head", scale=[(6, 1, 1)[axis] for axis in np.argsort(order)], units=["mm"] * 3)
        viewer.dims.order = order

    registry.import_(models / "two.safetensors")
    one = correcting(add, segment=False)
    one.panel.model.value = next(entry for entry in one.panel.model.choices if entry.name == "two")
    one.widget.go(MIDDLE)
    one.click(one.panel.tick)  # makes the mask
    one.click(one.panel.tick)
    mask = one.viewer.layers[-1]
    at = (slice(None),) * order[0] + (MIDDLE,)
    mask.data_setitem(
        np.nonzero(
            (np.arange(COUNT) == MIDDLE).reshape([-1 if axis == order[0] else 1 for axis in range(3)]) & (truth > 0)
        ),
        truth[at][truth[at] > 0],
    )
    assert np.array_equal(mask.data[at], truth[at])
    one.click(one.panel.tick)
    one.wait(lambda: not one.widget._carry.working)
    got, true = mask.data.transpose(order), truth.transpose(order)
    for n in (5, 7):
        assert dice(got[n] > 0, true[n] > 0) > 0.8
        assert dice(got[n] == 2, true[n] == 2) > 0.7
    assert not got[[0, 1, 2, 10, 11]].any()
    assert one.status.endswith("2 slices follow this correction.")


def test_stale_answers_are_dropped(correcting, monkeypatch):
    gate, entered, real = threading.Event(), threading.Event(), carry_stack.iter_following

    def slow(*args):
        entered.set()
        assert gate.wait(30)
        return real(*args)

    one = correcting()
    mask = one.viewer.layers[-1]
    monkeypatch.setattr(carry_stack, "iter_following", slow)
    paint(one, MIDDLE)
    one.click(one.panel.tick)
    one.wait(entered.is_set)
    paint(one, 5, size=4, at=(50, 50))
    one.click(one.panel.tick)  # 5 is reviewed meanwhile
    paint(one, 7, size=4, at=(50, 50))  # 7 is drawn meanwhile
    kept = mask.data.copy()
    gate.set()
    one.wait(lambda: not one.widget._carry.working)
    assert {5, 6, 7}.isdisjoint(changed(kept, mask.data))

    gate.clear()
    entered.clear()
    one.viewer.dims.set_point(0, MIDDLE)
    one.click(one.panel.tick)
    one.wait(entered.is_set)
    kept = mask.data.copy()
    one.viewer.layers.remove(one.viewer.layers[0])
    one.wait(lambda: one.widget.session is None)
    gate.set()
    one.wait(lambda: not one.widget._carry.working)
    assert np.array_equal(mask.data, kept)


def test_the_habit_brings_no_mask_where_none_is_shown(correcting):
    """A lesion that was left out because it stands alone stays out, also when the mark is taken back."""
    grey = head()
    grey[9:11] = grey[0]
    grey[10, 8:16, 28:36] = grey[3, 8:16, 28:36] = 200
    alone = (3, slice(8, 16), slice(28, 36))
    one = correcting(lambda viewer: viewer.add_image(grey, name="head"))
    mask = one.viewer.layers[-1]
    assert PREDICTIONS[mask].planes[10].probability.array().any()
    assert not mask.data[10].any()
    assert not mask.data[alone].any()
    assert mask.data[3].any()
    assert "tumour" not in messages.why(one.widget.session, 10)
    shown = np.count_nonzero(mask.data[3])
    assert f"{shown} pixels of tumour shown" in messages.why(one.widget.session, 3)
    paint(one, 2)
    paint(one, MIDDLE)
    before = mask.data.copy()
    tick(one, MIDDLE)
    assert {3, 8} <= {*changed(before, mask.data)}
    assert 2 not in changed(before, mask.data), "it is drawn"
    assert not mask.data[alone].any()
    assert not mask.data[[0, 1, 9, 10, 11]].any()
    tick(one, MIDDLE)
    assert changed(before, mask.data) == []


def test_what_the_models_file_has_done_is_not_done_again(correcting, instant):
    """Some slices were answered by what the file keeps of this scan, and the network's own answer to them is known."""
    own = np.zeros((1, SIDE, SIDE), np.uint8)
    own[0, 30:33, 30:33] = 255
    instant.more = {"recalled": [0], "plain": {0: own}}  # the first of every job
    one = correcting()
    mask = one.viewer.layers[-1]
    planes = PREDICTIONS[mask].planes
    first = mask.data.copy()
    derived = {n for n in range(COUNT) if planes[n].derived}
    assert derived
    assert all((planes[n].plain is not None) == (n in derived) for n in range(COUNT))
    assert all(np.array_equal(planes[n].plain.array(), own) for n in derived)
    paint(one, MIDDLE)
    tick(one, MIDDLE)
    assert {2, 3, 9, 10}.isdisjoint(derived & {*changed(first, mask.data)})
