"""How often a person has to act from an empty window to everything saved, counted with real events in a real viewer.

A click, a key, a drag, a menu entry, a dialog: one action each. The worker is real; its learning is a stand-in, but for
the slow test.
"""

import csv
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from napari.settings import get_settings
from qtpy.QtCore import QEvent, QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent, QKeyEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_unet_tumour import jobs
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.tuned_scores import in_words
from napari_unet_tumour.phantom import phantom
from napari_unet_tumour.widgets.common import panels

pytestmark = pytest.mark.usefixtures("stand_in")
LEFT, NONE, SHIFT = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier
MOST = 15
WEIGHTS = Path(registry.__file__).parent / "weights"
REAL = jobs.TASKS["finetune"]


@pytest.fixture
def real_finetune(stand_in, monkeypatch):
    """Let the engine learn, in place of the stand-in."""
    monkeypatch.setitem(jobs.TASKS, "finetune", REAL)


class Person:
    """Acts on a viewer, and notes every action."""

    def __init__(self, viewer, qtbot):
        self.viewer, self.qtbot, self.actions = viewer, qtbot, []
        self.window = viewer.window._qt_viewer
        self.canvas = self.window.canvas.native

    def menu(self, command):
        """Choose the entry of a menu that opens a panel; returns the panel."""
        self.actions.append(f"menu: {command}")
        return panels.open_panel(self.viewer, command)

    def drop(self, path):
        """Drag a file into the window."""
        self.actions.append(f"drag a file: {path.name}")
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path))])
        self.window.dropEvent(QDropEvent(QPointF(99, 99), Qt.DropAction.CopyAction, data, LEFT, NONE))

    def click(self, button):
        self.actions.append(f"click: {button.text}")
        assert button.native.isVisible(), "in sight"
        self.qtbot.mouseClick(button.native, LEFT)

    def key(self, code, held=NONE):
        self.actions.append(f"key: {'Shift-' if held else ''}{code.name}")
        for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
            QApplication.sendEvent(self.canvas, QKeyEvent(kind, code, held))

    def stroke(self, layer, start, end):
        """Drag over the canvas, from a pixel of the slice on screen to another one."""
        self.actions.append("drag: a stroke")
        points = [self._point(layer, np.add(start, np.subtract(end, start) * part)) for part in np.linspace(0, 1, 6)]
        QTest.mousePress(self.canvas, LEFT, NONE, points[0])
        for point in points:
            QTest.mouseMove(self.canvas, point)
            self.qtbot.wait(5)
        QTest.mouseRelease(self.canvas, LEFT, NONE, points[-1])

    def wait(self, until):
        self.qtbot.waitUntil(until, timeout=600_000)

    def wait_for_rest(self, mask):
        """Wait until the mask changes no more, e.g. since spots on one slice only are left out."""
        before = None
        while before is None or not np.array_equal(mask.data, before):
            before = mask.data.copy()
            self.qtbot.wait(1500 if mask.data.shape[-1] > 64 else 300)

    def _point(self, layer, pixel):
        """Return where a pixel of the slice on screen lies on the canvas."""
        world = layer.data_to_world((self.viewer.dims.current_step[0], *pixel))
        camera = getattr(self.viewer, "scene", self.viewer).camera
        down, across = (np.array(world[-2:]) - np.array(camera.center)[-2:]) * camera.zoom
        return QPoint(round(self.canvas.width() / 2 + across), round(self.canvas.height() / 2 + down))


def work_through(person, path, strokes, seconds=None):
    """Open a scan, correct four slices, fine-tune, accept what is better, and save all; return the parts to look at."""
    viewer = person.viewer
    # What napari keeps once a person has chosen a reader for a kind of file: it asks the first time only.
    get_settings().plugins.extension2reader = {"*.nii.gz": panels.PLUGIN}
    correct = person.menu(panels.CORRECT)
    panel, state = correct._panel, correct.state
    person.drop(path)
    person.wait(lambda: correct.session is not None)
    person.click(panel.segment)
    person.wait(lambda: not state.busy and correct.session.unsure.complete)
    mask = viewer.layers["head mask"]
    person.wait_for_rest(mask)
    person.key(Qt.Key.Key_P)
    assert mask.mode == "paint"
    shown = []
    for count in range(4):
        shown.append(viewer.dims.current_step[0])
        before = mask.data.copy()
        person.stroke(mask, *strokes)
        assert (mask.data != before).any(axis=(1, 2)).nonzero()[0].tolist() == [shown[-1]]
        person.key(Qt.Key.Key_R, SHIFT if count < 3 else NONE)
        assert state.message.text.startswith(f"Slice {shown[-1] + 1}: reviewed")
    assert len(set(shown)) == 4
    assert correct.session.reviewed() == sorted(shown)
    drawn = {n: mask.data[n].copy() for n in shown}
    panel.seconds.value = seconds or panel.seconds.value  # for the test's sake; a person leaves it as it is
    person.click(panel.run)
    person.wait(lambda: not state.learning)
    if state.result is not None:
        person.click(panel.accept)
        person.wait(lambda: state.message.text.endswith("reviewed slices are as they were."))
    person.click(panel.save)
    report = viewer.window.dock_widgets[f"{panels.REPORT} ({panels.PLUGIN})"]
    person.wait(lambda: str(report._panel.status.value).startswith("Saved"))
    assert len(person.actions) <= MOST, person.actions
    assert all(np.array_equal(mask.data[n], one) for n, one in drawn.items()), "what the person drew is saved"
    saved = nibabel.load(path.parent / "head mask.nii.gz")
    assert np.array_equal(np.asarray(saved.dataobj).transpose(2, 1, 0), mask.data)
    return correct, report, saved


def test_from_a_scan_to_a_corrected_fine_tuned_measured_and_saved_mask(make_napari_viewer, qtbot, scan, tmp_path):
    data = scan(8, 64, 64)
    nibabel.save(nibabel.Nifti1Image(data.transpose(2, 1, 0), np.diag([-1.0, -1, 3, 1])), tmp_path / "head.nii.gz")
    viewer = make_napari_viewer(show=True, strict_qt="raise")
    person = Person(viewer, qtbot)
    _, report, saved = work_through(person, tmp_path / "head.nii.gz", [(6, 6), (6, 16)], seconds=2)

    assert registry.find().name == "known-v2"
    assert np.array_equal(saved.affine, np.diag([-1.0, -1, 3, 1]))
    with (tmp_path / "head lesions.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) > 2
    assert "not a medical device" in (tmp_path / "head report.html").read_text(encoding="utf-8")
    assert report.table.rowCount() > 0

    # Once more: nothing is written over.
    kept = (tmp_path / "head mask.nii.gz").read_bytes()
    report._panel.say("")
    person.click(report._panel.all)
    person.wait(lambda: str(report._panel.status.value).startswith("Saved head 2 mask.nii.gz"))
    assert (tmp_path / "head mask.nii.gz").read_bytes() == kept


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_same_with_the_shipped_model_and_its_own_learning(make_napari_viewer, qtbot, tmp_path, home, real_finetune):
    (home / "models/known.safetensors").unlink()
    for file in WEIGHTS.glob(f"{registry.DEFAULT}*"):
        shutil.copy(file, home / "models")
    head, truth = phantom(shape=(16, 256, 256))
    ras = np.diag([-1.0, -1, 1, 1]) @ head.affine[np.ix_([2, 1, 0, 3], [2, 1, 0, 3])]
    nibabel.save(nibabel.Nifti1Image(np.asarray(head.array).transpose(2, 1, 0), ras), tmp_path / "head.nii.gz")
    rows, columns = np.nonzero(truth[np.argmax(np.count_nonzero(truth, axis=(1, 2)))])
    middle = int(rows.mean()), int(columns.mean())
    viewer = make_napari_viewer(show=True, strict_qt="raise")
    person = Person(viewer, qtbot)
    beside = middle[0], middle[1] + 40
    correct, report, _ = work_through(person, tmp_path / "head.nii.gz", [middle, beside])

    assert correct.state.estimate > 0, "how long it takes is known now"
    tuned = registry.find()
    if tuned.name == registry.DEFAULT:
        assert "model and mask are as they were" in correct.state.message.text
    else:
        assert in_words(tuned.spec).startswith("Fine-tuned on 3 slices that you corrected. On 1 slice kept for scoring")
    assert report.table.rowCount() > 0
