"""How much better uncorrected slices get when a person corrects a few: ours, controls, and what it costs.

    python benchmarks/hitl.py [--pairs PAIRS.csv] [--model default] [--corrections 3] [--seconds 60] [--json OUT]

For every volume: segment, choose a slice, replace its mask by the truth (or by a noisy brush with a clock), fine-tune
within the budget, score only the slices that were not corrected; and again, on from what was learnt. Methods:

    none     no fine-tuning                      random   ours, slices drawn among those with predicted foreground
    ours     carry and fine-tuning               middle   ours, the middle slice of the prediction first
    copy     the nearest corrected mask          oracle   ours, the slice with the worst Dice (an upper bound)
    carry    what a tick does in the window: carrying, the reader's habit on all other slices; no fine-tuning
    tune     fine-tuning as in ours, its answer without carrying
    plain    the queue's slices, the same budget of "train all layers with Adam 1e-4"

A quick part: --methods none,carry --extras none. `--reader second` takes persons of the Cheng set instead of volumes:
single slices, corrected and scored by a second reader's masks. They have no neighbours: `carry` changes nothing there.
The next scan: --methods none --extras sequence,forgetting --habit; without --habit the network learns too.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from napari_unet_tumour import scans
from napari_unet_tumour.api.pairs import Pair, read_pairs, read_truth
from napari_unet_tumour.api.segment import default_settings, layout_for, load_model
from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.corrections import ReviewedContext, ReviewedSlice, ranking
from napari_unet_tumour.corrections.carry import CarryWeights, carry
from napari_unet_tumour.corrections.reviewed import with_stacks
from napari_unet_tumour.corrections.stack import ScanStack, stacks_of
from napari_unet_tumour.engine import model as models
from napari_unet_tumour.engine.finetuning.cases import context_of, fine_tune_slices
from napari_unet_tumour.engine.finetuning.context import prepare_context
from napari_unet_tumour.engine.finetuning.data import FineTuneData
from napari_unet_tumour.engine.finetuning.finetune import finetune
from napari_unet_tumour.engine.finetuning.habit import iter_habit
from napari_unet_tumour.engine.finetuning.hyperparameters import HyperParameters
from napari_unet_tumour.engine.finetuning.weight_fit import WeightFineTuner
from napari_unet_tumour.engine.inference.segment import iter_segment_planes
from napari_unet_tumour.engine.metrics.overlap import dice
from napari_unet_tumour.engine.training.svg_chart import chart
from napari_unet_tumour.postprocess.following import ScanAnswers, iter_following
from napari_unet_tumour.postprocess.isolated import remove_isolated_components
from napari_unet_tumour.postprocess.threshold import mask_from_probability
from napari_unet_tumour.settings import FinetuneSettings

DATA = Path(__file__).parents[2] / "shared/data"
METHODS = ("none", "carry", "ours", "tune", "copy", "plain", "random", "middle", "oracle")
EXTRAS = ("forgetting", "sequence", "long", "attainable")
# After so many corrected scans the next one is looked at.
SCANS = (0, 1, 2, 3, 5)
FAR, IGNORED, FOREGROUND_S, BACKGROUND_S, BETWEEN_S = 3, 2, 1.4, 0.75, 1.5
PLAIN = HyperParameters(rate=1e-4, crops=0, whole=4, context=0, ema=0.0, blend=1.0)
LONG = HyperParameters(views=24, near=20_000, far=10_000, rounds=200)


@dataclass(eq=False)
class Volume:
    """A scan that is not blank anywhere: planes (N, C, H, W), truth (N, H, W) and the shipped model's answer."""

    name: str
    planes: np.ndarray
    truth: np.ndarray
    before: np.ndarray
    depth: float
    patient: str = ""
    steps: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    base = load_model(given.model)
    volumes = persons(base, given) if given.reader == "second" else [volume_of(pair, base) for pair in pairs_of(given)]
    print(
        f"{' '.join(sys.argv)}\n{machine()}\nmodel {base.spec.name} ({base.hash}), {len(volumes)} volumes", flush=True
    )
    for volume in volumes:
        for method in given.methods:
            volume.steps[method] = list(iter_rounds(volume, method, base, given))
            last = volume.steps[method][-1]
            print(f"{volume.name:32} {method:7} slices {last['done']}  rest {said(volume, method, 'rest')}", flush=True)
    report = {"summary": summary(volumes, base, given), "volumes": [{"name": v.name, **v.steps} for v in volumes]}
    print(table(report["summary"]))
    if given.json:
        Path(given.json).write_text(json.dumps(report, indent=1))
    if given.picture:
        picture(report["summary"], Path(given.picture))


def arguments() -> argparse.Namespace:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--pairs", help="PAIRS.csv of volumes; the btp volumes beside the project when left out")
    ask.add_argument("--model", default="default")
    ask.add_argument("--corrections", type=int, default=3)
    ask.add_argument("--seconds", type=float, default=FinetuneSettings.seconds)
    ask.add_argument("--methods", type=_words, default=list(METHODS))
    ask.add_argument("--brush", choices=("truth", "noisy"), default="truth")
    ask.add_argument("--noise", action="store_const", dest="brush", const="noisy", help="the same as --brush noisy")
    ask.add_argument("--reader", choices=("first", "second"), default="first")
    ask.add_argument("--split", choices=("val", "train"), default="val", help="persons of --reader second")
    ask.add_argument("--persons", type=int, help="so many persons of --reader second, all by default")
    ask.add_argument("--long", type=int, default=2, help="volumes for the comparison with 600 s")
    ask.add_argument("--forget", type=int, default=60, help="Cheng val slices that are looked at for forgetting")
    ask.add_argument("--extras", type=_words, default=list(EXTRAS), help=f"some of {','.join(EXTRAS)} (600 s), or none")
    ask.add_argument(
        "--recipe", type=_recipe, default=HyperParameters(), help="numbers of ours, e.g. likeness=1,single=0.7"
    )
    ask.add_argument("--orders", type=int, default=2, help="orders of the scans in the extra 'sequence'")
    ask.add_argument("--habit", action="store_true", help="sequence: learn the habit alone, the network stays")
    ask.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    ask.add_argument("--picture", metavar="SVG", help="draw the curves")
    ask.add_argument("--json", metavar="OUT")
    return ask.parse_args()


def _words(text: str) -> list[str]:
    return text.split(",")


def _recipe(text: str) -> HyperParameters:
    pairs = (one.split("=") for one in text.split(","))
    return replace(
        HyperParameters(), **{name: type(getattr(HyperParameters(), name))(float(value)) for name, value in pairs}
    )


def pairs_of(given: argparse.Namespace) -> list[Pair]:
    if given.pairs:
        return read_pairs(given.pairs)
    dates = [(at, date) for at in sorted((DATA / "btp").iterdir()) for date in ("Pre", "Post")]
    return [Pair(at / f"{date}_Scan_T1.nii.gz", at / f"{date}_Mask.nii.gz", at.name) for at, date in dates]


def persons(base: models.Model, given: argparse.Namespace) -> list[Volume]:
    """Return the persons with more twice-read slices than are corrected, as stacks without neighbours."""
    folder, slices = DATA / "second_reader", dict[str, list[str]]()
    with (folder / "second_reader.csv").open() as file:
        for row in csv.DictReader(file):
            if row["split"] == given.split:
                slices.setdefault(row["person"], []).append(row["file"])
    enough = [person for person in sorted(slices) if len(slices[person]) > given.corrections + 1][: given.persons]
    return [person_of(person, sorted(slices[person]), folder / given.split / "masks", base) for person in enough]


def person_of(person: str, files: list[str], masks: Path, base: models.Model) -> Volume:
    planes = np.stack([np.asarray(Image.open(DATA / "cheng256/images" / name)) for name in files])[:, None]
    truth = np.stack([np.asarray(Image.open(masks / name)) >= 128 for name in files]).astype(np.uint8)
    return Volume(person, planes, truth, answer(base, planes), 0.0, person)


def volume_of(pair: Pair, base: models.Model) -> Volume:
    scan = scans.read(pair.scan)
    layout = layout_for(scan)
    truth = read_truth(pair, scan, layout.mask_shape, base.spec.labels)
    planes = layout.read_planes(scan.array, range(layout.planes))
    shown = [n for n in range(len(planes)) if np.ptp(planes[n]) > 0]
    masks = np.stack([layout.to_array_order(truth[layout.index(n)]) for n in shown])
    return Volume(
        f"{pair.scan.parent.name}/{pair.scan.name}",
        planes[shown],
        masks,
        answer(base, planes[shown]),
        layout.slice_distance,
        str(pair.group),
    )


def answer(model: models.Model, planes: np.ndarray, fixed: dict[int, np.ndarray] | None = None) -> np.ndarray:
    """Return the probability (N, L, H, W) uint8 in a volume of which some slices are corrected."""
    return exhaust(iter_segment_planes(model, planes, default_settings(model.spec), ReviewedContext(masks=fixed or {})))


def masks_of(model: models.Model, probability: np.ndarray, volume: Volume | None = None, fixed=None) -> np.ndarray:
    """Return the masks (N, H, W) as a run leaves them; a volume keeps its corrected slices."""
    settings = default_settings(model.spec)
    masks = np.stack([mask_from_probability(one, settings) for one in probability])
    if volume is not None and settings.remove_isolated:
        for n, mask in (fixed or {}).items():
            masks[n] = mask
        remove_isolated_components(
            masks, replace(layout_of(masks.shape), slice_distance=volume.depth), fixed=fixed or {}
        )
    return masks


def carried(
    volume: Volume, fixed: dict[int, np.ndarray], weights: CarryWeights, start: np.ndarray | None = None
) -> np.ndarray:
    """Return the probability (N, L, H, W) with the corrected slices carried to their neighbours."""
    start = volume.before if start is None else start
    found = carry(
        volume.planes, fixed, dict(enumerate(start)), start.shape[1], (1.0, 1.0, volume.depth), weights
    ).probability
    return np.stack([found.get(n, one) for n, one in enumerate(start)])


def after(model: models.Model, base: models.Model, volume: Volume, fixed: dict[int, np.ndarray]) -> np.ndarray:
    """Return the masks that a model's answer and the corrected slices give, as the viewer shows them."""
    return masks_of(base, with_carry(model, base, volume, fixed), volume, fixed)


def with_carry(model: models.Model, base: models.Model, volume: Volume, fixed: dict[int, np.ndarray]) -> np.ndarray:
    """Return the probability (N, L, H, W) of a tuned model, corrections carried; reviewed slices are not asked anew."""
    start = answer(model, volume.planes, fixed) if model is not base else volume.before.copy()
    start[list(fixed)] = volume.before[list(fixed)]
    settings, known = default_settings(model.spec), dict(enumerate(start))
    plain = known
    if model.spec.habit:  # as the window keeps it: the network's answer before the habit of the file
        bare = replace(model, spec=replace(model.spec, habit={}, corrected=[]), hash=f"{model.hash}-bare")
        plain = dict(enumerate(answer(bare, volume.planes, fixed)))
    scan = ScanAnswers(volume.planes, fixed, known, (1.0, 1.0, volume.depth), lambda _: settings, plain, plain)
    found = {n: one for some in iter_following(scan, model.spec) for n, one in some.items()}
    return np.stack([found.get(n, one) for n, one in known.items()])


def iter_rounds(volume: Volume, method: str, base: models.Model, given: argparse.Namespace):
    """Yield the scores after k = 0, 1, ... corrections."""
    rng = np.random.default_rng(0)
    model, probability, done, fixed, clock = base, volume.before, [], {}, 0.0
    yield scored(volume, masks_of(base, probability, volume), [], 0.0, 0.0, base.hash)
    for _ in range(given.corrections):
        number = chosen(volume, method, probability, done, base, rng)
        fixed[number], spent = corrected(
            volume, number, masks_of(base, probability, volume, fixed)[number], given.brush
        )
        done, clock = [*done, number], clock + spent
        begin = time.perf_counter()
        model = tuned(model, base, volume, fixed, method, given)
        seconds = time.perf_counter() - begin
        if method in ("none", "copy", "plain", "tune"):
            probability = answer(model, volume.planes, fixed) if model is not base else volume.before
        else:
            begin = time.perf_counter()
            probability = with_carry(model, base, volume, fixed)
            seconds = time.perf_counter() - begin if method == "carry" else seconds
        masks = masks_of(base, probability, volume, fixed)
        if method == "copy":
            masks = np.stack([fixed[min(done, key=lambda d: abs(d - n))] for n in range(len(volume.planes))])
        yield scored(volume, masks, done, seconds, clock, model.hash)


def chosen(volume, method, probability, done, base, rng) -> int:
    masks = masks_of(base, probability, volume)
    left = [n for n in range(len(masks)) if n not in done]
    painted = [n for n in left if masks[n].any()] or left
    if method == "random":
        return int(rng.choice(painted))
    if method == "middle":
        return min(painted, key=lambda n: abs(n - np.median(painted)))
    if method == "oracle":
        return min(left, key=lambda n: (dice(masks[n], volume.truth[n]), -np.count_nonzero(volume.truth[n])))
    return ranking.rank_slices(probability, done)[0]


def corrected(volume: Volume, number: int, mask: np.ndarray, brush: str) -> tuple[np.ndarray, float]:
    """Return the corrected mask of a slice and the seconds that the strokes took."""
    truth = volume.truth[number]
    fixed, seconds = mask.copy(), 0.0
    for missing, cost in ((truth > mask, FOREGROUND_S), (mask > truth, BACKGROUND_S)):
        core = ndimage.distance_transform_edt(missing) > IGNORED if brush == "noisy" else missing
        pieces, _ = ndimage.label(missing)
        for piece in np.setdiff1d(np.unique(pieces[core]), 0):
            fixed[pieces == piece] = truth[pieces == piece]
            seconds += cost + BETWEEN_S
    return (fixed if brush == "noisy" else truth), seconds


def tuned(model, base, volume, fixed, method, given, **more) -> models.Model:
    if method in ("none", "copy", "carry"):
        return base
    corrections = [ReviewedSlice(volume.name, n, volume.planes[n], mask) for n, mask in fixed.items()]
    corrections = with_stacks(corrections, stacks(volume, fixed))
    rest = np.delete(volume.planes, list(fixed), axis=0)
    if method == "plain":
        return plain(base, corrections, rest, given)
    settings, inside = FinetuneSettings(seconds=given.seconds), {"recipe": given.recipe, **more}
    found = finetune(model, corrections, settings, context=rest, **inside)
    return models.load(found.data) if found.data else model


def stacks(volume: Volume, fixed: dict[int, np.ndarray]) -> list[ScanStack]:
    layout = replace(layout_of((len(volume.planes), *volume.planes.shape[2:])), slice_distance=volume.depth)
    return stacks_of(volume.name, layout, (1.0, 1.0, volume.depth), fixed, lambda some: volume.planes[some])


def plain(base, corrections, rest, given) -> models.Model:
    device = torch.device("cpu")
    cases, context = fine_tune_slices(corrections, base.spec, device), context_of(rest, base.spec, device)
    learner, begin = WeightFineTuner(base.net, FineTuneData(cases, context, None, PLAIN, device)), time.perf_counter()
    learner.optimiser = torch.optim.Adam(learner.weights, 1e-4)
    learner._set_rate = lambda progress: None
    while time.perf_counter() - begin < given.seconds:
        learner.step(0.0)
    return models.from_state(base.spec, learner.net.state_dict())


def scored(volume, masks, done, seconds, clock, which) -> dict[str, Any]:
    """Score the slices that were not corrected."""
    rest = [n for n in range(len(masks)) if n not in done]
    tumour = {n: dice(masks[n], volume.truth[n]) for n in rest if volume.truth[n].any()}
    far = [value for n, value in tumour.items() if all(abs(n - d) >= FAR for d in done)]
    empty = [bool(masks[n].any()) for n in rest if not volume.truth[n].any()]
    known = {
        "rest": mean(tumour.values()), "far": mean(far), "volume": dice(masks[rest], volume.truth[rest]),
        "false": mean(empty), "slices": {str(n): value for n, value in tumour.items()},
    }  # fmt: skip
    return {"done": done, "seconds": seconds, "user_seconds": clock, "model": which, **known}


def summary(volumes: list[Volume], base: models.Model, given: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"volumes": len(volumes), "machine": machine(), "model": base.hash}
    for method in given.methods:
        name = {"ours": "dice_rest", "copy": "copy_nearest"}.get(method, method)
        found[f"{name}_by_k"] = by_k(volumes, method, "rest")
        if method not in ("none", "ours"):
            found[f"{name}_volume_dice_by_k"] = by_k(volumes, method, "volume")
            found[f"{name}_false_mask_rate_by_k"] = by_k(volumes, method, "false")
            found[f"{name}_worst_volume_delta"] = worst(volumes, base, method)
    if "carry" in given.methods:
        seconds = [s["seconds"] for v in volumes for s in v.steps["carry"][1:]]
        found |= {
            "carry_untuned_by_k": by_k(volumes, "carry", "rest", untuned=(base,)),
            "carry_untuned_false_mask_rate_by_k": by_k(volumes, "carry", "false", untuned=(base,)),
            "seconds_per_carry": mean(seconds), "seconds_per_carry_p95": float(np.percentile(seconds, 95)),
        }  # fmt: skip
    if "ours" in given.methods:
        found |= {
            "dice_far_by_k": by_k(volumes, "ours", "far"), "volume_dice_by_k": by_k(volumes, "ours", "volume"),
            "false_mask_rate_by_k": by_k(volumes, "ours", "false"),
            "untuned_rest_by_k": by_k(volumes, "ours", "rest", untuned=(base,)),
            "untuned_far_by_k": by_k(volumes, "ours", "far", untuned=(base,)),
            "untuned_volume_dice_by_k": by_k(volumes, "ours", "volume", untuned=(base,)),
            "untuned_false_mask_rate_by_k": by_k(volumes, "ours", "false", untuned=(base,)),
            "worst_volume_delta": worst(volumes, base, "ours"),
            "seconds_per_finetune": mean(s["seconds"] for v in volumes for s in v.steps["ours"][1:]),
            "longest_finetune": max(s["seconds"] for v in volumes for s in v.steps["ours"][1:]),
        }  # fmt: skip
    return found | extras(volumes, base, given)


def untuned(volume: Volume, step: dict[str, Any], base: models.Model) -> dict[str, Any]:
    """Score the untuned model on the very slices that a step was scored on."""
    return scored(volume, masks_of(base, volume.before, volume), step["done"], 0, 0, "")


def by_k(volumes, method, what, untuned: tuple = ()) -> list[float]:
    rounds = range(len(volumes[0].steps[method]))
    step = lambda v, k: globals()["untuned"](v, v.steps[method][k], *untuned) if untuned else v.steps[method][k]  # noqa: E731
    return [mean(step(v, k)[what] for v in volumes) for k in rounds]


def worst(volumes, base, method) -> float:
    """Return the largest loss of slice Dice of any volume at any k, negative for a loss."""
    steps = [(v, step) for v in volumes for step in v.steps[method][1:]]
    changes = [step["rest"] - untuned(v, step, base)["rest"] for v, step in steps]
    return float(np.nanmin(changes))


def extras(volumes, base, given) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "forgetting" in given.extras and "ours" in given.methods:
        found["forgetting"] = forgetting(volumes, base, given)
    if "sequence" in given.extras:
        found |= next_scan(volumes, base, given)
    if "long" in given.extras and "ours" in given.methods:
        found["gain_share_of_long"] = share_of_long(volumes[: given.long], base, given)
    if "attainable" in given.extras and "ours" in given.methods:
        most = [0.9 * reach(v, base, given) for v in volumes]
        pairs = list(zip(volumes, most, strict=True))
        found["attainable"] = mean(most) / 0.9
        found["user_seconds_to_090"] = float(np.median([seconds_to(v, least) for v, least in pairs]))
        found["corrections_to_090"] = float(np.median([corrections_to(v, least) for v, least in pairs]))
    return found


def forgetting(volumes, base, given) -> float | None:
    """Return the mean change of Dice on Cheng val of what the volumes' last models are, negative = forgotten."""
    if not (DATA / "cheng256").is_dir() or not given.forget:
        return None
    changes = []
    for volume in volumes:
        fixed = {n: volume.truth[n] for n in volume.steps["ours"][-1]["done"]}
        changes.append(forgotten(tuned(base, base, volume, fixed, "ours", given), base, given))
    return mean(changes)


def forgotten(model, base, given) -> float:
    """Return the change of Dice on Cheng val, negative = forgotten."""
    images, truth, before = _cheng(base, given.forget)
    masks = masks_of(base, answer(model, images))
    return mean(dice(mask, real) for mask, real in zip(masks, truth, strict=True)) - before


@lru_cache(maxsize=1)
def _cheng(base, count: int) -> tuple[np.ndarray, np.ndarray, float]:
    with (DATA / "cheng256/cases.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    rows = rows[:: max(1, len(rows) // count)]
    folders = (DATA / "cheng256" / part for part in ("images", "masks"))
    images, truth = (np.stack([np.asarray(Image.open(at / row["file"])) for row in rows]) for at in folders)
    masks = masks_of(base, answer(base, images[:, None]))
    return images[:, None], truth > 0, mean(dice(mask, real) for mask, real in zip(masks, truth > 0, strict=True))


def next_scan(volumes: list[Volume], base: models.Model, given: argparse.Namespace) -> dict[str, Any]:
    """Return what scans gain that nobody has touched, by how many scans of other patients were corrected before.

    Two slices of each scan are corrected, and the model is handed on from scan to scan as the CLI does it.
    """
    plain = [replace(v, steps={}) for v in volumes]
    jobs = [(patient, order) for patient in dict.fromkeys(v.patient for v in volumes) for order in range(given.orders)]
    with ProcessPoolExecutor(given.threads, get_context("spawn"), _begin_process, (plain, given)) as pool:
        rows = [row for some in pool.map(_after_scans, jobs) for row in some]
    scored_by = {k: [row for row in rows if row["scans"] == k] for k in SCANS}
    worst = {k: min((row["gain"] for row in some), default=float("nan")) for k, some in scored_by.items()}
    lost = {k: mean(row["forgetting"] for row in some if "forgetting" in row) for k, some in scored_by.items()}
    return {
        "next_scan_scans": list(SCANS),
        "next_scan_gain_by_scans": [mean(row["gain"] for row in some) for some in scored_by.values()],
        "next_scan_worst_by_scans": [*worst.values()],
        "next_scan_false_masks": [mean(row["false"] for row in some) for some in scored_by.values()],
        "next_scan_forgetting": [*lost.values()],
    }


_known: dict[str, Any] = {}


def _begin_process(volumes: list[Volume], given: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    _known.update(volumes=volumes, given=given, base=load_model(given.model))


def _after_scans(job: tuple[str, int]) -> list[dict[str, Any]]:
    """Return the scores on a patient's scans after others were corrected, in one order of them."""
    (patient, order), (volumes, given, base) = job, (_known[name] for name in ("volumes", "given", "base"))
    others = [v for v in volumes if v.patient != patient]
    chosen = [others[n] for n in np.random.default_rng(order).permutation(len(others))[: max(SCANS)]]
    model, kept, rows = base, [], []
    for count in range(len(chosen) + 1):
        if count:
            model, new = _handed_on(model, chosen[count - 1], kept, given)
            kept += new
        if count in SCANS:
            own = [v for v in volumes if v.patient == patient]
            some = [{"patient": patient, "order": order, "scans": count, **untouched(v, model, base)} for v in own]
            if "forgetting" in given.extras and not order:
                some[0]["forgetting"] = forgotten(model, base, given)
            rows += some
    return rows


def _handed_on(model, volume: Volume, kept, given) -> tuple[models.Model, list[ReviewedSlice]]:
    """Return the model after two slices of a scan were corrected, chosen by its own answer to it, and these slices."""
    fixed: dict[int, np.ndarray] = {}
    for _ in range(2):
        number = ranking.rank_slices(answer(model, volume.planes), [*fixed])[0]
        fixed[number] = volume.truth[number]
    corrections = [ReviewedSlice(volume.name, n, volume.planes[n], mask) for n, mask in fixed.items()]
    corrections = with_stacks(corrections, stacks(volume, fixed))
    rest = np.delete(volume.planes, [*fixed], axis=0)
    settings = FinetuneSettings(seconds=given.seconds)
    if given.habit:
        habit = exhaust(iter_habit(prepare_context(model, corrections, settings, rest, (), None, given.recipe)))
        return replace(model, spec=replace(model.spec, habit=habit)), corrections
    found = finetune(model, corrections, settings, context=rest, replay=kept, recipe=given.recipe)
    return (models.load(found.data) if found.data else model), corrections


def untouched(volume: Volume, model, base) -> dict[str, float]:
    """Score a model on a scan that nobody has corrected, and what it gains on the untuned one."""
    before = scored(volume, masks_of(base, volume.before, volume), [], 0, 0, "")
    probability = volume.before if model is base else answer(model, volume.planes)
    after = scored(volume, masks_of(base, probability, volume), [], 0, 0, "")
    return {"name": volume.name, "gain": after["rest"] - before["rest"], "false": after["false"], "rest": after["rest"]}


def share_of_long(volumes, base, given) -> float | None:
    """Return the gain within the budget over the gain within 600 s and with many more views, same slices."""
    gains = []
    for volume in volumes:
        step = volume.steps["ours"][min(2, given.corrections)]
        fixed, start = {n: volume.truth[n] for n in step["done"]}, untuned(volume, step, base)["rest"]
        model = tuned(base, base, volume, fixed, "ours", replace_seconds(given, 600), recipe=LONG)
        long = scored(volume, after(model, base, volume, fixed), step["done"], 0, 0, "")["rest"]
        gains.append((step["rest"] - start, long - start))
    short, long = (sum(column) for column in zip(*gains, strict=True)) if gains else (0, 0)
    return short / long if long else None


def replace_seconds(given: argparse.Namespace, seconds: float) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(given), "seconds": seconds})


def reach(volume, base, given) -> float:
    """Return the slice Dice after learning from every second tumour slice, scored on the others, both ways."""
    tumour, found = [n for n in range(len(volume.truth)) if volume.truth[n].any()], []
    for half in (tumour[::2], tumour[1::2]):
        fixed = {n: volume.truth[n] for n in half}
        model = tuned(base, base, volume, fixed, "ours", given)
        masks = after(model, base, volume, fixed)
        found += [dice(masks[n], volume.truth[n]) for n in tumour if n not in half]
    return mean(found)


def seconds_to(volume, goal) -> float:
    return next((step["user_seconds"] for step in volume.steps["ours"] if step["rest"] >= goal), float("inf"))


def corrections_to(volume, goal) -> float:
    return next((k for k, step in enumerate(volume.steps["ours"]) if step["rest"] >= goal), float("inf"))


def mean(values) -> float:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def said(volume, method, what) -> str:
    return " ".join(f"{step[what]:.3f}" for step in volume.steps[method])


def table(found: dict[str, Any]) -> str:
    return "\n".join(f"{name:32} {shown(value)}" for name, value in found.items())


def shown(value: Any) -> str:
    if isinstance(value, list):
        return "  ".join(f"{one:.3f}" for one in value)
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def machine() -> str:
    return f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, torch {torch.__version__}"


def picture(found: dict[str, Any], path: Path) -> None:
    """Draw the curves over the number of corrected slices as an SVG file."""
    left_out = ("false", "volume", "far", "untuned")
    lines = {
        name.removesuffix("_by_k").replace("_", " "): values
        for name, values in found.items()
        if name.endswith("_by_k") and not any(word in name for word in left_out)
    }
    drawn = chart("Dice of the uncorrected", range(len(found["dice_rest_by_k"])), lines)
    path.write_text(drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ').replace("pass ", "corrections "))


if __name__ == "__main__":
    main()
