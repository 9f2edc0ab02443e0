"""kill -9 of a real napari, at work: what was drawn and ticked comes back in the next one."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from napari_unet_tumour.models import registry

TESTS = Path(__file__).parents[2]
PROGRAM = """
    import sys, time
    sys.path.insert(0, sys.argv[2])
    import napari, numpy as np
    from qtpy.QtWidgets import QApplication
    from napari_unet_tumour import jobs
    jobs.TASKS["finetune"] = "tune_tasks:iter_tune"

    data = np.load(sys.argv[1])
    viewer = napari.Viewer(show=False)
    viewer.add_image(data, name="a name of a patient")
    mask = viewer.add_labels((data > 127).astype(np.uint8))
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-tumour", "Correct and fine-tune")
    panel = widget._panel

    def until(ready):
        while not ready():
            QApplication.processEvents()
            time.sleep(0.01)

    until(lambda: widget.session is not None)
    panel.model.value = next(entry for entry in panel.model.choices if entry.name == "known")
    until(lambda: widget.session is not None)
    mask.brush_size = 6
    for n in (1, 0, 3):
        viewer.dims.set_point(0, n)
        mask.paint((n, 8, 8), 1)
        panel.tick.native.click()
    viewer.dims.set_point(0, 5)
    if sys.argv[3] == "learning":
        panel.seconds.value = 60
        panel.run.native.click()
        until(lambda: np.array_equal(mask.data[5], data[5] > 160))
    mask.paint((4, 60, 60), 255)
    print("painted", flush=True)
    end = time.time() + 60
    until(lambda: time.time() > end or mask.paint((2, 50, 8 + int(time.time() * 20) % 40), 1))
"""


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX")
@pytest.mark.parametrize("when", [pytest.param("painting", marks=pytest.mark.slow), "learning"])
def test_kill_9_loses_at_most_two_seconds(opened, scan, tmp_path, when):
    data = scan(7, 64, 64)
    np.save(tmp_path / "scan.npy", data)
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "scan.npy"), str(TESTS), when]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as napari:
        watchdog = threading.Timer(150, napari.kill)
        watchdog.start()
        assert napari.stdout.readline() == "painted\n"
        time.sleep(2)
        napari.send_signal(signal.SIGKILL)
        watchdog.cancel()
    for file in (registry.data_dir() / "corrections").rglob("*"):
        assert file.is_dir() or b"patient" not in file.read_bytes()

    one = opened(lambda viewer: viewer.add_image(data, name="moved"), widget="Correct and fine-tune")
    one.wait(lambda: one.widget.session is not None)
    assert "3 reviewed and 2 edited" in one.panel.offer.value
    one.click(one.panel.restore)
    one.wait(lambda: len(one.viewer.layers) == 2 and one.viewer.layers[-1].data[6].any())
    mask, truth = one.viewer.layers[-1], data > 127
    assert mask.data[1, 8, 8] == mask.data[3, 8, 8] == 1
    assert mask.data[4, 60, 60] == 255
    assert mask.data[2, 50].any()
    for n in (5, 6):
        assert np.array_equal(mask.data[n], truth[n]), n
    assert [state.name for state in one.widget.session.states()] == [
        "reviewed", "reviewed", "edited", "held out", "edited", "predicted", "predicted",
    ]  # fmt: skip
    assert one.panel.model.value.name == "known"
    assert mask.metadata["napari-unet-tumour"]["image"] == "moved"
    for _ in range(7):
        mask.undo()
    assert not mask.data.any(), "each restored slice is one undo step"
