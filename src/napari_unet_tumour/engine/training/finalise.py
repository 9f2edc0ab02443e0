"""Finish a training: score the best network on the test part, write model file, report and run card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.engine import model
from napari_unet_tumour.engine.training import report, test_scores
from napari_unet_tumour.engine.training.batches import to_batch
from napari_unet_tumour.engine.training.feature_statistics import iter_feature_statistics
from napari_unet_tumour.engine.training.plan import names_of
from napari_unet_tumour.scans.training_match import statistics_of
from napari_unet_tumour.version import __version__

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_unet_tumour.engine.training import split
    from napari_unet_tumour.engine.training.checkpoint import RunFiles
    from napari_unet_tumour.engine.training.dataset import Dataset
    from napari_unet_tumour.settings import Progress, TrainSettings


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Parameters
    ----------
    path : str
        The model file, with the best weights on the validation part.
    report : str
        The HTML report.
    scores : dict
        Scores on the test part, e.g. {"dice_mean": 0.8}; see `test_scores.summary`.
    passes, best_pass : int
        Number of epochs, and the one whose weights were kept, counted from 1.
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
    """Score the best model on unseen slices on their own grid, and write model and report."""
    best = yield from _iter_with_statistics(model.load(run.out), run, examples, parts)
    test = yield from test_scores.iter_test_scores(best, examples, parts.test, settings.device)
    seen = yield from test_scores.iter_test_scores(best, examples, parts.seen, settings.device)
    scores = test_scores.summary(test, seen)
    looks = statistics_of(image.numpy() for image in examples.images[parts.train])
    best = replace(best, spec=replace(best.spec, scores=scores, typical=looks))
    model.save(run.out, best.spec, best.net.state_dict(), clicks=best.click_state)
    names = names_of(examples, parts)
    card = {"settings": asdict(settings), "scores": scores, "split": names, "version": __version__}
    run.note("run.json", json.dumps(card, indent=1, default=list))
    network = (run.folder / "network.txt").read_text()
    where = run.note("report.html", report.page(best, settings, examples, parts, rows, test, seen, network))
    return Trained(str(run.out), str(where), scores, len(rows), best_pass)


def _iter_with_statistics(
    best: model.Model, run: RunFiles, examples: Dataset, parts: split.DataSplit
) -> Generator[Progress, None, model.Model]:
    """Add the statistics of the training slices, for later fine-tuning, if the network supports it."""
    if best.spec.network != "lite-unet" or "experts" in best.spec.arguments:
        return best
    images = examples.images[parts.train]
    spec, state = yield from iter_feature_statistics(
        best.spec, best.net.state_dict(), lambda start, stop: to_batch(images[start:stop], best.spec), len(images)
    )
    model.save(run.out, spec, state)
    return model.load(run.out)
