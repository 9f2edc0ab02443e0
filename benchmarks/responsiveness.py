"""Measure how responsive the napari window is while a volume is segmented, and how soon the mask is shown.

    python benchmarks/responsiveness.py [--volume SCAN] [--model NAME|FILE] [--json OUT]

In a real window a timer fires every 5 ms while the slice changes ten times a second. The gaps between the timer's calls
are recorded with an idle window, while panels open, while the Segment widget works, while somebody paints and the
network learns, and while the same network runs in a napari thread_worker in the viewer's process. For gaps over 50 ms
it says in which functions the window was. Every part runs in a separate process; without a display, under Xvfb.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from _machine import command, machine
from napari_unet_tumour import jobs

if TYPE_CHECKING:
    from types import FrameType

BTP = Path(__file__).parents[2] / "shared/data/btp/01/Pre_Scan_T1.nii.gz"
TICK_MS = 5
LONG_MS, SAMPLE_MS, LOOKING_S = 50, 5, 300
P99_MS, LONGER_MS, WARM_S, COLD_S, VOLUME_S, MEMORY_MB, OPEN_S = 50, 100, 0.5, 8, 3, 150, 0.3
GIVEN_BACK_S, KEPT_MB = 5, 50
STEP_MS = 150


def main() -> None:
    given = arguments()
    if given.part:
        Path(given.json).write_text(json.dumps(PARTS[given.part](given)))
        jobs.shutdown()
        # The window is still open, and Qt sometimes crashes when the interpreter closes it. All is measured by then.
        os._exit(0)
    with display():
        found = {part: in_process(part, given) for part in PARTS}
    report = summary(found, given)
    print(table(report))
    if given.json:
        Path(given.json).write_text(json.dumps(report, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volume", help="a scan (default: btp/01 if it lies beside the project, else the sample)")
    parser.add_argument("--model", default="default", help="name of an installed model, or a file")
    parser.add_argument("--seconds", type=float, default=10, help="duration of each phase")
    parser.add_argument("--scrub-ms", type=int, default=100, help="time between slice changes")
    parser.add_argument("--json", help="write all figures here")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    return parser.parse_args()


def in_process(part: str, given: argparse.Namespace) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        words = [sys.executable, __file__, "--part", part, "--json", str(out), "--model", given.model]
        words += ["--seconds", str(given.seconds), "--scrub-ms", str(given.scrub_ms)]
        words += ["--volume", given.volume] if given.volume else []
        subprocess.run(words, check=True)
        return json.loads(out.read_text())


@contextlib.contextmanager
def display():
    if os.environ.get("DISPLAY") or os.name != "posix" or platform.system() == "Darwin":
        yield
        return
    read, write = os.pipe()
    words = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x900x24"]
    server = subprocess.Popen(words, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as number:
        os.environ["DISPLAY"] = f":{number.readline().strip()}"
    try:
        yield
    finally:
        server.terminate()
        server.wait()


# ---- inside one window ------------------------------------------------------------------------------------------


class Waits:
    """Notes where the GUI thread is while a gap is longer than `LONG_MS`, by function: of this plugin if any is."""

    def __init__(self, window: Window) -> None:
        self.window, self.where = window, Counter()
        if hasattr(signal, "setitimer"):  # a signal, since another thread must not walk the frames of this one
            signal.signal(signal.SIGALRM, self.look)
            signal.setitimer(signal.ITIMER_REAL, SAMPLE_MS / 1e3)

    def look(self, number: int, frame: FrameType | None) -> None:
        """Count the functions, the innermost one too, if the gap is long by now; look again later."""
        if time.perf_counter() - self.window.last > LONG_MS / 1e3:
            places = []
            while frame is not None:
                places.append((frame.f_code.co_filename, frame.f_code.co_name))
                frame = frame.f_back
            places = [place for place in places if place[0] != __file__]
            ours = [place for place in places if f"{os.sep}napari_unet_tumour{os.sep}" in place[0]]
            names = dict.fromkeys(f"{'/'.join(Path(file).parts[-2:])}:{name}" for file, name in ours[:1] + places[:1])
            self.where[" > ".join(names) or "Qt's event loop"] += 1
        signal.setitimer(signal.ITIMER_REAL, SAMPLE_MS / 1e3)


class Window:
    """A viewer with the volume, a timer that records its gaps, and a timer that changes the slice."""

    def __init__(self, given: argparse.Namespace) -> None:
        import napari
        from qtpy.QtCore import Qt, QTimer

        self.viewer = napari.Viewer()
        self.array = volume(given)
        self.image = self.viewer.add_image(self.array, name="scan")
        self.middle = self.array.shape[0] // 2
        self.viewer.dims.set_current_step(0, self.middle)
        self.gaps: list[float] = []
        self.busy: list[float] = []
        self.last_busy = time.thread_time()
        self.last = time.perf_counter()
        self.until = lambda: True
        self.loop = None
        self.ticker, self.hand = QTimer(), QTimer()
        self.ticker.setTimerType(Qt.TimerType.PreciseTimer)
        self.ticker.timeout.connect(self.tick)
        self.hand.timeout.connect(self.scrub)
        self.ticker.start(TICK_MS)
        self.waits = Waits(self)
        self.scrub_ms = given.scrub_ms
        self.wait(lambda: False, 2)

    def tick(self) -> None:
        """Record the gap in wall time and in processor time of the GUI thread, which other programs do not change."""
        busy = time.thread_time()
        self.busy.append(busy - self.last_busy)
        self.last_busy = busy
        now = time.perf_counter()
        self.gaps.append(now - self.last)
        self.last = now
        if self.loop is not None and (self.until() or now > self.end):
            self.loop.quit()

    def scrub(self) -> None:
        """Show the next slice."""
        self.viewer.dims.set_current_step(0, (self.viewer.dims.current_step[0] + 1) % self.array.shape[0])

    def wait(self, until, seconds: float) -> bool:
        """Run the window until a condition holds; returns False after a timeout."""
        from qtpy.QtCore import QEventLoop

        self.until, self.end, self.loop = until, time.perf_counter() + seconds, QEventLoop()
        self.loop.exec()
        self.loop = None
        return bool(until())

    def watch(self, work, seconds: float, scrubbing: bool = True) -> dict:
        """Return the gaps while `work()` is called again and again, at most `seconds` plus one more call."""
        self.viewer.dims.set_current_step(0, self.middle)
        self.wait(lambda: False, 0.3)
        self.gaps.clear()
        self.busy.clear()
        self.waits.where = Counter()
        if scrubbing:
            self.hand.start(self.scrub_ms)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            work()
        self.hand.stop()
        waits = {name: SAMPLE_MS * count for name, count in self.waits.where.most_common(5)}
        return {**gap_figures(self.gaps, self.busy), "waits_ms": waits}


def volume(given: argparse.Namespace) -> np.ndarray:
    from napari_unet_tumour import scans

    if given.volume or BTP.exists():
        return np.asarray(scans.read(Path(given.volume or BTP)).array)
    from napari_unet_tumour.phantom import phantom

    return np.asarray(phantom()[0].array)


def gap_figures(gaps: list[float], busy: list[float]) -> dict:
    ms = np.array(gaps) * 1e3
    names = ("p50_ms", "p99_ms", "p999_ms")
    figures = dict(zip(names, np.percentile(ms, [50, 99, 99.9]).tolist(), strict=True))
    figures |= {"busy_p99_ms": float(np.percentile(busy, 99) * 1e3), "busy_longest_ms": max(busy) * 1e3}
    return {**figures, "longest_ms": float(ms.max()), "over_100_ms": int((ms > 100).sum()), "ticks": len(gaps)}


def memory_mb() -> float:
    import psutil

    return psutil.Process().memory_full_info().uss / 1e6


class Button:
    """The real Segment widget, docked, and its Run button."""

    def __init__(self, window: Window, given: argparse.Namespace) -> None:
        from napari_unet_tumour.widgets.segment.widget import SegmentWidget

        self.window = window
        start = time.perf_counter()
        self.widget = SegmentWidget(window.viewer)
        window.viewer.window.add_dock_widget(self.widget, name="Segment")
        self.open_s = time.perf_counter() - start
        self.panel = self.widget._panel
        if given.model != "default":
            self.widget.choose_model(given.model)

    def press(self) -> tuple[float, float]:
        """Press Run and wait; return the seconds to the first mask and to the last."""
        panel, start = self.panel, time.perf_counter()
        panel.run.native.click()
        if not self.window.wait(lambda: panel.bar.value >= 1 or panel.run.text == "Run", 60):
            sys.exit(f"no mask after 60 s: {panel.status.value}")
        first = time.perf_counter() - start
        self.window.wait(lambda: panel.run.text == "Run", 300)
        if "slices in" not in panel.status.value:
            sys.exit(f"the run ended with: {panel.status.value}")
        return first, time.perf_counter() - start


def workers_mb() -> float:
    """Return the memory of the worker processes of this window."""
    import psutil

    return sum(child.memory_full_info().uss for child in psutil.Process().children(recursive=True)) / 1e6


def part_ours(given: argparse.Namespace) -> dict:
    window = Window(given)
    idle = window.watch(lambda: window.wait(lambda: False, 1), given.seconds)
    before = memory_mb()
    buttons: list[Button] = []
    opening = window.watch(lambda: (buttons.append(Button(window, given)), window.wait(lambda: False, 8)), 0.1)
    button = buttons[0]
    window.wait(lambda: button.panel.found.value != "…", 60)
    window.wait(lambda: False, 1)
    adding: list[tuple[float, float]] = []
    first_run = window.watch(lambda: adding.append(button.press()), 0.1)
    quiet = [button.press() for _ in range(5)]
    runs: list[tuple[float, float]] = []
    work = window.watch(lambda: runs.append(button.press()), given.seconds)
    return {
        "idle": idle, "opening": opening, "first_run": first_run, "segmenting": work, "open_s": button.open_s,
        "first_mask_s": [first for first, _ in quiet], "volume_s": [last for _, last in quiet],
        "first_mask_scrubbing_s": [first for first, _ in runs], "volume_scrubbing_s": [last for _, last in runs],
        "memory_mb": memory_mb() - before, "torch": "torch" in sys.modules, "status": button.panel.status.value,
        "slices": len(window.array),
    }  # fmt: skip


def part_panels(given: argparse.Namespace) -> dict:
    """Open the sample, then the three panels one after the other, as a person does."""
    from napari_unet_tumour.widgets.common import panels

    window = Window(given)
    window.viewer.layers.clear()
    panels.open_sample(window.viewer)
    window.wait(lambda: False, 2)
    return {
        name: window.watch(
            lambda name=name: (panels.open_panel(window.viewer, name), window.wait(lambda: False, 5)), 0.1, False
        )
        for name in (panels.SEGMENT, panels.CORRECT, panels.REPORT)
    }


def part_cold(given: argparse.Namespace) -> dict:
    window = Window(given)
    first, last = Button(window, given).press()
    return {"first_mask_s": first, "volume_s": last}


def part_thread(given: argparse.Namespace) -> dict:
    window = Window(given)
    idle = window.watch(lambda: window.wait(lambda: False, 1), given.seconds)
    before = memory_mb()
    start = in_viewer_worker(window, given)
    runs = [start() for _ in range(3)]
    work = window.watch(lambda: runs.append(start()), given.seconds)
    return {"idle": idle, "segmenting": work, "volume_scrubbing_s": runs[3:], "memory_mb": memory_mb() - before}


def in_viewer_worker(window: Window, given: argparse.Namespace):
    """Return a function that segments the volume in a napari thread_worker, as most plugins do."""
    from napari.qt.threading import thread_worker

    from napari_unet_tumour.base.slicing import layout_of
    from napari_unet_tumour.engine.inference.segment import iter_segment
    from napari_unet_tumour.engine.model import load
    from napari_unet_tumour.models import registry
    from napari_unet_tumour.postprocess.threshold import mask_from_probability
    from napari_unet_tumour.settings import SegmentSettings

    model = load(os.fspath(registry.find(given.model).path))
    settings, layout = SegmentSettings(), layout_of(window.array.shape)
    mask = window.viewer.add_labels(np.zeros(layout.mask_shape, np.uint8))
    order = sorted(range(layout.planes), key=lambda n: abs(n - window.middle))

    @thread_worker
    def segment():
        yield from iter_segment(model, window.array, layout, settings, order)

    def show(tick) -> None:
        for n, found in zip(tick.values["planes"], tick.values["probability"], strict=True):
            layout.write_plane(mask.data, n, mask_from_probability(found, settings))
        mask.refresh()

    def start() -> float:
        begun, ended = time.perf_counter(), []
        worker = segment()
        worker.yielded.connect(show)
        worker.finished.connect(lambda: ended.append(True))
        worker.start()
        window.wait(lambda: bool(ended), 300)
        return time.perf_counter() - begun

    return start


def part_learning(given: argparse.Namespace) -> dict:
    """Three reviewed slices, then Fine-tune, with a brush stroke and a new slice every 0.1 s."""
    os.environ["NAPARI_UNET_TUMOUR_HOME"] = tempfile.mkdtemp()  # nobody's corrections
    from napari_unet_tumour.widgets.correct.widget import CorrectWidget

    window = Window(given)
    widget = CorrectWidget(window.viewer)
    window.viewer.window.add_dock_widget(widget, name="Correct and fine-tune")
    panel = widget._panel
    window.wait(lambda: widget.session is not None, 60)
    panel.segment.native.click()
    window.wait(lambda: not widget.running, 300)
    mask = window.viewer.layers[-1]
    for n in (-4, 0, 4):
        widget.go(window.middle + n)
        mask.paint((window.middle + n, *(side // 2 for side in mask.data.shape[1:])), 1)
        panel.tick.native.click()
    window.wait(lambda: False, 2)

    def stroke() -> None:
        plane = window.viewer.dims.current_step[0]
        mask.paint((plane, *(int(side * np.random.default_rng().random()) for side in mask.data.shape[1:])), 1)
        window.wait(lambda: False, 0.1)

    idle, before = window.watch(stroke, given.seconds), workers_mb()
    panel.seconds.value = given.seconds + 5
    panel.run.native.click()
    if not window.wait(lambda: bool(panel.curve.loss), LOOKING_S):
        sys.exit(f"it does not learn: {panel.status.value}")
    held: list[float] = []
    over = threading.Event()
    meter = threading.Thread(target=lambda: [held.append(workers_mb()) for _ in iter(lambda: over.wait(0.5), True)])
    meter.start()  # to ask for the memory takes tens of milliseconds, which are not the window's
    work = window.watch(stroke, given.seconds)
    over.set()
    meter.join()
    window.wait(lambda: not widget.running, 60)
    window.wait(lambda: False, GIVEN_BACK_S)
    memory = {"worker_mb": before, "worker_learning_mb": max(held, default=before), "worker_after_mb": workers_mb()}
    found = {"painting": idle, "learning": work, "status": panel.status.value, "torch": "torch" in sys.modules}
    return found | memory


PARTS = {"ours": part_ours, "panels": part_panels, "cold": part_cold, "thread": part_thread, "learning": part_learning}


# ---- what it says -----------------------------------------------------------------------------------------------


def summary(found: dict, given: argparse.Namespace) -> dict:
    ours, thread = found["ours"], found["thread"]
    ratios = {
        "p99_ours_to_idle": ours["segmenting"]["p99_ms"] / ours["idle"]["p99_ms"],
        "p99_ours_to_thread": ours["segmenting"]["p99_ms"] / thread["segmenting"]["p99_ms"],
        "longest_ours_to_thread": ours["segmenting"]["longest_ms"] / thread["segmenting"]["longest_ms"],
        "p99_learning_to_painting": found["learning"]["learning"]["p99_ms"] / found["learning"]["painting"]["p99_ms"],
        "volume_ours_to_thread": middle(ours["volume_scrubbing_s"]) / middle(thread["volume_scrubbing_s"]),
    }
    return {"command": command(), "machine": machine(), **found, "ratios": ratios, "bounds": bounds(found)}


def bounds(found: dict) -> dict:
    ours = found["ours"]
    work, idle = ours["segmenting"], ours["idle"]
    kept = found["learning"]["worker_after_mb"] - found["learning"]["worker_mb"]
    checks = {
        "99th percentile of gaps, ms": (work["p99_ms"], P99_MS),
        "longest gap beyond idle's, ms": (work["longest_ms"] - idle["longest_ms"], LONGER_MS),
        "click to first mask, warm, s": (middle(ours["first_mask_s"]), WARM_S),
        "click to first mask, cold, s": (found["cold"]["first_mask_s"], COLD_S),
        "whole volume, warm, s": (middle(ours["volume_s"]), VOLUME_S),
        "memory growth, MB": (ours["memory_mb"], MEMORY_MB),
        "opening the widget, s": (ours["open_s"], OPEN_S),
        "torch in the viewer": (float(ours["torch"] or found["learning"]["torch"]), 0.5),
        "99th percentile while it learns, ms": (found["learning"]["learning"]["p99_ms"], P99_MS),
        **{f"opening {name}, longest gap, ms": (row["longest_ms"], STEP_MS) for name, row in found["panels"].items()},
        "first run, longest gap, ms": (ours["first_run"]["longest_ms"], STEP_MS),
        f"worker's memory {GIVEN_BACK_S} s after it learnt, MB more than before": (kept, KEPT_MB),
    }
    return {name: {"found": value, "bound": bound, "held": value < bound} for name, (value, bound) in checks.items()}


def middle(values: list[float]) -> float:
    return float(np.median(values))


def table(report: dict) -> str:
    ours, thread = report["ours"], report["thread"]
    rows = {
        "idle": ours["idle"],
        "opening the widget, warming up": ours["opening"],
        "first run, adds the mask layer": ours["first_run"],
        "segmenting, this plugin": ours["segmenting"],
        "idle (before the thread_worker)": thread["idle"],
        "segmenting, thread_worker": thread["segmenting"],
        "painting and scrubbing": report["learning"]["painting"],
        "the same while it learns": report["learning"]["learning"],
        **{f"opening {name}": row for name, row in report["panels"].items()},
    }
    lines = [
        f"$ {report['command']}",
        f"{report['machine']}",
        "",
        "| window, ms | median | p99 | longest gap | busy p99 | busy longest |",
    ]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    keys = ("p50_ms", "p99_ms", "longest_ms", "busy_p99_ms", "busy_longest_ms")
    lines += [f"| {name} | " + " | ".join(f"{row[key]:.0f}" for key in keys) + " |" for name, row in rows.items()]
    lines += ["", "busy: the GUI thread's own processor time within a gap, which other programs do not lengthen", ""]
    lines += [
        f"in gaps over {LONG_MS} ms while {name}: {where} {ms} ms"
        for name, row in rows.items()
        for where, ms in row["waits_ms"].items()
    ]
    lines += [
        f"{who}: volume of {ours['slices']} slices while scrubbing in {middle(one['volume_scrubbing_s']):.2f} s, "
        f"viewer's memory +{one['memory_mb']:.0f} MB"
        for who, one in (("this plugin", ours), ("thread_worker", thread))
    ]
    lines += [f"{name}: {value:.2f}" for name, value in report["ratios"].items()]
    lines += [
        f"{'ok  ' if one['held'] else 'MISS'} {name}: {one['found']:.2f} (bound {one['bound']})"
        for name, one in report["bounds"].items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    if shutil.which("Xvfb") is None and not os.environ.get("DISPLAY") and platform.system() == "Linux":
        sys.exit("There is no display and no Xvfb: install xvfb, or run it in a desktop session")
    main()
