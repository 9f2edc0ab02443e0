"""From an empty window to the report, by the panels' own buttons."""

import numpy as np
import pytest
from napari.layers import Labels

from napari_unet_tumour.widgets.common import panels


@pytest.mark.usefixtures("instant")
def test_from_an_empty_window_to_the_report(opened, qtbot):
    one = opened()
    start = one.panel.start_view
    assert not start.text.native.isHidden()
    one.click(start.buttons[1])
    assert start.text.native.isHidden()
    image = one.viewer.layers[0]
    assert one.panel.image.value == image

    one.click(one.panel.correct)
    correct = one.viewer.window.dock_widgets[f"{panels.CORRECT} ({panels.PLUGIN})"]
    one.wait(lambda: correct.session is not None)
    panel = correct._panel
    assert panel.start_view.text.native.isHidden()
    assert (panel.image.value, panel.model.value.hash) == (image, one.panel.model.value.hash)
    assert panel.mask.value is None

    # Without any mask the brush makes an empty one.
    panel.paint.native.activated.emit(0)
    mask = one.viewer.layers[-1]
    assert isinstance(mask, Labels)
    assert (mask.mode, mask.selected_label) == ("paint", 1)
    assert not mask.data.any()
    mask.data[9, 60:90, 60:90] = 1
    one.wait(lambda: panel.mask.value == mask)

    panel.measure.native.click()
    report = one.viewer.window.dock_widgets[f"{panels.REPORT} ({panels.PLUGIN})"]
    assert (report._panel.mask.value, report._panel.scan.value) == (mask, image)
    assert not report._panel.csv.enabled
    report.measure()
    one.wait(lambda: not report.running)
    assert report._panel.csv.enabled
    heads = report.table.heads()
    assert "Perpendicular mm" in heads
    assert "Measurable (>= 10 mm)" in heads
    assert report.table.text().splitlines()[1].split("\t")[heads.index("Slice")] == "10"


def _open(viewer):
    return {name.partition(" (")[0] for name in viewer.window.dock_widgets if panels.PLUGIN in name}


def test_all_panels_at_once(make_napari_viewer, instant, qtbot):
    viewer = make_napari_viewer(show=True)
    panels.open_all()
    assert _open(viewer) == {panels.SEGMENT}
    qtbot.waitUntil(lambda: _open(viewer) == {panels.SEGMENT, panels.CORRECT, panels.REPORT})
    segment = viewer.window.dock_widgets[f"{panels.SEGMENT} ({panels.PLUGIN})"]
    qtbot.waitUntil(lambda: not segment.native.visibleRegion().isEmpty())
    for dock in viewer.window.dock_widgets.values():
        if hasattr(dock, "_panel"):
            assert not dock._panel.start_view.text.native.isHidden()
    viewer.add_labels(np.zeros((4, 5), np.uint8))
    report = viewer.window.dock_widgets[f"{panels.REPORT} ({panels.PLUGIN})"]
    assert report._panel.start_view.text.native.isHidden()
