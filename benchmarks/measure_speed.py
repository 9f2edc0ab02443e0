"""Time a lesion report, relative to the same figures from scikit-image.

python benchmarks/measure_speed.py [--json OUT]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from skimage.measure import label, regionprops

from napari_unet_tumour.measure import measure

SHAPE = (300, 512, 512)
BALLS = [((100, 150, 150), 50), ((200, 300, 400), 40), ((50, 400, 100), 30), ((250, 100, 300), 25), ((30, 60, 60), 6)]


def volume():
    mask = np.zeros(SHAPE, np.uint8)
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    for (a, b, c), radius in BALLS:
        mask[(z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 < radius**2] = 1
    return mask, np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)


def plain(mask, image):
    """Measure volume, position, mean and percentiles of every lesion, and its longest diameter within a slice."""
    found = regionprops(label(mask, connectivity=3), intensity_image=image)
    for one in found:
        values = one.image_intensity[one.image]
        one.area, one.centroid, values.mean(), np.percentile(values, (5, 50, 95))
        max(regionprops(piece.astype(np.uint8))[0].feret_diameter_max for piece in one.image)
    return found


def seconds(work, repeats):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    mask, image = volume()
    lesions = measure(mask, image, spacing=(1, 1, 1)).lesions
    ours = seconds(lambda: measure(mask, image, spacing=(1, 1, 1)), 5)
    theirs = seconds(lambda: plain(mask, image), 2)
    found = {
        "measure": {
            "shape": SHAPE,
            "lesions": len(lesions),
            "ours_s": ours,
            "scikit_image_s": theirs,
            "ratio": theirs / ours,
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        }
    }
    print(f"{SHAPE[1]} x {SHAPE[2]} x {SHAPE[0]} mask, {len(lesions)} lesions, {found['measure']['cores']} cores")
    print(f"  lesion report  {ours:7.3f} s (with perpendicular diameters)")
    print(f"  scikit-image   {theirs:7.3f} s (without), {theirs / ours:.1f} times as long")
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
