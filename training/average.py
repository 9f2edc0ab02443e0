"""Average the weights of two models of the same network, and recompute the statistics of the training slices.

    python training/average.py FIRST SECOND --share 0.7 --images IMAGES --cases CASES.csv --out MODEL

The average of the last two rounds of a training scores better than either of them. FIRST's click network and weights
for carrying stay, and with --keep-components its classifier of components; else that is fitted anew (components.py).
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from skimage.io import imread

from napari_unet_tumour import load_model
from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.engine import model as models
from napari_unet_tumour.engine.inference.preprocess import to_working_planes
from napari_unet_tumour.engine.training.feature_statistics import iter_feature_statistics
from napari_unet_tumour.scans.training_match import statistics_of


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("first", type=Path)
    ask.add_argument("second", type=Path)
    ask.add_argument("--share", type=float, default=0.5, help="weight of the first model (0.5)")
    ask.add_argument("--images", type=Path, required=True, help="folder of the training images")
    ask.add_argument("--cases", type=Path, required=True, help="table with the columns file and split")
    ask.add_argument("--min-object-size", type=int, default=30, help="smallest object in pixels (30)")
    ask.add_argument(
        "--flip-tta", action="store_true", help="the model recommends test-time augmentation with the mirror image"
    )
    ask.add_argument(
        "--flip-size", type=int, default=0, help="longest side of the mirror image in pixels (the model's own)"
    )
    ask.add_argument("--keep-components", action="store_true", help="keep FIRST's classifier of components")
    ask.add_argument("--out", type=Path, required=True)
    given = ask.parse_args()
    first, second = load_model(given.first), load_model(given.second)
    if first.spec.network != second.spec.network:
        ask.error(f"{first.spec.network} and {second.spec.network} cannot be averaged")
    other = second.net.state_dict()
    state = {
        name: value.lerp(other[name], 1 - given.share) if value.is_floating_point() else value
        for name, value in first.net.state_dict().items()
        if not name.startswith("corrector")
    }
    with given.cases.open() as file:
        files = [row["file"] for row in csv.DictReader(file) if row["split"] == "train"]
    spec = replace(
        first.spec,
        arguments={},
        min_object_size=given.min_object_size,
        flip_tta=given.flip_tta,
        flip_size=given.flip_size,
        scores={},
        components=first.spec.components if given.keep_components else {},
        typical=statistics_of(imread(given.images / name)[None] for name in files),
    )

    def images(start: int, stop: int):
        return to_working_planes(
            np.stack([imread(given.images / name) for name in files[start:stop]])[:, None], spec
        ).working

    described = exhaust(
        iter_feature_statistics(spec, state, images, len(files)),
        lambda progress: print(f"\r{progress.message} ({progress.done} of {progress.total})", end="", flush=True),
    )
    models.save(given.out, *described, clicks=first.click_state)
    print(f"\n{given.out}: {load_model(given.out).hash}")


if __name__ == "__main__":
    main()
