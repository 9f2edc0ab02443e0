"""The linked views, used as a person uses them: with mouse and keys over their canvases."""

from types import SimpleNamespace

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication

from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.widgets.common.canvas import canvas_of
from napari_unet_tumour.widgets.layers.image_source import KEY

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
        found = [pane.linked_to(self.mask).world_to_data(pane.model.dims.point)[pane.axis] for pane in self.link.panes]
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


def key(one, pane, code, modifiers=Qt.KeyboardModifier.NoModifier):
    one.qtbot.keyClick(pane.canvas, code, modifiers)
    one.settle()


def test_a_mask_painted_in_one_view_is_seen_in_all_and_undone_by_one_step(views):
    one = views()
    axial, coronal, sagittal = one.link.panes
    mask, heard = one.mask, []
    mask.events.paint.connect(heard.append)
    one.viewer.layers.selection.active = mask
    mask.brush_size, mask.mode = 3, "paint"
    one.click(coronal, np.array([6, 10, 12]) * SPACING)
    painted = np.argwhere(mask.data)
    assert len(painted)
    assert set(painted[:, 1]) == {coronal_before(one)}  # the brush paints the plane that it is seen in
    for pane in one.link.panes:
        assert pane.linked_to(mask).data is mask.data
    assert len(heard) == len(mask._undo_history) == 1
    one.click(axial, np.array([0, 3, 12]) * SPACING, modifiers=Qt.KeyboardModifier.ShiftModifier)
    assert np.array_equal(np.argwhere(mask.data), painted)  # Shift moves the crosshair
    assert one.slices()[2] == 3
    before = mask.data.copy()
    at = one.slices()
    one.drag(axial, np.array([0, 5, 6]) * SPACING, np.array([0, 15, 6]) * SPACING)
    stroke = np.argwhere(mask.data != before)
    assert set(stroke[:, 0]) == {at[0]}
    assert stroke[:, 1].min() <= 6 < 13 <= stroke[:, 1].max()
    assert len(mask._undo_history) == 2
    one.link.go(np.array([at[0], 10, 6]) * SPACING)
    one.settle()
    for pane in one.link.panes:  # what the card has been given is what the array holds
        linked = pane.linked_to(mask)
        shown = linked._slice.image.view
        assert shown.any(), pane.title
        assert np.array_equal(shown > 0, linked._slice.image.raw > 0)
    key(one, sagittal, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert np.array_equal(mask.data, before)
    key(one, sagittal, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not mask.data.any()
    mask.paint((at[0], 10, 6), 2)
    one.settle()
    assert 2 in axial.linked_to(mask)._slice.image.raw
    assert axial.linked_to(mask).get_status((0, 0, 0), world=True)["layer_name"] == mask.name
    wheel(axial, 120, Qt.KeyboardModifier.ControlModifier)
    assert mask.brush_size > 3
    wheel(axial, 120)
    one.settle()
    assert one.slices()[:2] == [at[0] - 1] * 2
    mask.mode = "pick"
    one.click(axial, np.array([0, 10, 6]) * SPACING)
    follows(one)


def wheel(pane, delta, modifiers=Qt.KeyboardModifier.NoModifier):
    from qtpy.QtCore import QPointF
    from qtpy.QtGui import QWheelEvent

    middle = QPointF(pane.canvas.rect().center())
    event = QWheelEvent(
        middle, QPointF(pane.canvas.mapToGlobal(middle.toPoint())), QPoint(), QPoint(0, delta),
        Qt.MouseButton.NoButton, modifiers, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(pane.canvas, event)


def follows(one):
    """Layers come, go, change places and looks: the views follow."""
    viewer, mask, pane = one.viewer, one.mask, one.link.panes[1]
    image = viewer.layers["scan"]
    image.contrast_limits, image.colormap, image.visible, image.name = (10, 50), "magma", False, "renamed"
    mask.mode, mask.opacity, mask.selected_label, mask.contour = "erase", 0.3, 2, 1
    linked, other = pane.linked_to(image), pane.linked_to(mask)
    assert (linked.contrast_limits, linked.colormap.name) == ([10, 50], "magma")
    assert (linked.visible, linked.name) == (False, "renamed")
    assert (str(other.mode), other.opacity, other.selected_label, other.contour) == ("erase", 0.3, 2, 1)
    assert pane.model.layers.selection.active is other
    points = viewer.add_points([[3, 4, 5]], name="place")
    flat = viewer.add_image(np.zeros((4, 4)), name="flat")
    assert [layer.name for layer in pane.model.layers] == ["renamed", "scan mask", "place"]
    points.data = [[3, 4, 5], [1, 1, 1]]
    assert len(pane.linked_to(points).data) == 2
    viewer.layers.move(0, 2)
    assert [layer.name for layer in pane.model.layers] == ["scan mask", "renamed", "place"]
    viewer.layers.remove(points)
    viewer.layers.remove(flat)
    image.data = image.data[:, ::-1]
    assert pane.linked_to(image).data is image.data
    viewer.layers.remove(mask)
    assert [layer.name for layer in pane.model.layers] == ["renamed"]
    viewer.layers.clear()
    assert "There is no scan" in one.widget.note
    assert not len(pane.model.layers)
    one.mask = add_scan(viewer)
    one.settle()
    assert one.widget.note == ""
    assert [layer.name for layer in pane.model.layers] == ["scan", "scan mask"]


def oblique():
    """Return an affine that is tilted about two axes."""
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("zyx", (0.3, 0.2, 0)).as_matrix() @ np.diag(SPACING)
    affine[:3, 3] = 40, -20, 7
    return affine


def shown_index(one):
    """Return which voxel the crosshair is at."""
    return np.round(one.mask.world_to_data(one.link.place)).astype(int).tolist()


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_oblique_scans_flat_pictures_and_a_second_window(views):
    one = views(lambda viewer: add_scan(viewer, oblique()))
    axial, coronal, sagittal = one.link.panes
    assert [pane.letters.text for pane in one.link.panes] == ["APRL", "HFRL", "HFAP"]
    for pane, along in zip(one.link.panes, ((1, 2), (0, 2), (0, 1)), strict=True):
        # A millimetre is as long up as across, and the scan's axes run along the screen's.
        steps = np.array([pane.linked_to(one.mask).data_to_world(step) for step in (*np.eye(3), np.zeros(3))])
        lengths = np.abs(steps[:3] - steps[3])
        assert np.allclose([lengths[axis].max() for axis in along], np.array(SPACING)[list(along)])
        assert np.count_nonzero(lengths > 1e-9) == 3
    index = [8, 5, 17]
    one.click(sagittal, sagittal.linked_to(one.mask).data_to_world(index))
    one.click(axial, axial.linked_to(one.mask).data_to_world(index))
    assert shown_index(one) == index
    from napari_unet_tumour.widgets.layers.image_source import shown_at

    assert round(shown_at(one.viewer, one.mask)[0]) == 8
    one.viewer.layers.selection.active = one.mask
    one.mask.brush_size, one.mask.mode = 1, "paint"
    one.click(coronal, coronal.linked_to(one.mask).data_to_world([3, 5, 9]))
    assert np.argwhere(one.mask.data).tolist() == [[3, 5, 9]]
    one.mask.mode = "pan_zoom"

    def flat(viewer):
        return viewer.add_image(np.zeros((20, 20, 3), np.uint8), name="photo", rgb=True)

    two = views(flat)
    assert two.widget.note == (
        "'photo' is a flat or a colour picture: linked views need a grey scan with several slices"
    )
    two.viewer.layers.clear()
    two.mask = add_scan(two.viewer, name="other")
    two.settle(20)
    two.click(two.link.panes[2], two.link.panes[2].linked_to(two.mask).data_to_world([2, 2, 2]))
    assert shown_index(two)[:2] == [2, 2]
    assert shown_index(one) == index
    assert [layer.name for layer in axial.model.layers] == ["scan", "scan mask"]
    one.viewer.layers["scan"].affine = np.diag([4.0, 1, 1, 1])
    one.mask.affine = np.diag([4.0, 1, 1, 1])
    one.settle()
    assert np.allclose(axial.linked_to(one.mask).data_to_world([1, 1, 1]), [4, 1, 1])


def test_clicks_and_strokes_in_a_linked_view_count_in_the_correct_panel(opened, qtbot):
    hill = np.zeros((8, 64, 64), np.uint8)
    hill[2:7, 20:36, 30:46] = 220

    def add(viewer):
        viewer.window._qt_window.resize(1200, 900)
        viewer.add_image(hill, name="scan")

    one = opened(add, "Correct and fine-tune", show=True)
    one.wait(lambda: one.widget.session is not None)
    _, widget = one.viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Linked views")
    one.widget.go(1)
    qtbot.keyClick(canvas_of(one.widget.native), Qt.Key.Key_C)
    assert one.widget._click.on, one.status
    mask = one.widget.session.case.parts[0].mask
    views = Views(viewer=one.viewer, mask=mask, widget=widget, link=widget.link, qtbot=qtbot)
    views.settle(20)
    views.click(widget.link.panes[2], np.array([4.0, 28, 38]))
    assert one.viewer.dims.current_step[0] == 4  # what was clicked is the current slice
    one.wait(lambda: mask.data.any())
    assert set(np.argwhere(mask.data)[:, 0]) == {4}
    views.settle()
    assert mask.data[4, 28, 38] == 1
    assert len(one.widget._click.clicked()[1]) == 1
    qtbot.keyClick(widget.link.panes[0].canvas, Qt.Key.Key_Escape)
    assert not one.widget._click.on
    one.viewer.layers.selection.active = mask
    mask.brush_size, mask.mode = 3, "paint"
    before = mask.data.copy()
    views.click(widget.link.panes[1], np.array([6.0, 28, 10]))
    assert set(np.argwhere(mask.data != before)[:, 0]) == {5, 6, 7}
    one.wait(lambda: one.widget.session.is_edited(6))  # the journal has heard of the stroke
