"""Take the screenshots of the documentation in a real window: a run on the sample, a fine-tuning, a report.

Usage: python scripts/screenshots.py [FOLDER]
Without a screen: xvfb-run -a -s "-screen 0 1400x900x24" python scripts/screenshots.py
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import napari
import numpy as np
from napari.settings import get_settings
from qtpy.QtWidgets import QApplication
from skimage.io import imsave

from napari_unet_tumour import jobs
from napari_unet_tumour.models import registry
from napari_unet_tumour.phantom import phantom

SIZE = (1400, 900)
LONGEST_S = 300


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[registry.HOME] = tempfile.mkdtemp()  # nor models and corrections
    get_settings(Path(tempfile.mkdtemp()) / "napari.yaml")  # no person's theme and fonts in the pictures
    viewer = napari.Viewer(title="napari")
    viewer.window.resize(*SIZE)
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


def lesions(folder: Path) -> None:
    """Measure the sample's true mask and compare it with a larger, earlier mask."""
    viewer = napari.Viewer(title="napari")
    viewer.window.resize(*SIZE)
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
    viewer.close()


def correct(folder: Path, truth: np.ndarray) -> None:
    """Correct two slices, fine-tune, and take the screenshot of the result before it is accepted."""
    viewer = napari.Viewer(title="napari")
    viewer.window.resize(*SIZE)
    viewer.open_sample("napari-unet-tumour", "head")
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Correct and fine-tune")
    panel = widget._panel
    wait(lambda: widget.session is not None)
    panel.segment.native.click()
    wait(lambda: not widget.running)
    wait(lambda: widget.session.unsure.complete)
    for number in [n for n in widget.session.order() if truth[n].any()][:4]:
        widget.go(number)
        widget.session.case.write(viewer, {number: truth[number].astype(np.uint8)})
        panel.tick.native.click()
    panel.next.native.click()
    picture(viewer, folder / "correct-before.png")
    panel.run.native.click()
    wait(lambda: widget._learning.judged is not None or not widget.running)
    picture(viewer, folder / "correct-after.png")
    viewer.close()
    new_class(folder, truth)


def new_class(folder: Path, truth: np.ndarray) -> None:
    """Paint a label that the model does not have, press Fine-tune, and take the screenshot of the question."""
    viewer = napari.Viewer(title="napari")
    viewer.window.resize(*SIZE)
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


def picture(viewer: napari.Viewer, path: Path, settle: int = 20) -> None:
    for _ in range(settle):
        QApplication.processEvents()
    imsave(path, viewer.screenshot(canvas_only=False, flash=False)[..., :3], check_contrast=False)
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images")
