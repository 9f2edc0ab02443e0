"""Segment a cohort with several workers, one of them killed, and images that are far larger than memory.

    python benchmarks/scale.py [--quick] [--only PARTS] [--scans N] [--workers 1,2] [--json OUT]

cohort   the same folder of scans with 1, 2, ... workers of one core each; the speed-up
killed   the same with two workers, one of them killed in the middle: no scan may be missing
resume   the same folder again, all scans finished: seconds, as a fraction of the limit for 1000 finished scans
memory   a lazy 32768 x 32768 image and a lazy stack of 2000 slices into masks on disk: peak memory without the data
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import psutil

from _machine import command, machine, show

PARTS = ("cohort", "killed", "resume", "memory")
BOUND_MB = 1500
CHUNK = 2048


def main() -> None:
    given = arguments()
    report = {"command": command(), "machine": machine()}
    show(report)
    with tempfile.TemporaryDirectory() as folder:
        for part in given.only.split(","):
            report[part] = globals()[f"part_{part}"](given, Path(folder))
            print(f"\n{part}: {json.dumps(report[part], indent=1)}")
    if given.json:
        Path(given.json).write_text(json.dumps(report, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few scans and small images: only shows that it runs")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--scans", type=int, help="scans in the cohort (24; 4 with --quick)")
    cores = os.cpu_count() or 1
    every = ",".join(str(n) for n in (1, 2, 4) if n <= cores)
    parser.add_argument("--workers", default=every, help=f"numbers of workers ({every})")
    parser.add_argument("--json", help="write all figures here")
    return parser.parse_args()


# ---- a cohort ---------------------------------------------------------------------------------------------------


def scans_in(given: argparse.Namespace, folder: Path) -> tuple[Path, int]:
    """Write scans of 24 slices; return their folder and their number."""
    import nibabel

    from napari_unet_tumour.phantom import phantom

    count, place = given.scans or (4 if given.quick else 24), folder / "scans"
    if not place.exists():
        place.mkdir()
        head = np.asarray(phantom(shape=(6 if given.quick else 24, 256, 256))[0].array)
        for n in range(count):
            image = nibabel.Nifti1Image(np.roll(head, n, 1).transpose(2, 1, 0).astype(np.int16), np.diag([1, 1, 5, 1]))
            nibabel.save(image, place / f"{n:03}.nii.gz")
    return place, count


def run(given: argparse.Namespace, folder: Path, workers: int, out: str) -> subprocess.Popen:
    place, _ = scans_in(given, folder)
    words = [sys.executable, "-m", "napari_unet_tumour", "segment", str(place), "--out", str(folder / out)]
    # A single worker is a separate process too, so that only the number of workers differs.
    words += ["--workers", str(workers)]
    # One core per worker; otherwise a single worker would already use all of them.
    env = {**os.environ, "NAPARI_UNET_TUMOUR_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def work_seconds(said: str) -> float:
    """Return the seconds that the command prints, without its start."""
    return float(next(line for line in said.splitlines() if " slices in " in line).split(" in ")[1].split(" s")[0])


def part_cohort(given: argparse.Namespace, folder: Path) -> dict:
    found, each = {}, {}
    for workers in map(int, given.workers.split(",")):
        done = run(given, folder, workers, f"out-{workers}")
        said = done.communicate()[1]
        if done.returncode:
            sys.exit(said)
        each[workers] = work_seconds(said)
        first = min(each)
        speed = each[first] / each[workers]
        found[f"{workers} workers"] = {
            "seconds": each[workers],
            "speed-up": speed,
            "of_linear": speed * first / workers,
        }
    return found


def part_killed(given: argparse.Namespace, folder: Path) -> dict:
    shutil.rmtree(folder / "out-killed", ignore_errors=True)
    _, count = scans_in(given, folder)
    start = time.perf_counter()
    done = run(given, folder, 2, "out-killed")
    while done.poll() is None and not list((folder / "out-killed").glob("*_mask*")):
        time.sleep(0.05)
    # The children of the command: the workers.
    workers = psutil.Process(done.pid).children() if done.poll() is None else []
    if workers:
        os.kill(workers[0].pid, signal.SIGKILL)
    said = done.communicate()[1]
    masks = len(list((folder / "out-killed").glob("*_mask*")))
    found = {"killed": len(workers[:1]), "scans": count, "masks": masks, "exit_code": done.returncode}
    return {**found, "lost": count - masks, "seconds": time.perf_counter() - start, "said": said.splitlines()[-1]}


def part_resume(given: argparse.Namespace, folder: Path) -> dict:
    """Time the check of 1000 finished scans."""
    from napari_unet_tumour.api import cohort

    place = folder / "finished"
    place.mkdir()
    record = cohort.FinishedScans(place, {"model": "a"})
    pairs = [(place / f"{n}.png", place / f"{n}_mask.png") for n in range(1000)]
    for scan, mask in pairs:
        scan.write_bytes(b"a scan")
        mask.write_bytes(b"a mask")
        record.add(scan, mask, {"scan": str(scan)}, cohort.fingerprint(scan))
    start = time.perf_counter()
    again = cohort.FinishedScans(place, {"model": "a"})
    known = sum(again.row_of(scan, mask) is not None for scan, mask in pairs)
    return {"finished": known, "seconds_per_1000": time.perf_counter() - start, "bound": 1.0}


# ---- memory -----------------------------------------------------------------------------------------------------


class Watch:
    """Measures the increase of this process's peak memory, without memory-mapped files."""

    def __enter__(self) -> Watch:
        self._process, self.peak_mb, self._stop = psutil.Process(), 0.0, threading.Event()
        self._before = self._now()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _now(self) -> float:
        info = self._process.memory_info()
        return (info.rss - getattr(info, "shared", 0)) / 1e6

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            self.peak_mb = max(self.peak_mb, self._now() - self._before)

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def lazy_stack(slices: int, side: int):
    """Return a lazy (slices, side, side) uint16 array, computed by chunk: a bright blob on noise in each."""
    import dask.array as da

    def chunk(block_info=None) -> np.ndarray:
        where = block_info[None]["array-location"]
        shape = [stop - start for start, stop in where]
        rng = np.random.default_rng([start for start, _ in where])
        made = rng.integers(100, 400, shape).astype(np.uint16)
        middle = [slice(n // 3, n // 2) for n in shape[1:]]
        made[:, middle[0], middle[1]] += 2000
        return made

    edge = min(side, CHUNK)
    chunks = da.core.normalize_chunks((1, edge, edge), (slices, side, side))
    return da.map_blocks(chunk, dtype=np.uint16, chunks=chunks, meta=np.empty((0, 0, 0), np.uint16))


def part_memory(given: argparse.Namespace, folder: Path) -> dict:
    cases = {"stack": (20, 512), "image": (1, 3072)} if given.quick else {"stack": (2000, 512), "image": (1, 32768)}
    found = {}
    for name, (slices, side) in cases.items():
        words = [sys.executable, str(Path(__file__).with_name("speed.py")), "--child", str(slices), str(side)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        with contextlib.suppress(ValueError):
            found[f"{name} {slices} x {side} x {side}"] = json.loads(done.stdout.strip().splitlines()[-1])
    return {**found, "bound_mb": BOUND_MB, "held": all(one["peak_mb_beyond_data"] < BOUND_MB for one in found.values())}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
