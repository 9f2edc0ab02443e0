"""What the mirror image of a slice is worth, and what is lost where it is left out.

    python benchmarks/mirror_image.py --pairs PAIRS.csv [--model default] [--every 1] [--json OUT]

Slice Dice and masks of tumour slices, each by itself (no rule about neighbours): with the mirror image, without it,
and with it only where the slice's own probability reaches --certain anywhere.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from _machine import command, machine, show
from napari_unet_tumour import scans
from napari_unet_tumour.api.pairs import read_pairs, read_truth
from napari_unet_tumour.api.segment import default_settings, layout_for, load_model
from napari_unet_tumour.engine.inference.segment import predictor
from napari_unet_tumour.engine.metrics.overlap import dice
from napari_unet_tumour.postprocess.threshold import mask_from_probability

WAYS = ("mirror", "without", "where_unsure")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--pairs", required=True, help="table with the columns scan and mask")
    ask.add_argument("--model", default="default")
    ask.add_argument("--every", type=int, default=1, help="only every n-th scan")
    ask.add_argument("--certain", type=float, default=0.02, help="below this probability a slice is certainly empty")
    ask.add_argument("--json", metavar="OUT")
    given = ask.parse_args()
    about = {"command": command(), "machine": machine()}
    show(about)
    model = load_model(given.model)
    rows = [row for pair in read_pairs(given.pairs)[:: given.every] for row in rows_of(pair, model, given.certain)]
    summary = summarise(rows)
    for name, value in summary.items():
        print(f"{name:28} {value:.4f}" if isinstance(value, float) else f"{name:28} {value}")
    if given.json:
        Path(given.json).write_text(json.dumps({**about, "summary": summary, "slices": rows}, indent=1))


def rows_of(pair, model, certain: float) -> list[dict]:
    """Score every slice of a scan in each way."""
    scan, mirrored = scans.read(pair.scan), replace(default_settings(model.spec), flip_tta=True)
    single = replace(mirrored, flip_tta=False)
    layout = layout_for(scan)
    truth = read_truth(pair, scan, layout.mask_shape, model.spec.labels)
    planes = layout.read_planes(scan.array, range(layout.planes))
    with_mirror, without, unchecked = (
        predictor(model, settings).planes(planes)
        for settings in (mirrored, single, replace(single, check_components=False))
    )
    rows = []
    for n in range(layout.planes):
        real = np.asarray(layout.read_plane_region(truth, n)) > 0
        own = mask_from_probability(without[n], single)
        both = mask_from_probability(with_mirror[n], mirrored)
        skipped = int(unchecked[n].max()) < 255 * certain
        masks = dict(zip(WAYS, (both, own, np.zeros_like(both) if skipped else both), strict=True))
        row = {"slice": f"{scan.name} {n}", "tumour": bool(real.any()), "skipped": skipped}
        rows.append(row | {way: (int(mask.sum()), dice(mask, real)) for way, mask in masks.items()})
    return rows


def summarise(rows: list[dict]) -> dict:
    tumour = [row for row in rows if row["tumour"]]
    found = {"slices": len(rows), "tumour_slices": len(tumour), "skipped": sum(row["skipped"] for row in rows)}
    found |= {f"dice_{way}": float(np.mean([row[way][1] for row in tumour])) for way in WAYS}
    lost = [row for row in tumour if row["skipped"] and row["mirror"][0]]
    found["tumour_masks_lost"] = len(lost)
    for way in WAYS:
        found[f"false_masks_{way}"] = sum(bool(row[way][0]) for row in rows if not row["tumour"])
    return found


if __name__ == "__main__":
    main()
