"""Measure how soon the next patient of a work-list is on screen, and how soon a long list opens.

    python benchmarks/worklist.py [--patients 6] [--shape 155 240 240] [--scans 1000] [--profile] [--json OUT]

Opens a real window as `napari-unet-tumour worklist` does, with the panels View, Correct and Work-list, on scans that
have a network's mask. Presses *Accept and next* once the next scan is prepared, and takes the time until the canvas was
painted with that scan's mask. Without a display, under Xvfb. Nothing is written outside a temporary folder.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from _machine import command, machine, show
from responsiveness import display

NEXT_S, LIST_S = 1.0, 1.0
PREPARE_S = 120


def main() -> None:
    given = arguments()
    if given.folder:
        measure(given)
        os._exit(0)  # Qt sometimes crashes when the interpreter closes a window that is open
    import subprocess

    with tempfile.TemporaryDirectory() as folder, display():
        home = {"NAPARI_UNET_TUMOUR_HOME": str(Path(folder) / "home")}
        subprocess.run([sys.executable, *sys.argv, "--folder", folder], check=True, env={**os.environ, **home})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=6, help="scans to go through; the first one is not counted")
    parser.add_argument("--shape", type=int, nargs=3, default=(155, 240, 240), help="slices, rows and columns of each")
    parser.add_argument("--scans", type=int, default=1000, help="length of the list that is opened")
    parser.add_argument("--profile", action="store_true", help="print what took the time")
    parser.add_argument("--json", help="write all figures here")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(given: argparse.Namespace) -> None:
    about = {"command": command(), "machine": machine()}
    root = Path(given.folder)
    patients = make_patients(root / "patients", given.patients, tuple(given.shape))
    opening = long_list(root / "long", given.scans)
    seconds, processor = next_patients(patients, given.profile)
    report = {
        **about,
        "shape": list(given.shape),
        "next_s": seconds,
        "cpu_s": processor,
        "list_s": opening,
        "scans": given.scans,
    }
    show(report)
    print(f"Next patient to painted mask, {len(seconds)} patients of {' x '.join(map(str, given.shape))}, prepared:")
    worst, median = max(seconds), float(np.median(seconds))
    print(f"  p50 {median:.2f} s, worst {worst:.2f} s (aim: under {NEXT_S:g} s){'' if worst < NEXT_S else '  missed'}")
    print(f"  processor time of the window's thread: p50 {np.median(processor):.2f} s, worst {max(processor):.2f} s")
    missed = "" if opening < LIST_S else "  missed"
    print(f"A list of {given.scans} scans: {opening:.2f} s (aim: under {LIST_S:g} s){missed}")
    if given.json:
        Path(given.json).write_text(json.dumps(report, indent=1))


def make_patients(folder: Path, count: int, shape: tuple[int, ...]) -> Path:
    """Write scans with a mask each, as segmenting ahead leaves them."""
    import nibabel

    from napari_unet_tumour import scans
    from napari_unet_tumour.worklist import SEGMENTED, Worklist

    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(count):
        grey = rng.integers(0, 900, shape, dtype=np.int16)
        image = nibabel.Nifti1Image(grey.transpose(2, 1, 0), np.diag([1.0, 1.0, 1.2, 1.0]))
        image.header.set_xyzt_units("mm")
        nibabel.save(image, folder / f"patient {n:02}.nii")
    worklist = Worklist(folder)
    for case in worklist.cases:
        mask = np.zeros(shape, np.uint8)
        z, y, x = (length // 2 for length in shape)
        mask[z - 15 : z + 15, y - 30 : y + 30, x - 30 : x + 30] = 1
        worklist.network_path(case.key).parent.mkdir(parents=True, exist_ok=True)
        scans.write_mask(worklist.network_path(case.key), mask, scans.read(case.path))
        worklist.update(case.key, state=SEGMENTED, lesions=1, volume=100.0)
    return folder


def long_list(folder: Path, count: int) -> float:
    """Return the seconds that opening a list takes; its files hold no pixels, so none can be read."""
    from napari_unet_tumour.worklist import Worklist

    for n in range(count):
        below = folder / f"patient {n:04}"
        below.mkdir(parents=True)
        (below / "t1.nii.gz").write_bytes(b"")
    start = time.perf_counter()
    assert len(Worklist(folder).cases) == count
    return time.perf_counter() - start


def next_patients(folder: Path, profile: bool) -> tuple[list[float], list[float]]:
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_unet_tumour.widgets.common import panels

    viewer = napari.Viewer()
    viewer.window.resize(1500, 950)
    for name in (panels.VIEW, panels.CORRECT):
        panels.open_panel(viewer, name)
    widget = panels.open_panel(viewer, panels.WORKLIST)
    widget.open_folder(str(folder))
    app = QApplication.instance()
    painted: list[tuple[str, float, float]] = []

    def on_draw(event: object) -> None:
        if widget.case is not None and widget._open.mask is not None:
            painted.append((widget.case.key, time.perf_counter(), time.thread_time()))

    viewer.window._qt_viewer.canvas._scene_canvas.events.draw.connect(on_draw, position="last")

    def until(ready: object) -> None:
        end = time.perf_counter() + PREPARE_S
        while not ready():  # type: ignore[operator]
            assert time.perf_counter() < end, "waited in vain"
            app.processEvents()

    def rest() -> None:
        end = time.perf_counter() + 4  # autosave, counting and garbage of the scan before are over then
        until(lambda: time.perf_counter() > end)

    widget.next()
    until(lambda: widget.case is not None and widget._open.mask is not None)
    seconds, processor, profiler = [], [], cProfile.Profile(time.thread_time)
    while (after := widget.worklist.next_open(widget.case.key)) is not None and after.key > widget.case.key:
        until(lambda: (one := widget._preparer.prepared(after.key)) is not None and one.mask is not None)
        rest()
        painted.clear()
        start, cpu = time.perf_counter(), time.thread_time()
        if profile:
            profiler.enable()
        widget.accept()
        until(lambda: painted and painted[-1][0] == after.key)
        profiler.disable()
        assert widget._open.mask.data.any()
        _, wall, thread = next(one for one in painted if one[0] == after.key)
        seconds.append(wall - start)
        processor.append(thread - cpu)
    if profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(70)
    return seconds, processor


if __name__ == "__main__":
    main()
