"""Whatever is done in whichever order in the Correct panel: no pixel that a person drew or ticked changes by itself."""

import itertools
from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from qtpy.QtCore import Qt

from napari_unet_tumour.corrections import Store
from napari_unet_tumour.models import registry

CORRECT = "Correct and fine-tune"
SLICES, SIDE = 5, 16
NUMBERS = itertools.count()
slices = st.integers(0, SLICES - 1)
ORDERS = st.permutations(range(3)).map(tuple)


class Window:
    """A viewer with the panel, its mask, and which of its pixels are the person's (-1: nobody's)."""

    def __init__(self, viewer):
        self.viewer, self.widget = viewer, None
        self.drawn = np.full((SLICES, SIDE, SIDE), -1)
        self.ticked = {}

    def truth(self):
        truth = self.drawn.copy()
        for (axis, n), pixels in self.ticked.items():
            np.moveaxis(truth, axis, 0)[n] = pixels
        return truth

    def axis(self):
        """The axis that the panel counts slices along: the one that was across when it opened the scan."""
        index = self.widget.session.case.parts[0].layout.index(0)
        return next(n for n, at in enumerate(index) if not isinstance(at, slice))

    def note_ticked(self, pixels):
        """The person has changed the mask: ticked slices hold what it shows now."""
        for axis, n in self.ticked:
            self.ticked[axis, n] = np.moveaxis(pixels, axis, 0)[n].copy()


class Correcting(RuleBasedStateMachine):
    """The panel, the network's stand-in, and a second window on the same scan."""

    viewers, qtbot, instant = (), None, None

    @initialize()
    def open(self):
        self.number = next(NUMBERS)
        self.instant.brighter_than = 127
        data = np.full((SLICES, SIDE, SIDE), 40, np.uint8)
        data[:, 4:9, 4:9], data[:, 10:12, 4:9], data[0, 0, 0] = 220, 150, self.number % 100
        self.data = data
        self.windows = [Window(viewer) for viewer in self.viewers]
        for viewer in self.viewers:
            viewer.dims.order = (0, 1, 2)
        self.of(0)

    def of(self, which):
        """Open a window's panel if it is not open, and return the window."""
        one = self.windows[which]
        if "scan" not in one.viewer.layers:
            one.viewer.add_image(self.data.copy(), name="scan")
        if one.widget is None:
            one.widget = one.viewer.window.add_plugin_dock_widget("napari-unet-tumour", CORRECT)[1]
        self.wait(lambda: one.widget.session is not None)
        return one

    def wait(self, until):
        self.qtbot.waitUntil(until, timeout=150_000)

    def mask(self, one):
        return one.widget.session.case.parts[0].mask

    def click(self, button):
        self.qtbot.mouseClick(button.native, Qt.MouseButton.LeftButton)

    @rule(which=st.integers(0, 1), n=slices, row=st.integers(0, 12), value=st.sampled_from([0, 2]))
    def draw(self, which, n, row, value):
        one = self.of(which)
        mask = one.widget._desk.mask_of(one.widget.session, n)
        at = tuple(axis.ravel() for axis in np.mgrid[n : n + 1, row : row + 3, 3:7])
        if (mask.data[at] != value).any():
            mask.data_setitem(at, value)
            one.drawn[at] = value
            one.note_ticked(mask.data)

    @rule(which=st.integers(0, 1), n=slices)
    def tick(self, which, n):
        one = self.of(which)
        axis = one.axis()
        one.viewer.dims.order = (axis, *(other for other in range(3) if other != axis))
        one.viewer.dims.set_point(axis, n)
        was = one.widget.session.is_reviewed(n)
        self.click(one.widget._panel.tick)
        assert one.widget.session.is_reviewed(n) is not was
        if was:
            one.ticked.pop((axis, n))
        else:
            one.ticked[axis, n] = np.moveaxis(self.mask(one).data, axis, 0)[n].copy()

    @rule(which=st.integers(0, 1))
    def undo(self, which):
        one = self.of(which)
        mask = self.mask(one)
        if mask is None:
            return
        was = mask.data.copy()
        mask.undo()
        one.drawn[mask.data != was] = -1  # the person took it back
        one.note_ticked(mask.data)

    @rule(which=st.integers(0, 1))
    def segment(self, which):
        one = self.of(which)
        self.click(one.widget._panel.segment)
        self.wait(lambda: not one.widget.running)
        self.wait(lambda: not one.widget._masks.deciding)

    @rule(which=st.integers(0, 1), level=st.sampled_from([100, 127, 200, 255]))
    def accept(self, which, level):
        one = self.of(which)
        self.instant.brighter_than = level
        choice, session = one.widget._choice, one.widget.session
        order = SimpleNamespace(session=session, segmenting=choice.segmenting(), scheduler="")
        one.widget._on_version(order, choice.entry)
        self.wait(lambda: not one.widget.running)
        self.wait(lambda: not one.widget._masks.deciding)

    @rule(which=st.integers(0, 1), n=slices)
    def try_on_and_reject(self, which, n):
        one = self.of(which)
        part = one.widget.session.case.parts[0]
        if part.mask is not None:
            one.widget._masks.show_preview(part.mask, part.layout, n, np.ones(part.layout.plane_shape, np.uint8))
            one.widget._masks.hide_preview()

    @rule(which=st.integers(0, 1), order=ORDERS)
    def roll(self, which, order):
        self.of(which).viewer.dims.order = order

    @rule(which=st.integers(0, 1), order=ORDERS)
    def segment_in_its_own_panel(self, which, order):
        one = self.of(which)
        _, panel = one.viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Segment")
        one.viewer.dims.order = order
        panel._panel.scope.value = "all"
        self.click(panel._panel.run)
        self.wait(lambda: panel.settled)
        one.viewer.window.remove_dock_widget(panel.native)
        one.viewer.dims.order = (0, 1, 2)

    @rule(which=st.integers(0, 1))
    def close_and_reopen(self, which):
        one = self.of(which)
        one.viewer.window.remove_dock_widget(one.widget.native)
        one.viewer.dims.order = (0, 1, 2)
        one.widget = None
        self.of(which)

    @invariant()
    def nothing_of_a_person_has_changed(self):
        for one in getattr(self, "windows", []):
            mask = None if one.widget is None or one.widget.session is None else self.mask(one)
            truth = one.truth()
            if mask is not None:
                assert (mask.data == truth)[truth >= 0].all()
            else:
                assert (truth < 0).all()

    def teardown(self):
        ticked = []
        for one in self.windows:
            if one.widget is not None:
                session = one.widget.session
                ticked += [(session.case.parts[0].scan, n) for n in session.reviewed()]
                one.viewer.window.remove_dock_widget(one.widget.native)
        store = Store(registry.data_dir() / "corrections")
        for scan, n in ticked:
            assert n in store.load(scan).reviewed
            assert store.mask(scan, n) is not None
        for one in self.windows:
            one.viewer.layers.clear()
        self.qtbot.wait(20)


def play(make_napari_viewer, qtbot, instant, examples, steps):
    Correcting.viewers = (make_napari_viewer(), make_napari_viewer())
    Correcting.qtbot, Correcting.instant = qtbot, instant
    profile = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        database=None,
    )
    run_state_machine_as_test(Correcting, settings=profile)


@pytest.mark.timeout(600)
def test_no_order_of_steps_changes_what_a_person_drew(make_napari_viewer, qtbot, instant):
    play(make_napari_viewer, qtbot, instant, 3, 8)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_orders_of_steps(make_napari_viewer, qtbot, instant):
    play(make_napari_viewer, qtbot, instant, 10, 15)
