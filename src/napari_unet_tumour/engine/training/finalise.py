"""The end of a training: what the best network scores on slices that it never saw, model file, report, run card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.engine import model
from napari_unet_tumour.engine.training import report, test_scores
from napari_unet_tumour.engine.training.batches import to_batch
from napari_unet_tumour.engine.training.feature_statistics import iter_feature_statistics
from napari_unet_tumour.engine.training.plan import names_of
from napari_unet_tumour.version import __version__

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_unet_tumour.engine.training import split
    from napari_unet_tumour.engine.training.checkpoint import RunFiles
    from napari_unet_tumour.engine.training.dataset import Dataset
    from napari_unet_tumour.settings import Progress, TrainSettings


@dataclass(frozen=True)
class Trained:
    """What a training has made.

    Parameters
    ----------
    path : str
        The model file: the best on the validation part.
    report : str
        The HTML report.
    scores : dict
        Of the test part, e.g. {"dice_mean": 0.8}; see `test_scores.summary`.
    passes, best_pass : int
        Passes over the training images, and the one whose weights were kept, counted from 1.
    """

    path: str
    report: str
    scores: dict[str, float]
    passes: int
    best_pass: int


def iter_finalise(
    run: RunFiles,
    settings: TrainSettings,
    examples: Dataset,
    parts: split.DataSplit,
    rows: list[dict[str, Any]],
    best_pass: int,
) -> Generator[Progress, None, Trained]:
    """Score the best model on slices that it never saw, on their own grid, and write model and report."""
    best = yield from _iter_acquainted(model.load(run.out), run, examples, parts)
    test = yield from test_scores.iter_test_scores(best, examples, parts.test, settings.device)
    seen = yield from test_scores.iter_test_scores(best, examples, parts.seen, settings.device)
    scores = test_scores.summary(test, seen)
    best = replace(best, spec=replace(best.spec, scores=scores))
    model.save(run.out, best.spec, best.net.state_dict(), clicks=best.click_state)
    names = names_of(examples, parts)
    card = {"settings": asdict(settings), "scores": scores, "split": names, "version": __version__}
    run.note("run.json", json.dumps(card, indent=1, default=list))
    network = (run.folder / "network.txt").read_text()
    where = run.note("report.html", report.page(best, settings, examples, parts, rows, test, seen, network))
    return Trained(str(run.out), str(where), scores, len(rows), best_pass)


def _iter_acquainted(
    best: model.Model, run: RunFiles, examples: Dataset, parts: split.DataSplit
) -> Generator[Progress, None, model.Model]:
    """Note what the training slices look like, for later fine-tuning, where the network has room for it."""
    if best.spec.network != "lite-unet" or "experts" in best.spec.arguments:
        return best
    images = examples.images[parts.train]
    spec, state = yield from iter_feature_statistics(
        best.spec, best.net.state_dict(), lambda start, stop: to_batch(images[start:stop], best.spec), len(images)
    )
    model.save(run.out, spec, state)
    return model.load(run.out)
