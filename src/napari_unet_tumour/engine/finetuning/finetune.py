"""Fine-tune a model on corrected slices, within a budget of seconds; never worse than its parent on what it may see.

A lite-unet that knows its training slices' statistics learns a new expert from a single slice (`tuning/expert.py`),
and from two that show a lesion a second network for such scans (`tuning/moved.py`). Any other network moves its
weights a little (`tuning/tuner.py`). What was learnt is kept by a share that held-out slices choose; without them,
leaving out one corrected slice after the other does for an expert, and a cautious share stays of the others.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from napari_unet_tumour.engine.finetuning import scoring
from napari_unet_tumour.engine.finetuning.add_classes import unlearnt_labels
from napari_unet_tumour.engine.finetuning.blend import FineTuner, cautious_blend, choose_blend, dice_at, finish
from napari_unet_tumour.engine.finetuning.branch_fit import BranchFineTuner
from napari_unet_tumour.engine.finetuning.context import FineTuneContext, prepare_context
from napari_unet_tumour.engine.finetuning.expert_fit import ExpertFineTuner
from napari_unet_tumour.engine.finetuning.hyperparameters import HyperParameters
from napari_unet_tumour.engine.finetuning.weight_fit import WeightFineTuner
from napari_unet_tumour.engine.inference.accelerate import pick_device
from napari_unet_tumour.engine.inference.memory import release_memory
from napari_unet_tumour.engine.networks.lite_unet import LiteUNet
from napari_unet_tumour.engine.training.feature_statistics import can_use_experts
from napari_unet_tumour.errors import DeviceError
from napari_unet_tumour.settings import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.corrections import FineTuneOutcome, ReviewedSlice
    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.settings import FinetuneSettings

# Share of the budget after which looking at the slices, and learning, end; the rest is for judging.
LOOKING, LEARNING = 0.5, 0.8
SHOW_EVERY, KEEP_EVERY = 4, 3.0


def finetune(
    model: Model, corrections: Sequence[ReviewedSlice], settings: FinetuneSettings, **more: Any
) -> FineTuneOutcome:
    """Fine-tune a copy of a model; see `iter_finetune`."""
    steps = iter_finetune(model, corrections, settings, **more)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def iter_finetune(
    model: Model,
    corrections: Sequence[ReviewedSlice],
    settings: FinetuneSettings,
    context: NDArray[Any] | None = None,
    replay: Sequence[ReviewedSlice] = (),
    watch: NDArray[Any] | None = None,
    recipe: HyperParameters | None = None,
) -> Generator[Progress, None, FineTuneOutcome]:
    """Fine-tune a copy of a model.

    Parameters
    ----------
    model : Model
        The parent; stays as it is.
    corrections : sequence of Correction
        Reviewed slices; those that are `held_out` are only scored.
    context : numpy.ndarray, optional
        (N, C, H, W) raw planes of the same scan that nobody reviewed.
    replay : sequence of Correction
        Reviewed slices of earlier scans, so that they are not forgotten.
    watch : numpy.ndarray, optional
        (1, C, H, W) raw plane on screen; ticks carry its new probability.
    recipe : Recipe, optional
        How it learns; only benchmarks give another one.

    Yields
    ------
    Progress
        `done` of `total` are tenths of seconds of the budget. Values hold "step", "loss",
        "seconds_left" and now and then "score" (0..1, held-out Dice where there is one), "probability"
        (L, H, W) uint8 of the watched plane and "best" (a `FineTuneOutcome` that is worth keeping if the person
        cancels now).

    Returns
    -------
    Tuned

    Raises
    ------
    TrainingError
        Nothing to learn from, or labels that the model does not know.
    DeviceError
        The device is not there, or its memory is full.
    """
    device = pick_device(settings.device)
    try:
        return (
            yield from _iter_tuned(
                prepare_context(model, corrections, settings, context, replay, watch, recipe or HyperParameters())
            )
        )
    except torch.OutOfMemoryError as error:
        raise DeviceError("the memory is full: close other programs, or choose the device cpu") from error
    finally:
        # Also when the person cancels: a GPU's memory is for others again.
        release_memory(device)


def _iter_tuned(desk: FineTuneContext) -> Generator[Progress, None, FineTuneOutcome]:
    yield _tick(desk, 0, "looking at the slices")
    learner = yield from _iter_learner(desk)
    steps, kept = 0, time.monotonic()
    for loss in _iter_loss(desk, learner):
        steps += 1
        yield _tick(desk, steps, "learning", loss=loss, **_shown(desk, learner, steps))
        if time.monotonic() - kept > KEEP_EVERY:
            best = finish(desk, learner, cautious_blend(desk, learner), steps, "stopped before its time")
            kept = time.monotonic()
            yield _tick(desk, steps, "learning", loss=loss, **({"best": best} if best.data else {}))
    yield _tick(desk, steps, "judging")
    share, how = choose_blend(desk, learner)
    return finish(desk, learner, share, steps, how)


def _iter_learner(desk: FineTuneContext) -> Generator[Progress, None, FineTuner]:
    """Choose the way of learning that the network and the corrections allow, and let it look at the slices."""
    torch.manual_seed(desk.settings.seed)
    net = desk.model.net
    if not isinstance(net, LiteUNet) or not can_use_experts(net):
        return WeightFineTuner(net, desk.lesson)
    looking = partial(_tick, desk, 0, "looking at the slices")
    # A class that was added is known from experts alone; a second network has nothing to start from. From one lesion
    # and one slice without, it learns to see nothing at all.
    if desk.lesson.cases.shown >= desk.lesson.recipe.enough and not unlearnt_labels(net.head):
        moved = BranchFineTuner(net, desk.lesson)
        for _ in moved.iter_look():
            yield looking()
        if moved.gate is not None:
            return moved
    expert = ExpertFineTuner(net, desk.lesson)
    for _ in expert.iter_look(lambda: desk.past(LOOKING)):
        yield looking()
    return expert


def _iter_loss(desk: FineTuneContext, learner: FineTuner) -> Iterator[float]:
    """Yield the loss of every step."""
    if not isinstance(learner, WeightFineTuner):
        for taken, loss in enumerate(learner.iter_fit(), start=1):
            yield loss
            if desk.past(LEARNING) or taken == desk.settings.steps:
                return
        return
    total = desk.settings.seconds * LEARNING
    while desk.settings.steps == 0 or learner.taken < desk.settings.steps:
        spent = (total - desk.left() + desk.settings.seconds * (1 - LEARNING)) / total
        share = learner.taken / desk.settings.steps if desk.settings.steps else spent
        if share >= 1 and (learner.taken or not learner.fresh):  # a new class has its first weights already
            return
        yield learner.step(share)


def _shown(desk: FineTuneContext, learner: FineTuner, steps: int) -> dict[str, Any]:
    """Return what a tick shows beside the loss: the watched plane's new probability, the held-out score."""
    shown: dict[str, Any] = {}
    if steps % SHOW_EVERY or (desk.watch is None and desk.held_out is None):
        return shown
    net = learner.blended(1.0)
    if desk.watch is not None and len(desk.watch):
        native = desk.watch.native(0, scoring.probability(net, desk.watch.images)[0])
        shown["probability"] = (native * 255).round().clamp(0, 255).byte().cpu().numpy()
    if desk.held_out is not None:
        shown["score"] = dice_at(desk, net, desk.held_out)
    return shown


def _tick(desk: FineTuneContext, step: int, message: str, **values: Any) -> Progress:
    total = max(1, round(desk.settings.seconds * 10))
    left = max(0.0, desk.left())
    return Progress(
        min(total, total - round(left * 10)), total, message, {"step": step, "seconds_left": left, **values}
    )
