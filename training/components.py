"""Fit the classifier of the components of a mask (tumour or not), and write it into a model file.

    python training/components.py collect MODEL --images DIR [--masks DIR] --group NAME --out SLICES
    python training/components.py fit MODEL SLICES --out NEW.safetensors [--lose 0.01]

"collect" runs the network on slices (PNG, NIfTI, ...) and stores the input of the classifier; without --masks the
slices have no tumour. A group is a head, or a set of heads that cannot be distinguished; for Cheng's slices the name
before the last "_" is the person. "fit" trains on all groups, prints the fraction of false components that are left in
cross-validation, by the fraction of true components that is lost, and writes the model with the classifier. A true
component is weighted with its Dice; "--lose" is the allowed fraction of lost weight in cross-validation.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_unet_tumour import load_model
from napari_unet_tumour.api.segment import layout_for
from napari_unet_tumour.engine import model as models
from napari_unet_tumour.engine.inference.accelerate import accelerated
from napari_unet_tumour.engine.inference.preprocess import to_working_planes
from napari_unet_tumour.postprocess import component_classifier as classifier
from napari_unet_tumour.scans import read, read_mask

# Dice from which a component is a tumour, and precision below which it is none; others are not used.
TRUE, FALSE = 0.25, 0.02
HIDDEN, SEEDS, STEPS, DECAY = 12, 3, 60, 1e-2
FOLDS = 8


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = ask.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("collect")
    one.add_argument("model")
    one.add_argument("--images", type=Path, required=True)
    one.add_argument("--masks", type=Path)
    one.add_argument("--group", required=True)
    one.add_argument("--axis", type=int)
    one.add_argument("--step", type=int, default=1)
    two = kinds.add_parser("fit")
    two.add_argument("model")
    two.add_argument("slices", type=Path)
    two.add_argument("--leave-out", nargs="*", default=[], metavar="GROUP", help="groups that are not trained on")
    two.add_argument("--lose", type=float, default=0.01)
    for parser in (one, two):
        parser.add_argument("--out", type=Path, required=True)
    given = ask.parse_args()
    collect(given) if given.kind == "collect" else fit(given)


def collect(given: argparse.Namespace) -> None:
    model = load_model(given.model)
    run, spec, out = accelerated(model, torch.device("cpu")), model.spec, given.out / given.group
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(given.images.iterdir()):
        scan = read(path)
        layout = layout_for(scan, given.axis)
        mask = read_mask(given.masks / path.name).array if given.masks else None
        for n in range(0, layout.planes, given.step):
            planes = to_working_planes(layout.read_planes(scan.array, [n]), spec)
            if planes.blank[0]:
                continue
            own, mirrored = run.predictions(planes.working, True, spec.flip_scale)
            truth = {} if mask is None else {"t1": np.asarray(layout.read_plane_region(mask, n) > 0)}
            np.savez(
                out / f"{path.name.split('.')[0]}_{n:03}.npz", img=planes.working[0, 0].numpy().astype(np.float16),
                p0=_bytes(own), p1=_bytes(mirrored), inner=planes.frame.inner, native=planes.frame.native, **truth,
            )  # fmt: skip


def _bytes(probability: Any) -> np.ndarray:
    return (probability[0, 0] * 255).round().byte().numpy()


def fit(given: argparse.Namespace) -> None:
    model = load_model(given.model)
    left_out = set(given.leave_out)
    features, truth, weight, fold = pieces_in(given.slices, model.spec, left_out)
    print(f"{int((truth == 1).sum())} true and {int((truth == 0).sum())} false pieces, {len(set(fold))} groups")
    said = np.zeros(len(truth))
    names = sorted(set(fold))
    number = np.searchsorted(names, fold) % FOLDS
    for part in range(min(FOLDS, len(names))):
        out = number == part
        said[out] = classifier.likelihoods(features[out], learnt(features[~out], truth[~out], weight[~out], 1))
    for lose in (0.0025, 0.005, 0.01, 0.02, 0.03):
        cut = cut_for(said, truth, weight, lose)
        left = (said[truth == 0] >= cut).mean()
        print(f"{lose:.2%} of the true pieces' Dice lost: {left:.1%} of the false ones left")
    weights = learnt(features, truth, weight)
    weights["cut"] = cut_for(said, truth, weight, given.lose)
    weights["cut_unlike"] = cut_for(said, truth, weight, 3 * given.lose)
    models.save(given.out, replace(model.spec, components=weights), model.net.state_dict())
    print(f"{given.out}: {load_model(given.out).hash}")


def pieces_in(folder: Path, spec: Any, left_out: set[str]) -> tuple[np.ndarray, ...]:
    """Return features (n, F), truth (n,) 0 or 1, weight (n,) and group (n,) of all clear components."""
    rows: list[tuple[np.ndarray, int, float, str]] = []
    for path in sorted(folder.glob("*/*.npz")):
        if path.parent.name not in left_out:
            rows += pieces_of(np.load(path), spec, group_of(path))
    return tuple(np.array(column) for column in zip(*rows, strict=True))  # type: ignore[return-value]


def group_of(path: Path) -> str:
    """Return the head of a slice: Cheng's persons in `FOLDS` groups, CarveMix images under the head of the host."""
    group = path.parent.name
    if group.startswith(("cheng", "twin")):
        return f"person {sum(map(ord, path.stem.split('_')[-2])) % FOLDS}"
    return group.removeprefix("graft_").removeprefix("vol_").removeprefix("up_").removesuffix("_ce")


def pieces_of(saved: Any, spec: Any, group: str) -> list[tuple[np.ndarray, int, float, str]]:
    own, mirrored = (saved[name].astype(np.float32) / 255 for name in ("p0", "p1"))
    shown = classifier.Slice(saved["img"].astype(np.float32), own, mirrored)
    scale = float(np.prod(saved["inner"]) / np.prod(saved["native"]))
    pieces, numbers = classifier.pieces_of(shown, spec.threshold, spec.min_object_size * scale)
    masks = [saved["t1"]] if "t1" in saved else []
    masks += [saved["t2"] > 127] if "t2" in saved else []
    rows = []
    for number, features in zip(
        numbers, classifier.features_of(shown, pieces, numbers) if numbers else [], strict=True
    ):
        here = pieces == number
        both = [(here & mask).sum() for mask in masks]
        overlap = max([2 * b / (here.sum() + m.sum()) for b, m in zip(both, masks, strict=True)], default=0.0)
        precision = max(both, default=0) / here.sum()
        if overlap >= TRUE or precision < FALSE:
            rows.append((features, int(overlap >= TRUE), float(overlap) if overlap >= TRUE else 1.0, group))
    return rows


def learnt(features: np.ndarray, truth: np.ndarray, weight: np.ndarray, seeds: int = SEEDS) -> dict[str, Any]:
    """Return the classifier: an ensemble of `SEEDS` networks with one hidden layer, with balanced classes."""
    mean, scale = features.mean(0), features.std(0) + 1e-6
    x = torch.from_numpy(np.clip((features - mean) / scale, -6, 6)).float()
    y = torch.from_numpy(truth).float()
    share = torch.from_numpy(np.where(truth == 1, weight / weight[truth == 1].sum(), 1 / (truth == 0).sum())).float()
    nets = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 1))
        optimiser = torch.optim.LBFGS(net.parameters(), max_iter=STEPS, history_size=20, line_search_fn="strong_wolfe")

        def closure(net: torch.nn.Module = net, optimiser: torch.optim.Optimizer = optimiser) -> torch.Tensor:
            optimiser.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x)[:, 0], y, share, reduction="sum")
            loss = loss + DECAY * sum(p.square().sum() for p in net.parameters())
            loss.backward()
            return loss

        optimiser.step(closure)  # type: ignore[arg-type]
        hidden, out = net[0].requires_grad_(False), net[2].requires_grad_(False)
        nets.append({
            "hidden": _short(hidden.weight.T), "hidden_bias": _short(hidden.bias),
            "out": _short(out.weight[0]), "out_bias": float(out.bias[0]),
        })  # fmt: skip
    return {"mean": _short(mean), "scale": _short(scale), "networks": nets, "cut": 0.0}


def cut_for(said: np.ndarray, truth: np.ndarray, weight: np.ndarray, lose: float) -> float:
    """Return the logit below which a fraction `lose` of the true components' weight lies."""
    order = np.argsort(said[truth == 1])
    sums = np.cumsum(weight[truth == 1][order])
    return round(float(said[truth == 1][order][np.searchsorted(sums, lose * sums[-1])]), 4)


def _short(values: Any) -> Any:
    array = values.detach().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    return np.vectorize(lambda v: float(f"{v:.5g}"))(array).tolist()


if __name__ == "__main__":
    main()
