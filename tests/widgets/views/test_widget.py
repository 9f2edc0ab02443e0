"""The linked views, used as a person uses them: with mouse and keys over their canvases."""

from types import SimpleNamespace

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication

from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.widgets.layers.image_source import KEY
from napari_unet_tumour.widgets.look.letters import canvas_of

SHAPE, SPACING = (12, 20, 24), (3.0, 1.0, 0.5)


def volume(shape=SHAPE):
    return np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)


def add_scan(viewer, affine=None, name="scan"):
    """Add a scan of a patient (z, y, x in LPS+) and an empty mask on it."""
    array = volume()
    world = np.diag([*SPACING, 1.0]) if affine is None else affine
    grid = Scan(array, "zyx", world, "mm", name)
    place = {"scale": SPACING} if affine is None else {"affine": affine}
    about = {"units": ("mm",) * 3, "axis_labels": ("z", "y", "x"), **place}
    viewer.add_image(array, name=name, metadata={KEY: {"grid": grid}}, **about)
    return viewer.add_labels(np.zeros(SHAPE, np.uint8), name=f"{name} mask", metadata={KEY: {"grid": grid}}, **about)


class Views(SimpleNamespace):
    """A window with linked views."""

    def settle(self, turns=5):
        for _ in range(turns):
            QApplication.processEvents()

    def pixel(self, pane, place):
        """Return the pixel of a canvas where a place (3,) of the world lies, by napari's own arithmetic."""
        canvas = pane.native.canvas
        corners = [canvas._map_canvas2world(at, canvas.view) for at in ((0, 0), (1, 0), (0, 1))]
        shown = list(pane.model.dims.displayed)
        origin, right, down = (np.array(one)[shown] for one in corners)
        at = np.linalg.solve(np.column_stack([right - origin, down - origin]), np.array(place)[shown] - origin)
        return QPoint(*(round(float(one)) for one in at))

    def click(self, pane, place, button=Qt.MouseButton.LeftButton, modifiers=Qt.KeyboardModifier.NoModifier):
        self.qtbot.mouseClick(pane.canvas, button, modifiers, self.pixel(pane, place))
        self.settle()

    def drag(self, pane, start, end, button=Qt.MouseButton.LeftButton):
        places = np.linspace(start, end, 5)
        self.qtbot.mousePress(pane.canvas, button, pos=self.pixel(pane, places[0]))
        for place in places[1:]:
            self.qtbot.mouseMove(pane.canvas, pos=self.pixel(pane, place))
            self.qtbot.wait(20)  # napari looks at moves every 5 ms
        self.qtbot.mouseRelease(pane.canvas, button, pos=self.pixel(pane, places[-1]))
        self.settle()

    def slices(self):
        """Return which slice of the mask each view shows: main, axial, coronal, sagittal."""
        main = self.mask.world_to_data(self.viewer.dims.point)[0]
        found = [pane.twin_of(self.mask).world_to_data(pane.model.dims.point)[pane.axis] for pane in self.link.panes]
        return [round(float(one)) for one in (main, *found)]


@pytest.fixture
def views(make_napari_viewer, qtbot):
    def open_(add=add_scan, **options):
        viewer = make_napari_viewer(strict_qt="raise", show=True, **options)
        viewer.window._qt_window.resize(1200, 900)
        mask = add(viewer)
        _, widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Linked views")
        one = Views(viewer=viewer, mask=mask, widget=widget, link=widget.link, qtbot=qtbot)
        one.settle(20)
        qtbot.wait(50)
        return one

    return open_


def test_a_click_in_one_view_moves_the_others_and_the_main_view(views):
    one = views()
    axial, coronal, sagittal = one.link.panes
    assert [pane.title for pane in one.link.panes] == ["Axial", "Coronal", "Sagittal"]
    assert [pane.letters.text for pane in one.link.panes] == ["APRL", "HFRL", "HFAP"]
    place = np.array([8, 5, 17]) * SPACING
    one.click(coronal, place)
    assert one.slices() == [8, 8, coronal_before(one), 17]
    one.click(axial, place)
    assert one.slices() == [8, 8, 5, 17]
    one.click(sagittal, np.array([2, 11, 0]) * SPACING)
    assert one.slices() == [2, 2, 11, 17]
    for pane in one.link.panes:
        drawn, there = pane.crosshair.at, one.pixel(pane, one.link.place)
        assert abs(drawn[0] - there.x()) <= 1
        assert abs(drawn[1] - there.y()) <= 1
    one.viewer.dims.set_current_step(0, 6)
    assert one.slices() == [6, 6, 11, 17]
    one.click(coronal, (200.0, 0, -40.0))  # beside the scan: its nearest voxel
    assert one.slices() == [11, 11, 11, 0]
    coronal.model.dims.set_current_step(1, 3)
    assert one.slices() == [11, 11, 3, 0]
    one.viewer.window.remove_dock_widget(one.widget)
    one.settle()
    assert one.widget.link is None
    one.viewer.dims.set_current_step(0, 1)


def coronal_before(one):
    return round((SHAPE[1] - 1) / 2)
