"""Measure how soon the answer to a click is on the screen, in a real window with the Correct panel.

    python benchmarks/click_latency.py [--scan SCAN] [--clicks N] [--json OUT]

Click mode is on. The mouse clicks on places around the middle of a slice, left and right in turn, on one slice after
another; the first click on each slice is counted apart, since the slice is prepared then. Recorded is the time from the
press of the button until the mask with the answer has been painted, and how much of it the GUI thread works. Without a
display, under Xvfb.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time

import numpy as np

from _machine import command, finish, machine
from linked_views import summary, wait
from responsiveness import display

LIMIT_MS = 150
PER_SLICE, WARM_UP, LOOK_MS = 6, 1, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", help="a file or folder; the sample head by default")
    parser.add_argument("--clicks", type=int, default=60)
    parser.add_argument("--json", help="write all figures here")
    given = parser.parse_args()
    os.environ["NAPARI_UNET_TUMOUR_HOME"] = tempfile.mkdtemp()  # nobody's corrections
    with display():
        found = measured(given.scan, given.clicks)
    report = {"command": command(), "machine": machine(), **found}
    finish(report, table(report), given.json)


def measured(scan: str | None, count: int) -> dict:
    import napari

    from napari_unet_tumour.widgets.correct.widget import CorrectWidget

    viewer = napari.Viewer()
    viewer.window.resize(1400, 900)
    if scan is None:
        viewer.open_sample("napari-unet-tumour", "head")
    else:
        viewer.open(scan, plugin="napari-unet-tumour")
    widget = CorrectWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Correct and fine-tune")
    wait(lambda: widget.session is not None, 60)
    wait(lambda: False, 3)  # until the panel has looked at the slices
    mode = widget._click
    mode.start()
    slices, rng = viewer.layers[0].data.shape[0], np.random.default_rng(0)
    first, others, busy = [], [], []
    for n in range((count + WARM_UP) // PER_SLICE + 1):
        widget.go(slices // 4 + n % (slices // 2))
        wait(lambda: False, 0.5)
        for k in range(PER_SLICE):
            place = np.array(viewer.layers[0].data.shape[1:]) * rng.uniform(0.35, 0.65, 2)
            took, own = clicked(viewer, widget, mode, place, left=k % 2 == 0)
            if n >= WARM_UP:
                (others if k else first).append(took)
                busy.append(own)
    return {
        "first_ms": summary(first), "next_ms": summary(others), "busy_ms": summary(busy), "clicks": len(others),
        "answers": mode_note(widget),
    }  # fmt: skip


def mode_note(widget) -> str:
    return str(widget._panel.status.value)


def clicked(viewer, widget, mode, place: np.ndarray, left: bool) -> tuple[float, float]:
    """Click on a place of the slice; return the milliseconds until the answer is painted, and the GUI thread's own."""
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest

    mask = widget.session.case.parts[0].mask
    world = mask.data_to_world((viewer.dims.current_step[0], *place))
    canvas, camera = viewer.window._qt_viewer.canvas, getattr(viewer, "scene", viewer).camera
    down, across = (np.array(world[-2:]) - np.array(camera.center)[-2:]) * camera.zoom
    native = canvas.native
    point = QPoint(round(native.width() / 2 + across), round(native.height() / 2 + down))
    state = {"answered": 0.0, "painted": 0.0}

    def on_draw(event) -> None:
        answered()
        if state["answered"]:
            state["painted"] = state["painted"] or time.perf_counter()

    def answered() -> bool:
        if not state["answered"] and all(one.pending is None for _, one in mode._slices.values()):
            state["answered"] = time.perf_counter()
        return bool(state["painted"])

    canvas.events.draw.connect(on_draw, position="last")
    button = Qt.MouseButton.LeftButton if left else Qt.MouseButton.RightButton
    start, busy = time.perf_counter(), time.thread_time()
    QTest.mouseClick(native, button, Qt.KeyboardModifier.NoModifier, point)
    # Nothing is painted where a click changes no pixel: then the time of the answer counts.
    until(lambda: answered() or (state["answered"] and time.perf_counter() - state["answered"] > 0.3), 10)
    canvas.events.draw.disconnect(on_draw)
    return 1000 * ((state["painted"] or state["answered"]) - start), 1000 * (time.thread_time() - busy)


def until(condition, seconds: float) -> None:
    """Run Qt's event loop, which sleeps between events as that of napari does, until a condition holds."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop, timer, end = QEventLoop(), QTimer(), time.perf_counter() + seconds
    timer.timeout.connect(lambda: loop.quit() if condition() or time.perf_counter() > end else None)
    timer.start(LOOK_MS)
    loop.exec()
    timer.stop()


def table(report: dict) -> str:
    rows = {"first click on a slice": report["first_ms"], "the next ones": report["next_ms"]}
    rows["the GUI thread's own time, all"] = report["busy_ms"]
    lines = ["", "| click to answer on screen, ms | p50 | p95 | least | most |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {name} | " + " | ".join(f"{value:.0f}" for value in row.values()) + " |" for name, row in rows.items()
    ]
    held = report["next_ms"]["p95"] < LIMIT_MS
    lines += ["", f"{'ok  ' if held else 'MISS'} the next ones, p95: bound {LIMIT_MS} ms", report["answers"]]
    return "\n".join(lines)


if __name__ == "__main__":
    if shutil.which("Xvfb") is None and not os.environ.get("DISPLAY") and sys.platform == "linux":
        sys.exit("There is no display and no Xvfb: install xvfb, or run it in a desktop session")
    main()
