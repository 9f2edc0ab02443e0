"""Train a network from folders of images and masks: read, split, train, keep the best weights, test, report."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from napari_unet_tumour.engine import model
from napari_unet_tumour.engine.inference.memory import keeping_buffers
from napari_unet_tumour.engine.lesion_removal import grey_of, iter_lesion_removed
from napari_unet_tumour.engine.training import checkpoint, distributed, split
from napari_unet_tumour.engine.training.batches import EpochPlan, SamplePools, batch_of, epoch_plans, order_of
from napari_unet_tumour.engine.training.checkpoint import RunFiles
from napari_unet_tumour.engine.training.dataset import Dataset, iter_dataset
from napari_unet_tumour.engine.training.finalise import Trained, iter_finalise
from napari_unet_tumour.engine.training.learner import Learner
from napari_unet_tumour.engine.training.lesion_transplant import TransplantHosts
from napari_unet_tumour.engine.training.negatives import iter_negatives
from napari_unet_tumour.engine.training.network_summary import summary_of
from napari_unet_tumour.engine.training.plan import names_of, parts_of, spec_of
from napari_unet_tumour.engine.training.readers import iter_readers
from napari_unet_tumour.engine.training.tensorboard import TensorBoardLog
from napari_unet_tumour.engine.training.validation import validate
from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.settings import Progress, TrainSettings

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_unet_tumour.models.spec import ModelSpec

SAVE_EVERY = 300.0
PARTS = {"train": "train on", "val": "choose by", "test": "score"}


@dataclass
class _State:
    """The state of a training without its weights, as in the checkpoint; a lap is an epoch."""

    lap: int = 0
    step: int = 0
    loss: float = 0.0
    best: float = -math.inf
    best_lap: int = -1
    rows: list[dict[str, Any]] = field(default_factory=list)


def iter_train(
    settings: TrainSettings,
    images: str | Path,
    masks: str | Path,
    out: str | Path = "trained.safetensors",
    cases: str | Path | None = None,
    negatives: str | Path | None = None,
    resume: bool = False,
    second: str | Path | None = None,
) -> Generator[Progress, None, Trained]:
    """Train a network.

    Parameters
    ----------
    settings : TrainSettings
        The settings; see `presets.read_settings`.
    images, masks : path
        Folders with the same file names (PNG, JPEG, TIFF, NIfTI).
    out : path
        Model file to write, .safetensors. It always has the best weights so far; the folder NAME.training beside it
        has checkpoint, log, run card, network summary and report.
    cases : path, optional
        CSV with the column `file` and any of `person`, `tumour`, `split`.
    negatives : path, optional
        Folder of images without a tumour.
    resume : bool
        Continue from the last checkpoint, if there is one; the result is that of an uninterrupted run.
    second : path, optional
        Folder with a second reader's masks of the same names, for some or all images. The target is the mean of both;
        slices on which they hardly agree are only in every fifth epoch. For one label.

    Yields
    ------
    Progress
        Once per step; values are "loss", "seconds_left" and, at the end of an epoch, "row" (its
        line of the log). The values of the first step are "summary" (text) and "parts" (counts).

    Returns
    -------
    Trained

    Raises
    ------
    TrainingError
        Images, masks, cases or settings are invalid, or the loss became NaN (the best weights are kept).
    OutputError
        A file cannot be written; earlier files are kept.
    """
    run = RunFiles(Path(out))
    if distributed.rank() == 0:
        run.prepare(resume)
    curves = TensorBoardLog(run.folder / "tensorboard", settings.tensorboard and distributed.rank() == 0)
    examples = yield from iter_dataset(Path(images), Path(masks), settings, Path(cases) if cases else None)
    parts = parts_of(examples, settings)
    spec = spec_of(settings, examples, parts)
    readers = yield from iter_readers(Path(second), examples, parts.train, settings) if second else _none()
    pools = yield from _iter_pools(examples, parts, settings, Path(negatives) if negatives else None)
    pools = replace(pools, readers=readers)
    plans = epoch_plans(settings, len(parts.train), len(pools.lesion_free) > 0, len(pools.negatives) > 0)
    learner = Learner(settings, spec, plans[-1].first + plans[-1].steps)
    mine = checkpoint.identity(
        settings,
        spec.to_json(),
        [f"{part}:{name}" for part, names in names_of(examples, parts).items() for name in names],
    )
    state = _resumed(checkpoint.load(run.checkpoint, mine) if resume else None, learner)
    yield _opening(run, settings, learner, spec, examples, parts)
    with keeping_buffers():
        yield from _iter_epochs(run, learner, spec, examples, parts, pools, plans, state, curves, mine)
    if distributed.rank() > 0:
        return Trained(str(run.out), "", {}, len(state.rows), state.best_lap + 1)
    return (yield from iter_finalise(run, settings, examples, parts, state.rows, state.best_lap + 1))


def _none() -> Generator[Progress, None, None]:
    """Return None, in place of readers."""
    yield from ()


def _iter_pools(
    examples: Dataset, parts: split.DataSplit, settings: TrainSettings, negatives: Path | None
) -> Generator[Progress, None, SamplePools]:
    images, masks = examples.images[parts.train], examples.masks[parts.train]
    none = torch.empty((0, 1, settings.size, settings.size), dtype=torch.uint8)
    copies = none
    if settings.lesion_removed_fraction > 0 or settings.carvemix_fraction > 0:
        copies = yield from iter_lesion_removed(images, masks, [examples.sources[i].person for i in parts.train])
    free = none
    if negatives is not None and settings.negative_share > 0:
        free = yield from iter_negatives(negatives, settings, examples)
    hosts = None
    if settings.carvemix_fraction > 0:
        tumourless = [torch.from_numpy(grey_of(pool))[:, None] for pool in (copies, free) if len(pool)]
        if not tumourless:
            raise TrainingError("CarveMix needs tumour-free slices, and no lesion could be removed: give --negatives")
        hosts = TransplantHosts(torch.cat(tumourless))
    return SamplePools(images, masks, copies, free, hosts)


def _iter_epochs(
    run: RunFiles,
    learner: Learner,
    spec: ModelSpec,
    examples: Dataset,
    parts: split.DataSplit,
    pools: SamplePools,
    plans: list[EpochPlan],
    state: _State,
    curves: TensorBoardLog,
    mine: dict[str, Any],
) -> Generator[Progress, None, None]:
    """Train epoch by epoch: take all steps, validate, keep the best weights, save; stop early if nothing improves."""
    began, start = time.monotonic(), learner.taken
    while state.lap < len(plans) and not _is_over(state, learner.settings):
        plan = plans[state.lap]
        began_epoch = time.monotonic()
        yield from _iter_steps(run, learner, spec, pools, plan, plans, state, mine, (began, start))
        row = _validated(learner, spec, examples, parts, plan, state, time.monotonic() - began_epoch)
        gained = _keep_best(run, learner, spec, row, state)
        state.rows.append(row)
        state.lap, state.step, state.loss = state.lap + 1, 0, 0.0
        learner.after_pass(-row["val_dice"] if learner.settings.monitor == "dice" else row["val_loss"])
        _save(run, learner, state, mine)
        curves.add(row)
        done, total = plan.first + plan.steps, plans[-1].first + plans[-1].steps
        yield Progress(done, total, _epoch_line(row, gained), {"row": row, "best": gained})


def _iter_steps(
    run: RunFiles,
    learner: Learner,
    spec: ModelSpec,
    pools: SamplePools,
    plan: EpochPlan,
    plans: list[EpochPlan],
    state: _State,
    mine: dict[str, Any],
    clock: tuple[float, int],
) -> Generator[Progress, None, None]:
    total, saved = plans[-1].first + plans[-1].steps, time.monotonic()
    shown = None if pools.readers is None else pools.readers.shown
    order = order_of(plan, len(pools.images), learner.settings.seed, shown)
    while state.step < plan.steps:
        number = plan.first + state.step
        chosen = distributed.shard_of(order[state.step])
        chance = number * distributed.count() + distributed.rank()
        # Seeded per step, so that dropout is also the same after a resumption.
        torch.manual_seed(learner.settings.seed + chance)
        x, y = batch_of(pools, plan, chosen, learner.settings, spec, chance, learner.device)
        loss = learner.step(x, y)
        if not math.isfinite(loss):
            raise TrainingError(_divergence_message(run, learner, plan, state))
        state.step, state.loss = state.step + 1, state.loss + loss
        if time.monotonic() - saved > SAVE_EVERY:
            _save(run, learner, state, mine)
            saved = time.monotonic()
        left = (time.monotonic() - clock[0]) / (number + 1 - clock[1]) * (total - number - 1)
        message = f"pass {plan.number + 1} of {len(plans)}, loss {state.loss / state.step:.3f}"
        yield Progress(number + 1, total, message, {"loss": loss, "seconds_left": left})


def _opening(
    run: RunFiles, settings: TrainSettings, learner: Learner, spec: ModelSpec, examples: Dataset, parts: split.DataSplit
) -> Progress:
    text = summary_of(learner.best_net, spec.in_channels, settings.size)
    if distributed.rank() == 0:
        run.note("network.txt", text)
    counts = {name: len(getattr(parts, name)) for name in ("train", "val", "test", "seen")}
    message = ", ".join(f"{counts[name]} to {use}" for name, use in PARTS.items())
    message = f"{message} (slices; split by {parts.how})"
    return Progress(0, 1, message, {"summary": text, "parts": counts, "split": parts.how})


def _resumed(saved: dict[str, Any] | None, learner: Learner) -> _State:
    if saved is None:
        return _State()
    learner.restore(saved["learner"])
    return _State(**saved["state"])


def _validated(
    learner: Learner,
    spec: ModelSpec,
    examples: Dataset,
    parts: split.DataSplit,
    plan: EpochPlan,
    state: _State,
    seconds: float,
) -> dict[str, Any]:
    found: dict[str, float] = {}
    if distributed.rank() == 0:
        images, masks = examples.images[parts.val], examples.masks[parts.val]
        found = validate(learner.best_net, images, masks, spec, learner.loss, learner.precision)
    found = {f"val_{name}": value for name, value in distributed.broadcast_object(found).items()}
    first = {"pass": plan.number + 1, "side": plan.side, "rate": learner.rate, "loss": state.loss / max(state.step, 1)}
    return {**first, **found, "seconds": seconds}


def _keep_best(run: RunFiles, learner: Learner, spec: ModelSpec, row: dict[str, Any], state: _State) -> bool:
    value = row["val_dice"] if learner.settings.monitor == "dice" else -row["val_loss"]
    if not value > state.best and learner.settings.keep_checkpoint == "best":
        return False
    state.best, state.best_lap = value, len(state.rows)
    if distributed.rank() == 0:
        scores = {"val_dice": round(row["val_dice"], 4)}
        name = spec.name or run.out.stem
        model.save(run.out, replace(spec, name=name, scores=scores), learner.best_net.state_dict())
    return True


def _save(run: RunFiles, learner: Learner, state: _State, mine: dict[str, Any]) -> None:
    if distributed.rank() > 0:
        return
    checkpoint.save(run.checkpoint, {"identity": mine, "learner": learner.state(), "state": vars(state)})
    run.log(state.rows)


def _is_over(state: _State, settings: TrainSettings) -> bool:
    return 0 < settings.early_stopping <= len(state.rows) - 1 - state.best_lap


def _divergence_message(run: RunFiles, learner: Learner, plan: EpochPlan, state: _State) -> str:
    kept = f"the best weights (pass {state.best_lap + 1}) are kept in {run.out}" if state.rows else "nothing was kept"
    advice = f"use a lower --learning-rate (now {learner.settings.learning_rate:g})"
    if learner.precision != torch.float32:
        advice += " or --precision float32"
    return f"the loss became NaN or infinite in pass {plan.number + 1}, step {state.step + 1}: {kept}; {advice}"


def _epoch_line(row: dict[str, Any], gained: bool) -> str:
    best = ", best so far" if gained else ""
    return (
        f"pass {row['pass']}: loss {row['loss']:.4f}, val loss {row['val_loss']:.4f}, Dice {row['val_dice']:.4f}{best}"
    )
