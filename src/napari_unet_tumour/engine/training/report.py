"""The HTML report of a training: scores, curves, best and worst cases, split, settings and network."""

from __future__ import annotations

import base64
import io
from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.engine.training import test_scores
from napari_unet_tumour.engine.training.svg_chart import chart
from napari_unet_tumour.settings import SegmentSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.engine.training.dataset import Dataset
    from napari_unet_tumour.engine.training.split import DataSplit
    from napari_unet_tumour.engine.training.test_scores import TestCase
    from napari_unet_tumour.settings import TrainSettings

SHOWN = 4
TRUTH, FOUND, BOTH = (0, 190, 255), (255, 120, 0), (255, 255, 255)
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:.5em 0}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}figure{display:inline-block;margin:.3em;font-size:12px}
figure img{width:210px;display:block;image-rendering:pixelated}svg{max-width:100%}.note{color:#555}
i.t{color:#00a0e0}i.f{color:#ff7800}pre{font-size:11px;overflow:auto}"""
NAMES = {"dice": "Dice", "iou": "IoU", "precision": "precision", "recall": "recall", "accuracy": "accuracy"}


def page(
    model: Model,
    settings: TrainSettings,
    examples: Dataset,
    parts: DataSplit,
    rows: Sequence[Mapping[str, Any]],
    test: Sequence[TestCase],
    seen: Sequence[TestCase],
    network: str,
) -> str:
    """Return the report.

    Parameters
    ----------
    model : Model
        The best weights, with their scores.
    rows : sequence of mapping
        The log, a row per epoch.
    test, seen : sequence of TestCase
        Scores of the test part, and of held-out slices of training persons.
    network : str
        The text summary of the network.

    Returns
    -------
    str
        HTML without external files.
    """
    spec = model.spec
    blocks = [
        f"<h1>{escape(spec.name)}</h1><p>{escape(spec.description)}. Research use only: not a medical device.</p>",
        _scores(test),
        _leak(parts, test, seen),
        "<h2>Curves</h2>" + _curves(rows),
        "<h2>Cases</h2>" + _pictures(model, examples, test, settings),
        "<h2>Split</h2>" + _split(parts, examples),
        f"<h2>Settings</h2><details><summary>all settings</summary>{_settings(settings)}</details>",
        f"<h2>Network</h2><details><summary>layers</summary><pre>{escape(network)}</pre></details>",
    ]
    head = f"<meta charset=utf-8><title>{escape(spec.name)}</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(blocks)}</body></html>\n"


def _scores(test: Sequence[TestCase]) -> str:
    groups: dict[str, Sequence[TestCase]] = {"all test slices": test}
    kinds = test_scores.by(test, lambda case: case.source.kind)
    if len(kinds) > 1:
        groups |= {escape(kind or "no type"): cases for kind, cases in kinds.items()}
    groups |= test_scores.by_size(test)
    lines = [
        (name, str(len(cases)), *(_number(test_scores.mean_of(cases, rate)) for rate in NAMES))
        for name, cases in groups.items()
    ]
    note = "Means over slices on their own grid; Dice to recall over slices with tumour. Sizes are shares of the image."
    return f"<h2>Scores on the test part</h2>{_table(('', 'slices', *NAMES.values()), lines)}<p class=note>{note}</p>"


def _leak(parts: DataSplit, test: Sequence[TestCase], seen: Sequence[TestCase]) -> str:
    if parts.how == "slice":
        return (
            "<h2>By slice against by person</h2><p>The split is by slice. If a person has several slices, the "
            "network has seen neighbours of the test slices, and the score is too high: "
            "name the persons in a cases file.</p>"
        )
    if not seen:
        return ""
    lines = [
        ("by person: test persons are new to the network", str(len(test)), _number(test_scores.mean_of(test, "dice"))),
        (
            "by slice: held-out slices of persons it was trained on",
            str(len(seen)),
            _number(test_scores.mean_of(seen, "dice")),
        ),
    ]
    note = "A split by slice hides this difference: its score does not hold for new patients."
    return f"<h2>By slice against by person</h2>{_table(('', 'slices', 'Dice'), lines)}<p class=note>{note}</p>"


def _curves(rows: Sequence[Mapping[str, Any]]) -> str:
    x = [float(row["pass"]) for row in rows]
    losses = {"training": [row["loss"] for row in rows], "validation": [row["val_loss"] for row in rows]}
    scores = {NAMES[name]: [row[f"val_{name}"] for row in rows] for name in ("dice", "iou", "precision", "recall")}
    rates = {"learning rate": [row["rate"] for row in rows]}
    return chart("loss", x, losses) + chart("validation", x, scores, (0.0, 1.0)) + chart("learning rate", x, rates)


def _pictures(model: Model, examples: Dataset, test: Sequence[TestCase], settings: TrainSettings) -> str:
    ranked = sorted((case for case in test if case.share > 0), key=lambda case: case.rates["dice"])
    middle = max(0, len(ranked) // 2 - SHOWN // 2)
    chosen = {"Best": ranked[::-1][:SHOWN], "Median": ranked[middle : middle + SHOWN], "Worst": ranked[:SHOWN]}
    text = "<p class=note>Outlines: <i class=t>truth</i>, <i class=f>prediction</i>, white where both agree.</p>"
    for title, cases in chosen.items():
        text += f"<h3>{title}</h3>" + "".join(_figure(model, examples, case, settings) for case in cases)
    return text


def _figure(model: Model, examples: Dataset, case: TestCase, settings: TrainSettings) -> str:
    image, truth = test_scores.native_of(examples, case.number, model.spec.in_channels)
    found = test_scores.found_in(model, image, SegmentSettings(threshold=model.spec.threshold, device=settings.device))
    kind = f", {escape(case.source.kind)}" if case.source.kind else ""
    caption = f"{escape(case.source.name)}{kind}: Dice {case.rates['dice']:.3f}"
    drawn = _png(outlined(image, truth, found))
    return f"<figure><img alt='{caption}' src='{drawn}'><figcaption>{caption}</figcaption></figure>"


def outlined(image: NDArray[Any], truth: NDArray[np.uint8], found: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a slice (C, H, W) with the outlines of two masks (H, W), as (H, W, 3) uint8."""
    grey = image.astype(np.float64).mean(0)
    low, high = np.quantile(grey, [0.005, 0.995])
    shown = np.clip((grey - low) / max(high - low, 1e-12), 0, 1) * 255
    picture = np.repeat(shown.astype(np.uint8)[..., None], 3, axis=2)
    edges = [_edge(mask) for mask in (truth, found)]
    picture[edges[0]], picture[edges[1]] = TRUTH, FOUND
    picture[edges[0] & edges[1]] = BOTH
    return picture


def _edge(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the pixels of labels that touch another label or the background."""
    around = np.pad(mask, 1, mode="edge")
    sides = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    return np.asarray(np.logical_or.reduce([side != mask for side in sides]) & (mask > 0))


def _png(picture: NDArray[np.uint8]) -> str:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(picture).save(data, format="PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _split(parts: DataSplit, examples: Dataset) -> str:
    names = {
        "train": "trained on",
        "val": "to choose the best epoch (if the last is kept: trained on too)",
        "test": "test",
        "seen": "held-out slices of training persons",
    }
    lines = []
    for part, say in names.items():
        numbers = getattr(parts, part)
        persons = {examples.sources[i].person for i in numbers} - {""}
        lines.append((say, str(len(numbers)), str(len(persons) or "-")))
    return f"<p>By {parts.how}.</p>" + _table(("", "slices", "persons"), lines)


def _settings(settings: TrainSettings) -> str:
    return _table(("setting", "value"), [(name, escape(str(value))) for name, value in asdict(settings).items()])


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<table><tr>{top}</tr>{body}</table>"


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
