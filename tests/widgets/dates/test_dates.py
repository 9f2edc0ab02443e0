"""The Two dates panel and its views, used as a person uses them."""

import csv

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication
from scipy import ndimage
from scipy.spatial.transform import Rotation

from napari_unet_tumour.followup import alignment
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.widgets.readers_writers import layer_of

# (z, y, x) in mm, and the radius: what is in the head. Not symmetric, so that only one turn fits.
HEAD = [((40, 40, 40), 34), ((52, 30, 46), 12), ((30, 52, 30), 9), ((40, 26, 24), 8), ((46, 56, 52), 7)]
BEFORE, AFTER = [((40, 40, 40), 6), ((30, 30, 50), 5)], [((40, 40, 40), 8), ((52, 46, 26), 5)]
GRIDS = {
    "spring": ((27, 40, 40), np.diag([3.0, 2.0, 2.0, 1.0])),
    # Its axes run the other way, in other steps, from another first voxel.
    "autumn": ((40, 34, 54), np.array([[2.0, 0, 0, 0], [0, -2.5, 0, 82.5], [0, 0, -1.5, 79.5], [0, 0, 0, 1]])),
}


def inside(grid, balls, moved=None):
    """Return a picture (n, z, y, x) of each ball; `moved` is where the patient was moved to since."""
    shape, world = grid
    at = np.moveaxis(np.indices(shape), 0, -1) @ world[:3, :3].T + world[:3, 3]
    if moved is not None:
        back = np.linalg.inv(moved)
        at = at @ back[:3, :3].T + back[:3, 3]
    return np.array([np.linalg.norm(at - centre, axis=-1) <= radius for centre, radius in balls])


def pair(name, lesions, moved=None, **more):
    """Return a scan and its mask."""
    grey = np.zeros(GRIDS[name][0], np.float32)
    for n, ball in enumerate(inside(GRIDS[name], HEAD, moved)):
        grey[ball] = (90, 200, 30, 160, 60)[n]
    grey = ndimage.gaussian_filter(grey, 0.7)
    mask = inside(GRIDS[name], lesions, moved).any(axis=0).astype(np.uint8)
    about = {"axes": "zyx", "affine": GRIDS[name][1], "units": "mm", **more}
    return Scan(grey, name=name, **about), Scan(mask, name=f"{name} mask", **about)


class Window:
    def __init__(self, viewer, qtbot):
        self.viewer, self.qtbot = viewer, qtbot

    def add(self, scan, mask=None):
        for one, labels in ((scan, False), (mask, True)):
            if one is not None:
                data, about, kind = layer_of(one, labels=labels)
                layer = getattr(self.viewer, f"add_{kind}")(data, **about)
        return layer

    def open(self):
        self.widget = self.viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Two dates")[1]
        self.panel = self.widget._panel
        return self.widget

    def settle(self, turns=10):
        for _ in range(turns):
            QApplication.processEvents()

    def press(self):
        self.qtbot.mouseClick(self.panel.run.native, Qt.MouseButton.LeftButton)
        self.done()

    def done(self):
        self.qtbot.waitUntil(lambda: not self.widget.running, timeout=60_000)
        self.settle()

    @property
    def status(self):
        return str(self.panel.status.value)

    def pixel(self, pane, place):
        """Return the pixel where a place of the earlier patient is drawn, by napari's own arithmetic."""
        canvas = pane.native.canvas
        corners = [canvas._map_canvas2world(at, canvas.view) for at in ((0, 0), (1, 0), (0, 1))]
        shown = list(pane.model.dims.displayed)
        origin, right, down = (np.array(one)[shown] for one in corners)
        there = (pane.shown @ [*place, 1.0])[:3][shown]
        at = np.linalg.solve(np.column_stack([right - origin, down - origin]), there - origin)
        return QPoint(*(round(float(one)) for one in at))

    def slice_of(self, pane, layer):
        """Return the index of the slice of a layer that a view shows."""
        linked = pane.linked_to(layer)
        return round(float(linked.world_to_data(pane.model.dims.point)[pane.axis]))


@pytest.fixture
def window(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(strict_qt="raise", show=True)
    viewer.window._qt_window.resize(1200, 900)
    one = Window(viewer, qtbot)
    yield one
    vars(one).clear()  # else what it holds would outlive the window


def two_dates(window, moved=None, frames=("1.2.3", "1.2.3"), people=("", "")):
    window.add(*pair("spring", BEFORE, frame_of_reference=frames[0], person=people[0]))
    window.add(*pair("autumn", AFTER, moved, frame_of_reference=frames[1], person=people[1]))
    return window.open()


def test_two_dates_are_shown_at_one_place_and_their_lesions_matched(window, tmp_path):
    widget = two_dates(window)
    panel, layers = window.panel, window.viewer.layers
    assert [one.value.name for one in (*panel.images, *panel.masks)] == [
        "spring", "autumn", "spring mask", "autumn mask"
    ]  # fmt: skip
    window.press()
    assert sorted(one.kind.value for one in widget.found.lesions) == ["changed", "gone", "new"]
    assert "matched in the frame of reference of both" in window.status
    assert "one frame of reference" in panel.notes.value
    earlier, later = widget.side.panes
    assert [pane.letters.text for pane in widget.side.panes] == ["APRL", "APRL"]
    window.qtbot.wait(50)
    # A click in one view goes to the same place in both, whatever their grids are.
    for pane, place in ((earlier, (40.0, 30.0, 24.0)), (later, (40.0, 52.0, 46.0))):
        window.qtbot.mouseClick(pane.canvas, Qt.MouseButton.LeftButton, pos=window.pixel(pane, place))
        window.settle()
        np.testing.assert_allclose(widget.side.place[1:], place[1:], atol=1.0)
        for one in widget.side.panes:
            drawn, there = one.crosshair.at, window.pixel(one, widget.side.place)
            assert abs(drawn[0] - there.x()) <= 1
            assert abs(drawn[1] - there.y()) <= 1
    # A row goes to its lesion in both: the new one lies at z = 52, y = 46, x = 26.
    row = next(n for n in range(widget.table.rowCount()) if widget.table.item_of(n).kind.value == "new")
    at = widget.table.visualItemRect(widget.table.item(row, 0)).center()
    window.qtbot.mouseClick(widget.table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    window.settle()
    np.testing.assert_allclose(widget.side.place, (52, 46, 26), atol=2)
    assert window.slice_of(earlier, layers["spring"]) == round(widget.side.place[0] / 3)
    assert window.slice_of(later, layers["autumn"]) == round(widget.side.place[0] / 2)
    # The slider and the zoom of one view move the other.
    earlier.model.dims.set_point(earlier.axis, 30.0)
    assert window.slice_of(later, layers["autumn"]) == 15
    later.camera.zoom = 7.0
    later.camera.center = (0.0, 33.0, 44.0)
    assert earlier.camera.zoom == 7.0
    np.testing.assert_allclose(earlier.camera.center[1:], (33.0, 44.0), atol=1e-6)
    panel.plane.value = "Sagittal"
    assert [pane.letters.text for pane in widget.side.panes] == ["HFAP", "HFAP"]
    widget.side.go((200.0, 40.0, 200.0))
    assert all("outside the scan" in pane.title for pane in widget.side.panes)
    widget.save(str(tmp_path / "c.csv"))
    with (tmp_path / "c.csv").open(encoding="utf-8") as file:
        assert {row["placing"] for row in csv.DictReader(file)} == {"one frame of reference"}
    widget.save(str(tmp_path / "c.csv" / "no.csv"))
    assert "cannot be written" in window.status
    # What is drawn in the main view is seen here, and the figures are said to be old.
    mask = layers["autumn mask"]
    mask.data_setitem((np.array([3]), np.array([3]), np.array([3])), [1])
    assert "'autumn mask' has changed since" in window.status
    assert later.linked_to(mask).data is mask.data
    # A date whose layer is closed leaves the views; the other layers stay.
    layers.remove("autumn")
    window.settle()
    assert "Layer 'autumn' was removed" in window.status
    assert [len(pane.model.layers) for pane in widget.side.panes] == [0, 0]
    assert [layer.name for layer in layers] == ["spring", "spring mask", "autumn mask"]
    window.viewer.window.remove_dock_widget(widget.native)
    window.settle()
    assert widget.side is None


def test_scans_of_other_frames_are_aligned_in_the_views_only(window, monkeypatch):
    pytest.importorskip("SimpleITK")
    moved = np.eye(4)
    moved[:3, :3] = Rotation.from_rotvec([0.12, 0.05, -0.08]).as_matrix()
    moved[:3, 3] = (6.0, -4.0, 9.0)
    widget = two_dates(window, moved, ("1.2.3", "1.2.4"), ("one", "other"))
    panel, layers = window.panel, window.viewer.layers
    before = [(layer.name, np.array(layer.affine.affine_matrix), np.array(layer.scale)) for layer in layers]
    window.press()
    assert panel.align.value  # since the frames of reference differ
    assert "Aligned" in window.status
    assert "different frames of reference" in panel.notes.value
    assert "Different patients" in panel.notes.value
    error = widget.alignment.to_earlier @ moved @ [40, 40, 40, 1] - [40, 40, 40, 1]
    assert np.linalg.norm(error) < 1.0
    assert widget.found.placing.value == "aligned"
    assert sorted(one.kind.value for one in widget.found.lesions) == ["changed", "gone", "new"]
    new = next(one for one in widget.found.lesions if one.kind.value == "new")
    widget.go_to(new)
    np.testing.assert_allclose(widget.side.place, (52, 46, 26), atol=2.5)
    # The voxel of the later scan that lies there is on screen, and the layers lie where they lay.
    there = moved @ [*widget.side.place, 1.0]
    index = np.linalg.solve(GRIDS["autumn"][1], there)[0]
    assert abs(window.slice_of(widget.side.panes[1], layers["autumn"]) - index) <= 1.0
    for layer, (name, affine, scale) in zip(layers, before, strict=True):
        assert layer.name == name
        np.testing.assert_array_equal(layer.affine.affine_matrix, affine)
        np.testing.assert_array_equal(layer.scale, scale)
    panel.align.native.click()
    window.done()
    assert widget.alignment is None
    assert "not aligned" in window.status
    # A layer that goes while it is aligned ends it; so does Cancel.
    panel.align.native.click()
    assert widget.running
    thread = widget._background.task.thread
    panel.run.native.click()
    assert (window.status, widget.running) == ("Cancelled.", False)
    window.qtbot.waitUntil(lambda: not thread.is_alive(), timeout=30_000)
    panel.run.native.click()
    thread = widget._background.task.thread
    layers.remove("spring")
    assert not widget.running
    assert "Layer 'spring' was removed" in window.status
    window.qtbot.waitUntil(lambda: not thread.is_alive(), timeout=30_000)
    window.settle()
    assert widget.alignment is None


def test_what_is_in_the_way_is_said_and_nothing_is_lost(window, monkeypatch):
    widget = window.open()
    panel, layers = window.panel, window.viewer.layers
    assert panel.start_view.text.native.isVisibleTo(widget.native)
    widget.start()
    assert "open the scans of two dates" in window.status
    window.add(*pair("spring", BEFORE))
    window.viewer.add_labels(np.zeros((4, 5, 6), np.uint8), name="nowhere")
    panel.images[0].value = panel.images[1].value = layers["spring"]
    widget.start()
    assert "'spring' is chosen for both dates" in window.status
    panel.images[1].value, panel.masks[1].value = None, layers["nowhere"]
    widget.start()
    assert "'nowhere' does not say where it lies" in window.status
    # A mask without its scan is shown alone; it cannot be aligned, and is matched all the same.
    scan, mask = pair("autumn", [((70, 70, 70), 4)])
    panel.masks[0].value, panel.masks[1].value = layers["spring mask"], window.add(None, mask)
    panel.align.value = True
    window.press()
    assert "needs the scans of both dates" in window.status
    assert "not aligned" in window.status
    assert {one.kind.value for one in widget.found.lesions} == {"new", "gone"}
    assert "No lesion of one date shares a place" in panel.notes.value
    assert "do not say whether" in panel.notes.value
    assert [len(pane.model.layers) for pane in widget.side.panes] == [2, 1]
    # Without SimpleITK one line says so.
    monkeypatch.setattr(alignment, "find_spec", lambda name: None)
    window.add(scan)
    panel.images[1].value = layers["autumn"]
    window.press()
    assert "napari-unet-tumour[align]" in window.status
    assert len(widget.found.lesions) == 3
    panel.masks[0].value = None
    panel.align.value = False
    window.done()
    window.press()
    assert "Choose the masks of both dates" in window.status
    assert widget.native.minimumSizeHint().width() <= 320
    assert [layer.name for layer in layers] == ["spring", "spring mask", "nowhere", "autumn mask", "autumn"]


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_oblique_scans_and_layers_of_no_file(window):
    """A scan that was scanned oblique, and layers that a person added with scale and units alone."""
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_rotvec([0.3, 0.2, 0.1]).as_matrix()
    tilt[:3, 3] = (-10, 5, 12)
    GRIDS["oblique"] = ((45, 50, 50), tilt @ np.diag([2.0, 2.0, 2.0, 1.0]))
    window.add(*pair("oblique", BEFORE))
    _, world = GRIDS["spring"]
    place = {"scale": np.diag(world)[:3], "units": ("mm",) * 3}
    scan, mask = pair("spring", AFTER)
    window.viewer.add_image(scan.array, name="plain", **place)
    window.viewer.add_labels(mask.array, name="plain mask", **place)
    widget = window.open()
    window.press()
    assert sorted(one.kind.value for one in widget.found.lesions) == ["changed", "gone", "new"]
    for plane, axis in (("Axial", 0), ("Coronal", 1), ("Sagittal", 2)):
        window.panel.plane.value = plane
        widget.side.go((40.0, 40.0, 40.0))
        for pane, name in zip(widget.side.panes, ("oblique", "plain"), strict=True):
            grid = GRIDS["oblique" if name == "oblique" else "spring"][1]
            index = np.linalg.solve(grid, [40.0, 40.0, 40.0, 1])
            assert abs(window.slice_of(pane, window.viewer.layers[name]) - index[axis]) <= 0.51
            # Its slices lie level, so that napari shows the very voxels.
            data = pane.linked_to(window.viewer.layers[name])
            assert data._slice_input.is_orthogonal(data._data_to_world.inverse)
