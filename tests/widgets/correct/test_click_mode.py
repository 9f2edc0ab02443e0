"""Clicks on a slice: the rules without a window, then a real window driven by mouse and keys as a person would."""

import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_unet_tumour import jobs
from napari_unet_tumour.clicks.answer import INSIDE, Known, answer
from napari_unet_tumour.clicks.grey_values import guess
from napari_unet_tumour.clicks.outline import Stack, iter_outline
from napari_unet_tumour.clicks.picture import grey_of
from napari_unet_tumour.errors import WorkerError
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.runtime.clicks import ClickModel
from napari_unet_tumour.settings import Progress
from napari_unet_tumour.widgets.common.background import Background
from napari_unet_tumour.widgets.correct import click_answers
from napari_unet_tumour.widgets.correct.click_marks import Mark, MarkKind, line
from napari_unet_tumour.widgets.correct.click_mode import Held, SliceClicks, merged

SHAPE = (64, 64)
LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
NONE, ALT, SHIFT = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.AltModifier, Qt.KeyboardModifier.ShiftModifier


def square(row, column, half=4, value=1):
    """Return a mask with a square."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[row - half : row + half + 1, column - half : column + half + 1] = value
    return mask


def says(*masks):
    """Return an answer that is inside where any of the masks is."""
    return np.where(np.any(masks, axis=0), np.uint8(200), np.uint8(30))


def held(now, written=None, base=None):
    return Held(now, np.zeros(SHAPE, np.uint8) if written is None else written, base)


def begun(now=None, drawn=None, **more):
    """Return the marks of a slice that holds a mask, and what it holds."""
    now = np.zeros(SHAPE, np.uint8) if now is None else now
    what = held(now, **more)
    return SliceClicks(1, what, np.zeros(SHAPE, bool) if drawn is None else drawn), what


def click(row, column, sign=1):
    return Mark(MarkKind.CLICK, ((row, column),), sign)


def clicked(clicks, now, mark, found, apart=False):
    """Make a mark, settle its answer, and return the mask."""
    order = clicks.add(held(now), mark, apart)
    return clicks.settle(order, now, found)


# ---- the rules -------------------------------------------------------------------------------------------


def test_a_click_draws_and_the_next_one_knows_the_answer_so_far():
    clicks, what = begun()
    order = clicks.add(what, click(20, 20))
    assert (order.known.before, order.known.base, [c.sign for c in order.clicks]) == (None, None, [1])
    now = clicks.settle(order, what.now, says(square(20, 20)))
    assert np.array_equal(now, square(20, 20))
    again = clicks.add(held(now), click(24, 24, -1))
    assert np.array_equal(again.known.before, says(square(20, 20)))
    assert len(again.clicks) == 2


def test_what_a_person_edited_is_told_to_the_network_and_their_strokes_stay():
    network, drawn = square(20, 20), square(40, 20, 2)
    base = says(network)
    clicks, _ = begun(network | drawn, drawn > 0, written=network, base=base)
    order = clicks.add(held(network | drawn, network, base), click(21, 21))
    assert np.array_equal(order.known.before >= INSIDE, (network | drawn) > 0)
    now = clicks.settle(order, network | drawn, says(square(20, 20, 2)))
    assert np.array_equal(now, square(20, 20, 2) | drawn), "the network's pixels go, the person's stay"

    scratched = now.copy()
    scratched[20, 20] = 0
    order = clicks.add(held(scratched, network, base), click(30, 20))
    now = clicks.settle(order, scratched, says(square(25, 20, 8)))
    assert not now[20, 20], "erased by hand"
    order = clicks.add(held(now, network, base), click(20, 20))
    assert clicks.settle(order, now, says(square(25, 20, 8)))[20, 20], "until the person clicks there"


def test_a_click_that_removes_a_stroke_gives_it_up():
    drawn = square(20, 20) | square(50, 50)
    clicks, _ = begun(drawn, drawn > 0)
    now = clicked(clicks, drawn, click(20, 20, -1), says())
    assert np.array_equal(now, square(50, 50))


def test_other_labels_and_unsure_pixels_stay():
    mask = square(20, 20, value=2) | square(20, 30, value=255)
    new = merged(mask, says(square(20, 25, 9)), 1, np.zeros(SHAPE, bool))
    assert np.array_equal(new[mask > 0], mask[mask > 0])
    assert (new == 1).sum() == 19 * 19 - (mask[11:30, 16:35] > 0).sum()


def test_lesions_are_independent():
    clicks, what = begun()
    now = clicked(clicks, what.now, click(10, 10), says(square(10, 10)))
    order = clicks.add(held(now), click(50, 50))
    assert [mark.lesion for mark in order.own] == [1]
    now = clicks.settle(order, now, says(square(50, 50)))
    assert np.array_equal(now, square(10, 10) | square(50, 50)), "the first one is as it was"
    order = clicks.add(held(now), click(14, 18))
    assert [mark.lesion for mark in order.own] == [0, 0], "near the first one"
    clicks.settle(order, now, says(square(10, 10)))
    order = clicks.add(held(now), click(15, 16), apart=True)
    assert [mark.lesion for mark in order.own] == [2]


def test_a_click_before_the_last_answer_asks_for_both():
    clicks, what = begun()
    first = clicks.add(what, click(10, 10))
    second = clicks.add(what, click(50, 50))
    assert clicks.pending is second is not first
    assert len(second.own) == 2
    now = clicks.settle(second, what.now, says(square(10, 10), square(50, 50)))
    assert np.array_equal(now, square(10, 10) | square(50, 50))


def test_what_is_drawn_while_the_answer_is_on_its_way_stays():
    clicks, what = begun()
    order = clicks.add(what, click(20, 20))
    painted = square(21, 21, 1, value=3)
    now = clicks.settle(order, painted, says(square(20, 20)))
    assert np.array_equal(now == 3, painted == 3)
    order = clicks.add(held(now), click(22, 22))
    assert np.array_equal(clicks.settle(order, now, says()) == 3, painted == 3)


def test_undo_and_redo_take_marks_along():
    clicks, what = begun()
    one = clicked(clicks, what.now, click(20, 20), says(square(20, 20)))
    two = clicked(clicks, one, click(25, 25), says(square(22, 22, 7)))
    assert clicks.follow(one)
    assert len(clicks.marks) == 1
    assert clicks.follow(two)
    assert len(clicks.marks) == 2
    assert clicks.follow(what.now)
    assert clicks.marks == ()
    three = clicked(clicks, what.now, click(40, 40), says(square(40, 40)))
    assert not clicks.follow(two), "a new click has taken the place of what was undone"
    assert np.array_equal(three, square(40, 40))


def test_a_mark_that_is_removed_takes_its_work_along():
    clicks, what = begun()
    now = clicked(clicks, what.now, click(10, 10), says(square(10, 10)))
    now = clicked(clicks, now, click(50, 50), says(square(50, 50)))
    order = clicks.remove(held(now), clicks.marks[0])
    assert order.own == ()
    now = clicks.settle(order, now, None)
    assert np.array_equal(now, square(50, 50))
    now = clicked(clicks, now, click(53, 53), says(square(50, 50, 9)))
    order = clicks.remove(held(now), clicks.marks[1])
    assert [c.row for c in order.clicks] == [50]
    assert order.known.before is None, "answered as if it had never been made"
    assert np.array_equal(clicks.settle(order, now, says(square(50, 50))), square(50, 50))


def test_strokes_come_back_with_the_click_that_removed_them():
    drawn = square(20, 20)
    clicks, _ = begun(drawn, drawn > 0)
    now = clicked(clicks, drawn, click(20, 20, -1), says())
    assert not now.any()
    now = clicks.settle(clicks.remove(held(now), clicks.marks[0]), now, None)
    assert np.array_equal(now, drawn)
    now = clicked(clicks, now, click(40, 40), says(square(40, 40)))
    assert np.array_equal(now, drawn | square(40, 40))


def test_of_clicks_on_one_pixel_the_last_one_counts():
    clicks, what = begun()
    now = clicked(clicks, what.now, click(20, 20), says(square(20, 20)))
    order = clicks.add(held(now), click(20, 20, -1))
    assert [c.sign for c in order.clicks] == [-1]


def test_boxes_and_scribbles_are_told_as_such():
    clicks, what = begun()
    order = clicks.add(what, Mark(MarkKind.BOX, ((30, 40), (10, 20))))
    assert order.clicks == []
    assert np.array_equal(np.argwhere(order.known.region)[[0, -1]], [[10, 20], [30, 40]])
    stroke = Mark(MarkKind.SCRIBBLE, tuple(line((12, 22), (20, 26))), -1)
    order = clicks.add(what, stroke)
    assert [mark.lesion for mark in order.own] == [0, 0]
    assert set(np.unique(order.known.scribble)) == {-1, 0}
    assert (order.known.scribble == -1).sum() == 9


def test_two_hundred_clicks_are_quick():
    clicks, now = begun()[0], np.zeros(SHAPE, np.uint8)
    for n in range(200):
        now = clicked(clicks, now, click(n // 20 * 3, n % 20 * 3, 1 - 2 * (n % 2)), says(square(20, 20, n % 9)))
    assert len(clicks.marks) == 200
    now = clicks.settle(clicks.remove(held(now), clicks.marks[-1]), now, says(square(20, 20)))
    assert len(clicks.marks) == 199


# ---- who answers -----------------------------------------------------------------------------------------


class Worker:
    """Answers clicks by grey values in place of the network, on a thread; `gate` may hold answers back."""

    def __init__(self):
        self.gate, self.error, self.asked = threading.Event(), None, []
        self.gate.set()

    def submit(self, name, *args, on_event, **options):
        gone = threading.Event()
        threading.Thread(target=self._work, args=(name, args, on_event, gone), daemon=True).start()
        return SimpleNamespace(cancel=gone.set, started=False)

    def _work(self, name, args, on_event, gone):
        if name not in ("click", "outline"):
            on_event(jobs.Done("nothing"))
            return
        _, planes, *rest = args
        if name == "click" and rest[1] is not None:
            self.asked.append(args)
        self.gate.wait(20)
        if gone.is_set():
            on_event(jobs.Cancelled())
        elif self.error is not None:
            on_event(jobs.Failed(self.error))
        elif name == "click":
            on_event(jobs.Done(answer(guess, grey_of(planes), *rest)))
        else:
            self._outline(planes, *rest, on_event, gone)

    def _outline(self, planes, start, clicks, bases, known, spacing, corrected, on_event, gone):
        stack = Stack(lambda n: grey_of(planes[n]), len(planes), spacing, corrected)
        for n, one in iter_outline(
            guess, stack, start, clicks, lambda n: known if n == start else Known(base=bases[n])
        ):
            if gone.is_set():
                break
            on_event(jobs.ProgressEvent(Progress(1, 2, "", {"plane": n, "answer": one})))
            self.gate.wait(20)
        on_event(jobs.Cancelled() if gone.is_set() else jobs.Done({}))


SPEC = ModelSpec("one", "unet", clicks={"widths": [4]})


def question(models, clicks=None, **more):
    spec = SimpleNamespace(clicks=models, in_channels=1, channels=("grey",))
    entry = SimpleNamespace(spec=spec, name="one", hash="1", path=Path("one.safetensors"))
    order = begun()[0].add(begun()[1], click(20, 20))
    given = {"read": lambda: ball()[4:5]} | more
    return click_answers.ClickQuestion(entry, "", clicks=order.clicks, known=order.known, **given)


@pytest.fixture
def ask(monkeypatch, qapp):
    """Ask a question and return the reply."""
    worker = Worker()
    monkeypatch.setattr(jobs, "submit", worker.submit)
    monkeypatch.setattr(click_answers, "check_model", lambda entry: None)
    monkeypatch.setattr(click_answers.here, "open_file", lambda path: None)

    def ask_(*given, **more):
        replies, told, done = [], [], threading.Event()
        background = Background(lambda call: call())
        background.start(
            partial(click_answers.ClickAnswers().reply, question(*given, **more)),
            lambda reply: (replies.append(reply), done.set()), told.append, told.append,
        )  # fmt: skip
        assert done.wait(20)
        return replies[0], told

    ask_.worker = worker
    return ask_


def test_a_model_without_a_click_network_says_so(ask):
    reply, _ = ask({})
    assert reply.note == "The model one takes no clicks: grey values answer."
    assert reply.answer[20, 20] >= INSIDE
    assert not ask.worker.asked


def test_the_worker_answers(ask):
    reply, _ = ask({"filters": [4]})
    assert reply.note == ""
    assert reply.answer.shape == SHAPE
    assert len(ask.worker.asked) == 1


def test_the_network_answers_here_whatever_the_worker_does(ask, monkeypatch):
    monkeypatch.setattr(click_answers.here, "open_file", lambda path: ClickModel(SPEC, guess))
    reply, _ = ask({"filters": [4]}, busy="The network is learning")
    assert reply.note == ""
    assert reply.answer[20, 20] >= INSIDE
    assert not ask.worker.asked


def test_a_model_file_that_is_gone_is_said_and_grey_values_answer(ask, monkeypatch):
    monkeypatch.undo()
    reply, _ = ask({"filters": [4]})
    assert reply.note.startswith("one.safetensors")
    assert reply.note.endswith(": grey values answer.")
    assert reply.answer[20, 20] >= INSIDE


def test_grey_values_answer_while_the_network_is_busy_gone_or_slow(ask, monkeypatch):
    reply, _ = ask({"filters": [4]}, busy="The network is learning")
    assert reply.note == "The network is learning: grey values answer until then."
    assert not ask.worker.asked
    ask.worker.error = WorkerError("The worker was stopped")
    reply, _ = ask({"filters": [4]})
    assert reply.note == "The worker was stopped: grey values answer."
    assert reply.answer[20, 20] >= INSIDE
    ask.worker.gate.clear()
    monkeypatch.setattr(click_answers, "PATIENCE_S", 0.3)
    monkeypatch.setattr(click_answers, "SLOW_S", 0.1)
    reply, told = ask({"filters": [4]})
    assert reply.note == "The network does not answer in time: grey values answer."
    assert reply.answer is not None
    assert told == ["Waiting for the network…"]
    ask.worker.gate.set()


def test_a_slice_that_cannot_be_read_is_one_line(ask):
    def read():
        raise OSError("disk\nfull")

    reply, _ = ask({"filters": [4]}, read=read)
    assert reply.answer is None
    assert reply.note == "The slice cannot be read (disk): check the scan's file."


# ---- the window ------------------------------------------------------------------------------------------


def ball(count=9, side=64, middle=4):
    """Return a volume (N, H, W) with a bright ball in its middle and a small one in a corner."""
    slices, rows, columns = np.ogrid[:count, :side, :side]
    inside = ((slices - middle) / 3.5) ** 2 + ((rows - 24) / 9) ** 2 + ((columns - 30) / 9) ** 2 <= 1
    other = (abs(slices - middle) < 2) & (np.hypot(rows - 54, columns - 54) <= 4)
    noise = np.random.default_rng(0).integers(40, 60, (count, side, side))
    return np.where(inside | other, noise + 140, noise).astype(np.uint8)


@pytest.fixture
def worker(monkeypatch):
    one = Worker()
    monkeypatch.setattr(jobs, "submit", one.submit)
    return one


@pytest.fixture
def clicking(opened, home, save_known, worker, qtbot):
    """Open a viewer with a scan and the widget, with a model that takes clicks, and begin Click mode by its key."""

    def open_(add=lambda viewer: viewer.add_image(ball(), name="scan"), at=4, on=True):
        save_known(home / "models" / "known.safetensors", clicks={"filters": [4]})
        one = opened(add, widget="Correct and fine-tune", show=True)
        one.wait(lambda: one.widget.session is not None)
        one.canvas = one.viewer.window._qt_viewer.canvas.native
        one.worker, one.mode = worker, one.widget._click
        one.widget.go(at)
        if on:
            key(one, Qt.Key.Key_C)
            assert one.mode.on, one.status
        return one

    return open_


def mask_of(one):
    return one.widget.session.case.parts[0].mask


def point(one, index, layer=None):
    """Return where an index of a layer lies on the canvas."""
    world = (layer or mask_of(one)).data_to_world(index)
    camera = getattr(one.viewer, "scene", one.viewer).camera
    shown = [world[axis - one.viewer.dims.ndim] for axis in one.viewer.dims.order[-2:]]
    down, across = (np.array(shown) - np.array(camera.center)[-2:]) * camera.zoom
    return QPoint(round(one.canvas.width() / 2 + across), round(one.canvas.height() / 2 + down))


def key(one, code, keys=NONE):
    """Press a key over the canvas."""
    for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
        QApplication.sendEvent(one.canvas, QKeyEvent(kind, code, keys))


def press(one, *index, button=LEFT, keys=NONE, wait=True):
    QTest.mouseClick(one.canvas, button, keys, point(one, index))
    if wait:
        answered(one)


def drag(one, start, end, button=LEFT):
    QTest.mousePress(one.canvas, button, NONE, point(one, start))
    for part in np.linspace(0, 1, 5):
        QTest.mouseMove(one.canvas, point(one, np.array(start) * (1 - part) + np.array(end) * part))
        one.qtbot.wait(5)
    QTest.mouseRelease(one.canvas, button, NONE, point(one, end))
    answered(one)


def answered(one):
    one.wait(lambda: all(clicks.pending is None for _, clicks in one.mode._slices.values()))


def markers(one):
    return next((layer for layer in one.viewer.layers if layer.name == "clicks"), None)


def marks(one):
    return [mark for _, clicks in one.mode._slices.values() for mark in clicks.marks]


def dice(mask, truth):
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())


def test_clicks_in_the_window(clicking):
    data = ball()

    def add(viewer):
        viewer.add_image(data, name="scan", scale=(3, 0.8, 0.5), translate=(-7, 20, 11))

    one = clicking(add)
    mask, zoom = mask_of(one), getattr(one.viewer, "scene", one.viewer).camera.zoom
    assert not mask.data.any()
    press(one, 4, 24, 30)
    assert dice(mask.data[4] > 0, (data[4] > 150) & (np.arange(64)[:, None] < 40)) > 0.6
    assert (markers(one).data.tolist(), len(mask._undo_history)) == ([[4, 24, 30]], 1)
    assert not mask.data[:4].any()
    assert "1 click" in one.status
    press(one, 4, 54, 54)
    assert mask.data[4, 54, 54] == 1
    assert [mark.lesion for mark in marks(one)] == [0, 1]
    press(one, 4, 20, 26, button=RIGHT)
    press(one, 4, 28, 34, keys=ALT)
    assert [mark.sign for mark in marks(one)] == [1, 1, -1, -1]
    assert not mask.data[4, 20, 26]
    assert not mask.data[4, 28, 34]
    assert mask.data[4, 54, 54]
    before = mask.data.copy()
    one.viewer.window._qt_viewer.setFocus()
    key(one, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert (len(marks(one)), len(markers(one).data)) == (3, 3), "undo takes the click along"
    mask.redo()
    assert len(marks(one)) == 4
    assert np.array_equal(mask.data, before)
    assert getattr(one.viewer, "scene", one.viewer).camera.zoom == zoom

    # The pointer is on the last one.
    key(one, Qt.Key.Key_Delete)
    answered(one)
    assert [mark.sign for mark in marks(one)] == [1, 1, -1]
    QTest.mouseMove(one.canvas, point(one, (4, 54, 54)))
    one.qtbot.wait(20)
    key(one, Qt.Key.Key_Backspace)
    answered(one)
    assert not mask.data[4, 50:, 50:].any()
    key(one, Qt.Key.Key_Escape)
    assert not one.mode.on
    assert not one.panel.click.native.isChecked()
    assert markers(one) is None
    kept = mask.data.copy()
    press(one, 4, 24, 30, wait=False)
    assert np.array_equal(mask.data, kept)
    one.click(one.panel.click)
    assert len(markers(one).data) == 2, "the marks are still known"
    one.close()
    assert markers(one) is None


def test_boxes_scribbles_and_a_second_click_soon_after(clicking):
    one = clicking()
    center = tuple(getattr(one.viewer, "scene", one.viewer).camera.center)
    drag(one, (4, 13, 19), (4, 35, 41))
    assert mask_of(one).data[4, 24, 30]
    assert len(markers(one).data) == 8
    one.panel.hint.value = True
    drag(one, (4, 15, 30), (4, 33, 30), button=RIGHT)
    assert [mark.kind for mark in marks(one)] == [MarkKind.BOX, MarkKind.SCRIBBLE]
    assert not mask_of(one).data[4, 16:32, 30].any()
    press(one, 4, 54, 54)
    QTest.mouseDClick(one.canvas, LEFT, NONE, point(one, (4, 52, 53)))
    answered(one)
    assert len(marks(one)) >= 4
    assert tuple(getattr(one.viewer, "scene", one.viewer).camera.center) == center


def test_a_newer_click_drops_the_stale_answer(clicking):
    one = clicking()
    one.worker.gate.clear()
    press(one, 4, 24, 30, wait=False)
    press(one, 4, 54, 54, wait=False)
    assert len(markers(one).data) == 2, "shown at once"
    one.worker.gate.set()
    answered(one)
    assert mask_of(one).data[4, 24, 30] == mask_of(one).data[4, 54, 54] == 1
    assert len(mask_of(one)._undo_history) == 1
    one.worker.gate.clear()
    press(one, 4, 10, 54, wait=False)
    one.widget._desk.close("", wrong=False)
    kept = one.viewer.layers[-1].data.copy()
    one.worker.gate.set()
    one.qtbot.wait(200)
    assert np.array_equal(one.viewer.layers[-1].data, kept), "the case is gone"
    assert not one.mode.on


def test_a_click_is_asked_first_and_drawn_once(clicking, monkeypatch):
    one = clicking()
    press(one, 4, 24, 30)
    seen = []
    ask, show = one.mode._ask, markers(one)._set_data
    monkeypatch.setattr(one.mode, "_ask", lambda *given: (seen.append("asked"), ask(*given)))
    monkeypatch.setattr(markers(one), "_set_data", lambda data: (seen.append("marker"), show(data)))
    for layer, what in ((markers(one), "marker drawn"), (mask_of(one), "mask refreshed")):
        layer.events.set_data.connect(lambda event, what=what: seen.append(what))
        layer.events.thumbnail.connect(lambda event: seen.append("thumbnail"))
    mask_of(one).events.labels_update.connect(lambda event: seen.append("answer drawn"))

    monkeypatch.setattr(one.mode._draw_soon, "start", lambda: None)  # as if the answer came at once
    press(one, 4, 54, 54)
    assert seen == ["asked", "marker", "answer drawn", "marker drawn"]
    monkeypatch.undo()


def test_another_slice_is_looked_up_once(clicking, monkeypatch):
    one = clicking()
    asked, on_screen = [], one.widget._desk.on_screen
    monkeypatch.setattr(one.widget._desk, "on_screen", lambda: (asked.append(1), on_screen())[1])
    one.widget._on_dims()
    assert len(asked) == 1


def test_a_mark_is_drawn_before_an_answer_that_takes_long(clicking):
    one = clicking()
    one.worker.gate.clear()
    drawn = []
    markers(one).events.set_data.connect(lambda event: drawn.append(len(markers(one).data)))
    press(one, 4, 24, 30, wait=False)
    assert not drawn
    one.wait(lambda: bool(drawn))
    one.worker.gate.set()
    answered(one)
    assert drawn == [1]


def test_what_a_person_drew_stays(clicking):
    def add(viewer):
        viewer.add_image(ball(), name="scan")
        drawn = np.zeros((9, 64, 64), np.uint8)
        drawn[4, 22:26, 36:44] = 2
        drawn[4, 5:9, 5:9] = 1
        viewer.add_labels(drawn, name="drawn")

    one = clicking(add)
    mask, drawn = mask_of(one), mask_of(one).data.copy()
    mask.selected_label = 1
    press(one, 4, 24, 28)
    assert np.array_equal(mask.data[drawn > 0], drawn[drawn > 0])
    press(one, 4, 24, 38)
    assert one.status == "here is label 2, which stays: choose it under Paint, or erase it first"
    assert len(marks(one)) == 1
    press(one, 4, 7, 7, button=RIGHT)
    assert not mask.data[4, 7, 7], "they have clicked there"
    mask.selected_label = 7
    press(one, 4, 54, 54)
    assert (mask.data[4] == 7).sum() > 10, "a label that the model does not know"
    assert np.array_equal(mask.data == 2, drawn == 2)
    one.click(one.panel.tick)
    assert one.widget.session.is_reviewed(4)
    press(one, 4, 54, 40)
    assert one.widget.session.is_reviewed(4)
    one.widget._desk.watch.flush()
    part = one.widget.session.case.parts[0]
    assert np.array_equal(one.widget._desk._store.masks(part.scan)[4], mask.data[4]), "journalled"

    mask.selected_label = 0
    press(one, 4, 20, 20, wait=False)
    assert one.status.startswith("the label 0 cannot be clicked")
    one.viewer.window._qt_viewer.setFocus()
    mask.mode = "paint"
    assert not one.mode.on, "a brush that is taken up ends it"


def test_clicks_that_make_no_sense_are_one_line(clicking):
    data = ball().astype(np.float32)
    data[4, 20:28, :] = np.nan
    data[5] = 0
    one = clicking(lambda viewer: viewer.add_image(data, name="scan"))
    press(one, 4, -6, 30, wait=False)
    assert one.status == "that is outside the image 'scan': click on it"
    key(one, Qt.Key.Key_Delete)
    assert one.status == "There is no click on this slice to take back"
    assert not mask_of(one).data.any()
    press(one, 4, 24, 30)
    assert mask_of(one).data[4, 24, 30] == 1, "among NaN"
    one.widget.go(5)
    press(one, 5, 24, 30)
    assert 1 <= mask_of(one).data[5].sum() <= 40, "on a blank slice"
    one.viewer.dims.ndisplay = 3
    one.mode.remove()
    assert "is on screen" in one.status


def test_without_an_image_there_is_nothing_to_click(opened, worker):
    one = opened(widget="Correct and fine-tune")
    one.click(one.panel.click)
    assert not one.widget._click.on
    assert not one.panel.click.native.isChecked()
    assert one.status == "There is no image layer: open a scan, or drag one into the window"
    one.click(one.panel.outline)
    assert one.status == "There is no image layer: open a scan, or drag one into the window"


@pytest.mark.parametrize("kind", ["flat", "rolled", "channels"])
def test_flat_images_rolled_axes_and_channels(clicking, home, save_known, opened, kind):
    data = ball()

    def add(viewer):
        if kind == "flat":
            viewer.add_image(data[4], name="scan")
        elif kind == "rolled":
            viewer.add_image(np.moveaxis(data, 0, 2), name="scan", scale=(1, 1, 2))
            viewer.dims.order = (2, 1, 0)
        else:
            for name in ("T1", "T1ce", "T2", "FLAIR"):
                viewer.add_image(data, name=name)

    one = clicking(add, at=0 if kind == "flat" else 4)
    at = {"flat": (24, 30), "rolled": (24, 30, 4), "channels": (4, 24, 30)}[kind]
    press(one, *at)
    mask = mask_of(one)
    shown = {"flat": mask.data, "rolled": mask.data[..., 4], "channels": mask.data[4]}[kind]
    assert dice(shown > 0, (data[4] > 150) & (np.arange(64)[:, None] < 40)) > 0.6
    assert mask.data.sum() == shown.sum()
    assert markers(one).data.tolist() == [list(at)]
    if kind == "flat":
        one.click(one.panel.outline)
        assert one.status == "this slice has no neighbours in space: there is nothing to outline in 3D"


# ---- outline in 3D ---------------------------------------------------------------------------------------


def outline(one):
    key(one, Qt.Key.Key_C, SHIFT)
    one.wait(lambda: not one.widget._outline.running)


def test_outline_in_3d(clicking):
    one = clicking()
    outline(one)
    assert one.status == "no lesion was clicked on this slice: press Click (C) and click it first"
    press(one, 4, 24, 30)
    mask, truth = mask_of(one), ball() > 150
    truth[:, 40:] = False
    clicked_slice = mask.data[4].copy()
    mask.data[6, 50:54, 5:9] = 1  # drawn by hand
    one.widget.go(2)
    one.click(one.panel.tick)
    one.widget.go(4)
    steps = len(mask._undo_history)
    outline(one)
    assert one.status == "2 slices outlined beside slice 5; undo takes them back one by one. " \
        "Slices that you drew or reviewed stay."  # fmt: skip
    assert len(mask._undo_history) == steps + 2
    assert all(dice(mask.data[n] > 0, truth[n]) > 0.6 for n in (3, 5))
    assert np.array_equal(mask.data[4], clicked_slice)
    assert not mask.data[2].any()
    assert mask.data[6].sum() == 16
    assert not mask.data[7:].any(), "not beyond a slice that is the person's"

    first = mask.data.copy()
    outline(one)
    assert np.array_equal(mask.data, first), "the same again, in place of the last one"
    mask.undo()
    assert sum(np.array_equal(mask.data[n], first[n]) for n in (3, 5)) == 1


def test_an_outline_can_be_cancelled_and_needs_neighbours(clicking):
    one = clicking()
    press(one, 4, 24, 30)
    one.worker.gate.clear()
    one.click(one.panel.outline)
    assert one.widget._outline.running
    one.click(one.panel.outline)
    assert one.status == "Cancelled: 0 slices outlined; undo takes them back one by one."
    one.worker.gate.set()
    one.qtbot.wait(100)
    assert mask_of(one).data.any((1, 2)).tolist().count(True) == 1
    one.worker.error = WorkerError("The worker was stopped")
    one.click(one.panel.outline)
    one.wait(lambda: not one.widget._outline.running)
    assert one.status == "The worker was stopped"
