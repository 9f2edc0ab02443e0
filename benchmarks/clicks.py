"""How few clicks outline a tumour: a simulated person clicks at the inmost point of the largest error.

    python benchmarks/clicks.py --pairs PAIRS.csv [--model default] [--every 1] [--json OUT]

On every tumour slice (or every n-th) the person begins with the automatic answer, and again with nothing; each click
misses its point by up to 3 pixels. What the same clicks give is shown for scikit-image's random walker and flood fill,
with settings chosen by hand, and for the grey values and distances that stand in for a click network. In
volumes the clicks on the largest slice are carried on slice by slice (outline in 3D).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skimage.segmentation import flood, random_walker

from _machine import command, machine, show
from napari_unet_tumour import scans, segment
from napari_unet_tumour.api.clicks import spacing_of
from napari_unet_tumour.api.pairs import read_pairs, read_truth
from napari_unet_tumour.api.segment import default_settings, layout_for, load_model
from napari_unet_tumour.clicks.answer import INSIDE, Click, Known, answer, relevelled
from napari_unet_tumour.clicks.grey_values import guess
from napari_unet_tumour.clicks.outline import Stack, iter_outline
from napari_unet_tumour.clicks.person import next_click
from napari_unet_tumour.clicks.picture import grey_of, robust
from napari_unet_tumour.corrections.carry import CarryWeights
from napari_unet_tumour.engine import model as models
from napari_unet_tumour.engine.clicks.predict import load_clicks
from napari_unet_tumour.engine.inference.segment import Segmentation
from napari_unet_tumour.engine.metrics.overlap import dice
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.spec import hash_of
from napari_unet_tumour.postprocess.threshold import effective_threshold

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_unet_tumour.clicks.answer import Net

MOST, CURVE = 20, 10
GOOD, BETTER = 0.85, 0.90
SHOWN = (1, 3, 5)
# Of the controls, found on training slices (see docs/clicks.md).
TOLERANCE, BETA, REACH = 0.9, 30.0, 40


@dataclass(eq=False)
class Case:
    """A tumour slice: pixels, z-scores, truth, automatic answer (inside from 128 on) and mask."""

    name: str
    scan: int
    plane: np.ndarray
    grey: np.ndarray
    truth: np.ndarray
    base: np.ndarray
    curves: dict[str, list[float]] = field(default_factory=dict)


@dataclass(eq=False)
class Volume:
    """All slices of a scan, with the case of its largest one; the spacing is that of `api.clicks.spacing_of`."""

    name: str
    spacing: tuple[float | None, float | None, float | None]
    planes: list[np.ndarray]
    truth: np.ndarray
    base: list[np.ndarray]
    largest: int


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    model = load_model(given.model)
    about = {"command": command(), "machine": machine(), "model": {"name": model.spec.name, "hash": model.hash}}
    show(about)
    cases, volumes, empty = read(given, model)
    if given.prepare:
        return
    net = guess if given.fallback else load_clicks(registry.find(given.model).path).net
    took: list[float] = []
    for n, case in enumerate(cases):
        rng = np.random.default_rng((given.seed, n))
        for start in ("base", "nothing"):
            clicked = simulate(net, case, case.base if start == "base" else None, rng, given.jitter, took)
            case.curves[start] = clicked.curve
            if not given.no_controls:
                controls(case, clicked.clicks, start)
        if n % 20 == 19:
            print(f"{n + 1} of {len(cases)} slices: {line(cases[: n + 1])}", flush=True)
    summary = summarise(cases, took, empty)
    summary["volume_dice_by_clicks"] = volume_dice(net, volumes, given, carry_weights(model))
    summary["controls"] = {} if given.no_controls else control_scores(cases)
    print("\n" + table(summary))
    if given.json:
        rows = [{"slice": case.name, **case.curves} for case in cases]
        Path(given.json).write_text(json.dumps({**about, "summary": summary, "slices": rows}, indent=1))


def arguments() -> argparse.Namespace:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--pairs", required=True, help="table with the columns scan and mask, and perhaps group")
    ask.add_argument("--model", default="default")
    ask.add_argument("--every", type=int, default=1, help="only every n-th tumour slice")
    ask.add_argument("--jitter", type=float, default=3.0, help="pixels by which a click misses its point at most")
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--threads", type=int, default=2)
    ask.add_argument("--no-controls", action="store_true")
    ask.add_argument("--fallback", action="store_true", help="grey values and distances in place of the click network")
    ask.add_argument("--answers", type=Path, metavar="DIR", help="keep the automatic answers here, and use those there")
    ask.add_argument("--prepare", action="store_true", help="only find the automatic answers")
    ask.add_argument("--json", metavar="OUT")
    return ask.parse_args()


def read(given: argparse.Namespace, model: Any) -> tuple[list[Case], list[Volume], list[bool]]:
    """Return every n-th tumour slice, the volumes, and for every tumour-free slice whether anything is marked there."""
    settings = default_settings(model.spec)
    cases: list[Case] = []
    volumes, empty, seen = [], [], 0
    for pair in read_pairs(given.pairs):
        scan = scans.read(pair.scan)
        layout = layout_for(scan)
        truth = read_truth(pair, scan, layout.mask_shape, model.spec.labels)
        masks = np.stack([layout.read_plane_region(truth, n) for n in range(layout.planes)]) > 0
        wanted = [n for n in range(layout.planes) if masks[n].any()]
        chosen = {n for k, n in enumerate(wanted) if (seen + k) % given.every == 0}
        seen += len(wanted)
        if not chosen and layout.planes == 1:
            continue
        found = segmented(scan, str(pair.scan.resolve()), given, model)
        planes = [grey_of(one, colours=True) for one in layout.read_planes(scan.array, range(layout.planes))]
        base = [automatic(found, layout, n, settings) for n in range(layout.planes)]
        for n in sorted(chosen):
            cases.append(Case(f"{pair.scan}:{n}", 0, planes[n], robust(planes[n]), masks[n], base[n]))
        empty += [
            bool((base[n] >= INSIDE).any()) for n in range(layout.planes) if not masks[n].any() and np.ptp(planes[n])
        ]
        if layout.planes > 1:
            volumes.append(
                Volume(str(pair.scan), spacing_of(scan, layout), planes, masks, base, int(masks.sum((1, 2)).argmax()))
            )
    return cases, volumes, empty


def segmented(scan: Any, name: str, given: argparse.Namespace, model: Any) -> Segmentation:
    """Return the automatic answer, which does not depend on the click network."""
    if given.answers is None:
        return segment(scan, model)
    plain = models.to_bytes(model.spec, model.net.state_dict())
    path = given.answers / f"{hash_of(plain + name.encode())}.npz"
    if path.exists():
        with np.load(path) as kept:
            return Segmentation(kept["mask"], kept["probability"], model.spec.labels)
    found = segment(scan, model)
    given.answers.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, mask=found.mask, probability=found.probability)
    return found


def automatic(found: Any, layout: Any, n: int, settings: Any) -> np.ndarray:
    """Return the automatic answer to a slice, inside from 128 on where the mask has it."""
    together = found.probability[n].sum(0).clip(0, 255).astype(np.uint8)
    values = relevelled(together, effective_threshold(together, settings), INSIDE)
    marked = layout.read_plane_region(found.mask, n) > 0
    return np.where(marked, np.maximum(values, INSIDE), np.minimum(values, INSIDE - 1))


@dataclass(eq=False)
class Clicked:
    """What a simulated person did: Dice after 0, 1, 2, ... clicks, and the clicks."""

    curve: list[float]
    clicks: list[Click]


def simulate(
    net: Net, case: Case, base: np.ndarray | None, rng: np.random.Generator, jitter: float, took: list[float]
) -> Clicked:
    """Click until the curve is drawn and the slice is good, at most `MOST` times."""
    mask = np.zeros(case.truth.shape, bool) if base is None else base >= INSIDE
    before, curve, clicks = None, [dice(mask, case.truth)], []
    while len(clicks) < (CURVE if curve[-1] >= BETTER or max(curve) >= BETTER else MOST):
        click = next_click(mask, case.truth, rng, jitter)
        if click is None:
            break
        clicks.append(Click(*click))
        began = time.perf_counter()
        before = answer(net, case.plane, clicks, Known(base=base, before=before), case.grey)
        took.append(1000 * (time.perf_counter() - began))
        mask = before >= INSIDE
        curve.append(dice(mask, case.truth))
    return Clicked(curve, clicks)


def controls(case: Case, clicks: list[Click], start: str) -> None:
    """Give the same clicks to what is no network."""
    base = case.base if start == "base" else None
    for name, method in CONTROLS.items():
        curve = [case.curves[start][0]]
        for count in SHOWN:
            curve.append(dice(method(case, clicks[:count], base), case.truth) if clicks else curve[0])
        case.curves[f"{name} {start}"] = curve


def by_grey_values(case: Case, clicks: list[Click], base: np.ndarray | None) -> np.ndarray:
    return answer(guess, case.plane, clicks, Known(base=base), case.grey) >= INSIDE


def by_flood(case: Case, clicks: list[Click], base: np.ndarray | None) -> np.ndarray:
    """Return what floods from the clicks that add, less what floods from those that remove."""
    mask = np.zeros(case.truth.shape, bool) if base is None else base >= INSIDE
    for click in clicks:
        piece = flood(case.grey, (click.row, click.column), tolerance=TOLERANCE)
        piece &= near(case.truth.shape, click)
        mask = mask | piece if click.sign > 0 else mask & ~piece
    return mask


def by_random_walker(case: Case, clicks: list[Click], base: np.ndarray | None) -> np.ndarray:
    """Return the random walker's answer; the automatic answer seeds it far from all clicks and deep inside."""
    from scipy import ndimage

    seeds = np.zeros(case.truth.shape, np.int32)
    close = np.any([near(case.truth.shape, click) for click in clicks], axis=0)
    start = np.zeros(case.truth.shape, bool) if base is None else base >= INSIDE
    seeds[~close] = 2
    seeds[ndimage.binary_erosion(start, iterations=6)] = 1
    for click in clicks:
        part = (slice(max(0, click.row - 1), click.row + 2), slice(max(0, click.column - 1), click.column + 2))
        seeds[part] = 1 if click.sign > 0 else 2
    if not (seeds == 1).any():
        return start & close & False
    rows, columns = (np.flatnonzero((close | start).any(axis)) for axis in (1, 0))
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    found = np.zeros(case.truth.shape, bool)
    cut = seeds[part]
    if not (cut == 2).any():
        cut[0] = cut[-1] = 2
    found[part] = random_walker(case.grey[part].astype(float), cut, beta=BETA, mode="cg_j", tol=1e-2) == 1
    return found


def near(shape: tuple[int, ...], click: Click) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside: np.ndarray = np.hypot(rows - click.row, columns - click.column) <= REACH * max(shape) / 256
    return inside


CONTROLS: dict[str, Callable[[Case, list[Click], np.ndarray | None], np.ndarray]] = {
    "grey values": by_grey_values,
    "flood": by_flood,
    "random walker": by_random_walker,
}


def volume_dice(
    net: Net, volumes: list[Volume], given: argparse.Namespace, weights: CarryWeights | None
) -> list[float]:
    """Return the mean Dice of whole volumes after 0, 1, ... 5 clicks on the largest slice, each outlined in 3D.

    Slices that an outline does not reach are as the automatic answer has them.
    """
    scores: list[list[float]] = []
    for n, volume in enumerate(volumes):
        rng = np.random.default_rng((given.seed, n, 3))
        start, clicks = volume.largest, []
        mask = volume.base[start] >= INSIDE
        curve = [dice(np.stack(volume.base) >= INSIDE, volume.truth)]
        for _ in range(5):
            click = next_click(mask, volume.truth[start], rng, given.jitter)
            if click is not None:
                clicks.append(Click(*click))
            found = np.stack(volume.base) >= INSIDE
            stack = Stack(volume.planes.__getitem__, len(volume.planes), volume.spacing, weights=weights)
            known = [Known(base=one) for one in volume.base]
            for k, one in iter_outline(net, stack, start, clicks, known.__getitem__):
                found[k] = one >= INSIDE
            mask = found[start]
            curve.append(dice(found, volume.truth))
        scores.append(curve)
        print(f"{volume.name}: volume Dice {' '.join(f'{one:.3f}' for one in curve)}", flush=True)
    return [float(one) for one in np.mean(scores, axis=0)] if scores else []


def carry_weights(model: Any) -> CarryWeights | None:
    return CarryWeights.from_dict(model.spec.carry) if model.spec.carry else None


def summarise(cases: list[Case], took: list[float], empty: list[bool]) -> dict[str, Any]:
    return {
        "slices": len(cases),
        "dice_by_clicks": means(cases, "base", CURVE + 1),
        "dice_by_clicks_from_nothing": means(cases, "nothing", CURVE + 1),
        "noc85": clicks_to(cases, "base", GOOD),
        "noc90": clicks_to(cases, "base", BETTER),
        "noc85_from_nothing": clicks_to(cases, "nothing", GOOD),
        "noc90_from_nothing": clicks_to(cases, "nothing", BETTER),
        "failed_at_20": float(np.mean([max(case.curves["base"]) < GOOD for case in cases])),
        "ms_per_click_p50": float(np.percentile(took, 50)),
        "ms_per_click_p95": float(np.percentile(took, 95)),
        "false_masks_without_clicks": float(np.mean(empty)) if empty else None,
    }


def means(cases: list[Case], start: str, length: int) -> list[float]:
    """Return mean Dice by number of clicks; where no click was left to do the last value stays."""
    rows = [(case.curves[start] + [case.curves[start][-1]] * length)[:length] for case in cases]
    return [float(one) for one in np.mean(rows, axis=0)]


def clicks_to(cases: list[Case], start: str, level: float) -> float:
    """Return the mean number of clicks until a Dice is reached; `MOST` where it never is."""
    firsts = [next((n for n, one in enumerate(case.curves[start]) if one >= level), MOST) for case in cases]
    return float(np.mean(firsts))


def control_scores(cases: list[Case]) -> dict[str, Any]:
    found: dict[str, Any] = {"clicks": [0, *SHOWN]}
    for name in CONTROLS:
        for start in ("base", "nothing"):
            found[f"{name}, from {start}"] = means(cases, f"{name} {start}", len(SHOWN) + 1)
    return found


def line(cases: list[Case]) -> str:
    parts = [f"{start} " + " ".join(f"{one:.3f}" for one in means(cases, start, 6)) for start in ("base", "nothing")]
    return ", ".join(parts)


def table(summary: dict[str, Any]) -> str:
    rows = []
    for name in ("dice_by_clicks", "dice_by_clicks_from_nothing", "volume_dice_by_clicks"):
        rows.append(f"{name:30} {' '.join(f'{one:.3f}' for one in summary[name])}")
    for name, value in summary.items():
        if isinstance(value, int | float):
            rows.append(f"{name:30} {value:.3f}")
    for name, values in summary["controls"].items():
        rows.append(f"{name:30} {' '.join(f'{one:.3f}' for one in values)}")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
