"""Take the screenshots of the documentation in a real window: a run on the sample, a fine-tuning, a report.

Usage: python scripts/screenshots.py [FOLDER]
Without a screen: xvfb-run -a -s "-screen 0 1400x900x24" python scripts/screenshots.py
"""

import json
import os
import sys
import tempfile
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import napari
import numpy as np
from napari.settings import get_settings
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPainter, QTextDocument
from qtpy.QtWidgets import QApplication
from scipy import ndimage
from scipy.spatial.transform import Rotation
from skimage.io import imsave

from napari_unet_tumour import jobs, scans
from napari_unet_tumour.measure import html_report
from napari_unet_tumour.models import registry
from napari_unet_tumour.phantom import phantom
from napari_unet_tumour.widgets.correct.widget import CorrectWidget
from napari_unet_tumour.widgets.readers_writers import layer_of

SIZE = (1400, 900)
LONGEST_S = 300


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    forget_the_person()
    viewer = opened()
    viewer.open_sample("napari-unet-tumour", "head")
    _, truth = phantom()
    viewer.dims.set_current_step(0, int(np.argmax(np.count_nonzero(truth, axis=(1, 2)))))
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Segment")
    panel = widget._panel
    widget.choose_model(registry.DEFAULT)
    panel.scope.value, panel.place.value = "all", "this computer"
    wait(lambda: "core" in str(panel.found.value) or "GPU" in str(panel.found.value))
    picture(viewer, folder / "segment-before.png")
    panel.run.native.click()
    wait(lambda: not widget.running or len(widget._going.done) > truth.shape[0] // 3)
    picture(viewer, folder / "segment-during.png", settle=0)
    wait(lambda: widget.settled)
    picture(viewer, folder / "segment-after.png")
    viewer.close()
    correct(folder, truth)
    jobs.shutdown()
    lesions(folder)
    compared(folder)
    listed(folder)
    served(folder)
    viewed(folder)
    brushed(folder)
    linked(folder)
    dates(folder)


def forget_the_person() -> None:
    """Keep a person's theme and fonts, models and corrections out of the pictures."""
    os.environ[registry.HOME] = tempfile.mkdtemp()
    get_settings(Path(tempfile.mkdtemp()) / "napari.yaml")


def dates(folder: Path) -> None:
    """Show the sample beside itself at a later date: moved, on another grid, one lesion grown and one gone."""
    head, truth = phantom()
    pieces, _ = ndimage.label(truth)
    grown = ndimage.binary_dilation(pieces == np.argmax(np.bincount(pieces[pieces > 0])), iterations=2)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec([0.1, 0.05, 0.03]).as_matrix()
    turn[:3, 3] = (4, -7, 5)
    shape, world = (40, 120, 120), turn @ head.world @ np.diag([0.6, 1.6, 1.6, 1.0])
    world = np.diag([*np.linalg.norm(world[:3, :3], axis=0), 1.0])
    world[:3, 3] = (turn @ head.world @ [*(np.array(head.array.shape) - 1) / 2, 1])[:3]
    world[:3, 3] -= world[:3, :3] @ (np.array(shape) - 1) / 2
    back = np.linalg.inv(turn @ head.world) @ world
    later, mask = (
        ndimage.affine_transform(one, back[:3, :3], back[:3, 3], shape, order=order)
        for one, order in ((head.array.astype(np.float32), 1), (grown.astype(np.uint8), 0))
    )
    viewer = opened()
    for name, grey, drawn, affine in (("spring", head.array, truth, head.world), ("autumn", later, mask, world)):
        scan = replace(head, array=grey, affine=affine, extra={}, name=name, frame_of_reference=name)
        data, about, _ = layer_of(scan)
        viewer.add_image(data, **about)
        data, about, _ = layer_of(replace(scan, array=drawn.astype(np.uint8), name=f"{name} mask"), labels=True)
        viewer.add_labels(data, features={"index": [0, 1], "label": ["background", "tumour"]}, **about)
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Two dates")
    widget._panel.align.value = True
    wait_for(0.5)
    widget.start()
    wait(lambda: not widget.running)
    wait_for(0.5)
    widget.table.selectRow(0)
    widget.go_to(widget.found.lesions[0])
    picture(viewer, folder / "two-dates.png", settle=60)
    viewer.close()


def brushed(folder: Path) -> None:
    """Paint over the rim of the sample's lesion with the brush that stops at edges, on a mask with a locked label."""
    viewer = opened()
    viewer.open_sample("napari-unet-tumour", "head")
    _, truth = phantom()
    number = int(np.argmax(np.count_nonzero(truth, axis=(1, 2))))
    image = viewer.layers[0]
    place = {"scale": image.scale, "translate": image.translate, "units": image.units}
    mask = viewer.add_labels(np.zeros(truth.shape, np.uint8), name="drawn", **place)
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Correct and fine-tune")
    wait(lambda: widget.session is not None)
    widget.go(number)
    viewer.layers.selection.active = mask
    rows, columns = np.nonzero(truth[number])
    widget._panel.brush.kind.value = "Up to edges"
    mask.mode, mask.brush_size = "paint", 2 * int(np.ptp(rows))
    mask.paint((number, int(rows.mean()), int(columns.mean())), 1)
    widget._panel.brush.lock.native.click()
    wait(lambda: widget._panel.brush._shared.note is not None)
    picture(viewer, folder / "brush.png")
    viewer.close()


def viewed(folder: Path) -> None:
    """Show the sample with its truth as an outline, letters of direction and the View panel."""
    viewer = opened()
    _, mask = viewer.open_sample("napari-unet-tumour", "head-with-truth")
    viewer.dims.set_current_step(0, int(np.argmax(np.count_nonzero(mask.data, axis=(1, 2)))))
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "View")
    widget._panel.preset.value = "Strong contrast"
    widget._panel.outline.value = widget._panel.help.value = True
    wait(lambda: "mm²" in str(widget._panel.size.value))
    picture(viewer, folder / "view.png")
    viewer.close()


def linked(folder: Path) -> None:
    """Show the sample with its truth in the linked views, the crosshair in a lesion."""
    viewer = opened()
    _, mask = viewer.open_sample("napari-unet-tumour", "head-with-truth")
    viewer.window.add_plugin_dock_widget("napari-unet-tumour", "View")
    _, views = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Linked views")
    wait_for(0.5)
    places = np.argwhere(mask.data)
    views.link.go(np.array(mask.data_to_world(places[len(places) // 2])))
    viewer.reset_view()
    picture(viewer, folder / "linked-views.png", settle=60)
    viewer.close()
    surface(folder)


def surface(folder: Path) -> None:
    """Show the surface of the sample's truth in 3D."""
    viewer = opened()
    head, mask = viewer.open_sample("napari-unet-tumour", "head-with-truth")
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "View")
    mask.data[mask.data > 0] = mask.selected_label = 10  # a light colour
    widget._panel.surface.value = True
    wait(lambda: "triangles" in str(widget._panel.surface_note.value))
    viewer.dims.ndisplay = 3
    mask.visible = False
    head.opacity = 0.3
    viewer.scene.camera.angles = (10, 40, 60)
    picture(viewer, folder / "surface.png", settle=60)
    viewer.close()
    jobs.shutdown()


def wait_for(seconds: float) -> None:
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)


def listed(folder: Path) -> None:
    """Work through four copies of the sample: one accepted, one open."""
    source = Path(tempfile.mkdtemp()) / "meningioma study"
    head, _ = phantom()
    for n in range(1, 5):
        scans.write_mask(source / f"patient {n:02}" / "t1ce.nii.gz", head.array, head, ())
    viewer = opened()
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Work-list")
    widget.open_folder(str(source))
    widget.next()
    wait(lambda: widget.case is not None and widget.case.state == "segmented")
    wait(lambda: widget.worklist.cases[1].state == "segmented")
    widget.accept()
    wait(lambda: widget.worklist.cases[2].state == "segmented")
    picture(viewer, folder / "worklist.png")
    viewer.close()


def served(folder: Path) -> None:
    """List what a made-up server has: two studies of a patient, and the series of the later one."""
    studies = [
        answer_of("1.2.1", PatientID="4711", StudyDate="20260312", ModalitiesInStudy=["MR"], StudyDescription="Brain"),
        answer_of(
            "1.2.2",
            PatientID="4711",
            StudyDate="20260915",
            ModalitiesInStudy=["MR", "SEG"],
            StudyDescription="Brain, control",
        ),
    ]
    series = [
        answer_of(
            "1.3.1", SeriesNumber=3, Modality="MR", NumberOfSeriesRelatedInstances=192, SeriesDescription="t1 mprage"
        ),
        answer_of(
            "1.3.2", SeriesNumber=7, Modality="MR", NumberOfSeriesRelatedInstances=192, SeriesDescription="t1 mprage ce"
        ),
        answer_of(
            "1.3.3", SeriesNumber=900, Modality="SEG", NumberOfSeriesRelatedInstances=1, SeriesDescription="tumour"
        ),
    ]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(series if "/series" in self.path else studies).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *given: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 8042), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    viewer = opened()
    viewer.open_sample("napari-unet-tumour", "head-with-truth")
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "DICOM server")
    widget._panel.address.value, widget._panel.patient.value = "http://127.0.0.1:8042/dicom-web", "47*"
    widget.search()
    wait(lambda: not widget.running)
    widget.studies.setCurrentCell(1, 0)
    widget.studies.cellClicked.emit(1, 0)
    wait(lambda: not widget.running)
    widget.series.setCurrentCell(1, 0)
    widget.series.cellClicked.emit(1, 0)
    picture(viewer, folder / "dicom-server.png")
    viewer.close()
    server.shutdown()


def answer_of(uid: str, **values: object) -> dict:
    """Return a study or series as a DICOMweb server lists it."""
    import pydicom

    listed = pydicom.Dataset()
    listed.StudyInstanceUID = listed.SeriesInstanceUID = uid
    for name, value in values.items():
        setattr(listed, name, value)
    return listed.to_json_dict()


def compared(folder: Path) -> None:
    """Compare the sample's truth with a mask that lies a little beside it."""
    viewer = opened()
    _, mask = viewer.open_sample("napari-unet-tumour", "head-with-truth")
    mask.name = "first reader"
    place = {"scale": mask.scale, "translate": mask.translate, "units": mask.units}
    viewer.add_labels(np.roll(mask.data, (4, 3), axis=(1, 2)), name="second reader", **place)
    for layer in viewer.layers[1:]:
        layer.features = {"index": [0, 1], "label": ["background", "tumour"]}
        layer.visible = False
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Compare masks")
    widget.compare()
    wait(lambda: not widget.running)
    widget.go_to_largest()
    picture(viewer, folder / "compare-masks.png")
    viewer.close()


def lesions(folder: Path) -> None:
    """Measure the sample's true mask and compare it with a larger, earlier mask."""
    viewer = opened()
    _, mask = viewer.open_sample("napari-unet-tumour", "head-with-truth")
    mask.name = "head mask"
    earlier = np.maximum(mask.data, np.roll(mask.data, 3, axis=1))
    place = {"scale": mask.scale, "translate": mask.translate, "units": mask.units}
    viewer.add_labels(earlier, name="spring mask", visible=False, **place)
    mask.features = {"index": [0, 1], "label": ["background", "tumour"]}
    viewer.layers.selection.active = mask
    _, report = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Lesion report")
    report._panel.mask.value, report._panel.earlier.value = mask, viewer.layers["spring mask"]
    report.measure()
    wait(lambda: not report.running)
    report.table.selectRow(0)
    report.show_lesion(report.found.report.lesions[0])
    picture(viewer, folder / "lesion-report.png")
    page_picture(report, folder / "report-page.png")
    viewer.close()


def page_picture(report, path: Path) -> None:
    """Draw the page that Save report writes."""
    found = report.found
    document = QTextDocument()
    document.setHtml(html_report(found.report, found.mask, found.image, found.comparison))
    document.setTextWidth(900)
    image = QImage(900, min(int(document.size().height()), 1200), QImage.Format.Format_RGB32)
    image.fill(Qt.GlobalColor.white)
    painter = QPainter(image)
    document.drawContents(painter)
    painter.end()
    image.save(str(path))
    print(path)


def correct(folder: Path, truth: np.ndarray) -> None:
    """Correct two slices, fine-tune, and take the screenshot of the result before it is accepted."""
    viewer = opened()
    viewer.open_sample("napari-unet-tumour", "head")
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Correct and fine-tune")
    panel = widget._panel
    wait(lambda: widget.session is not None)
    panel.segment.native.click()
    wait(lambda: not widget.running)
    wait(lambda: widget.session.unsure.complete)
    review_four(viewer, widget, truth)
    picture(viewer, folder / "correct-before.png")
    panel.run.native.click()
    wait(lambda: widget.state.result is not None or not widget.running)
    picture(viewer, folder / "correct-after.png")
    viewer.close()
    new_class(folder, truth)


def review_four(viewer: napari.Viewer, widget: CorrectWidget, truth: np.ndarray) -> None:
    """Correct the four slices that Correct asks for first, mark them as reviewed, and go on to the next."""
    for number in [n for n in widget.session.order() if truth[n].any()][:4]:
        widget.go(number)
        widget.session.case.write(viewer, {number: truth[number].astype(np.uint8)})
        widget._panel.tick.native.click()
    widget._panel.next.native.click()


def new_class(folder: Path, truth: np.ndarray) -> None:
    """Paint a label that the model does not have, press Fine-tune, and take the screenshot of the question."""
    viewer = opened()
    viewer.open_sample("napari-unet-tumour", "head-with-truth")
    mask = viewer.layers[-1]
    number = int(np.argmax(np.count_nonzero(truth, axis=(1, 2))))
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Correct and fine-tune")
    panel = widget._panel
    wait(lambda: widget.session is not None)
    panel.paint.value = len(panel.model.value.spec.labels)
    mask.brush_size = 12
    widget.go(number)
    rows, columns = (int(at.mean()) for at in np.nonzero(truth[number]))
    mask.paint((number, rows, truth.shape[2] - columns), mask.selected_label)
    panel.tick.native.click()
    panel.run.native.click()
    panel.new_class.name.value = "cyst"
    picture(viewer, folder / "correct-new-class.png")
    viewer.close()


def wait(until) -> None:
    end = time.monotonic() + LONGEST_S
    while not until():
        if time.monotonic() > end:
            raise SystemExit("the window was not ready in time")
        QApplication.processEvents()
        time.sleep(0.005)


def opened() -> napari.Viewer:
    """Open an empty window of the pictures' size."""
    viewer = napari.Viewer(title="napari")
    viewer.window.resize(*SIZE)
    return viewer


def picture(viewer: napari.Viewer, path: Path, settle: int = 20) -> None:
    for _ in range(settle):
        QApplication.processEvents()
    imsave(path, viewer.screenshot(canvas_only=False, flash=False)[..., :3], check_contrast=False)
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images")
