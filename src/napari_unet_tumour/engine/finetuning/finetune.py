"""Fine-tune a model on corrected slices, within a budget of seconds; never worse than its parent on what it may see.

First the habit is learnt: how the reader outlines (`habit.py`). A lite-unet that knows its training slices' statistics
then learns an expert (`expert_fit.py`), if a slice that is kept for scoring judges it or nothing else is learnt.
Any other network moves its weights a little (`weight_fit.py`). Held-out slices choose the share of what was learnt that
is kept. Without them, leaving out one corrected slice after the other does so for an expert, and of moved weights a
cautious share is kept.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.engine.finetuning import scoring
from napari_unet_tumour.engine.finetuning.blend import FineTuner, cautious_blend, choose_blend, dice_at, finish
from napari_unet_tumour.engine.finetuning.context import FineTuneContext, prepare_context
from napari_unet_tumour.engine.finetuning.expert_fit import ExpertFineTuner
from napari_unet_tumour.engine.finetuning.habit import iter_habit
from napari_unet_tumour.engine.finetuning.hyperparameters import HyperParameters
from napari_unet_tumour.engine.finetuning.weight_fit import WeightFineTuner
from napari_unet_tumour.engine.inference.accelerate import pick_device
from napari_unet_tumour.engine.inference.memory import release_memory
from napari_unet_tumour.engine.inference.part import with_part
from napari_unet_tumour.engine.networks.lite_unet import LiteUNet
from napari_unet_tumour.engine.training.feature_statistics import can_use_experts
from napari_unet_tumour.errors import DeviceError
from napari_unet_tumour.phantom import phantom
from napari_unet_tumour.settings import Progress, SegmentSettings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.corrections import FineTuneOutcome, ReviewedSlice
    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.settings import FinetuneSettings

# Share of the budget after which looking at the slices, and learning, end; the rest is for judging.
LOOKING, LEARNING = 0.5, 0.8
SHOW_EVERY, KEEP_EVERY = 4, 8.0
# Steps that tell how quick this computer is; what judging takes, in steps.
WARM_UP, JUDGING = 2, 4
# A learning time that is never short.
LONGEST_S = 3600.0


def finetune(
    model: Model, corrections: Sequence[ReviewedSlice], settings: FinetuneSettings, **more: Any
) -> FineTuneOutcome:
    """Fine-tune a copy of a model; see `iter_finetune`."""
    return exhaust(iter_finetune(model, corrections, settings, **more))


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
        `done` of `total` are tenths of seconds: of the budget, and of what it takes on this computer once the first
        steps have told. Values hold "step", "loss", from then on "seconds_left", and now and then "score" (0..1,
        held-out Dice where there is one), "probability" (L, H, W) uint8 of the watched plane and "best" (a
        `FineTuneOutcome` that is worth keeping if the person cancels now).

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
    desk.habit.update((yield from _iter_looked(desk, iter_habit(desk))))
    learner = yield from _iter_learner(desk)
    if learner is None:
        return finish(desk, None, 0.0, 1, "")  # one step: a least squares fit
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
    total, needed = _steps_of(desk, learner), _needed(desk, learner, steps)
    short = f"{steps} of {total} steps fitted into the time: with about {needed} s it learns all it can"
    note = "; ".join(filter(None, (short if needed else "", how)))
    return replace(finish(desk, learner, share, steps, note), needed=float(needed))


def _needed(desk: FineTuneContext, learner: FineTuner, steps: int) -> int:
    """Return the learning time with which all is learnt, where the time was over before; else 0."""
    total, about = _steps_of(desk, learner), desk.estimate
    over = not desk.settings.steps and steps < total
    return math.ceil((about.begin + about.pace * total) / LEARNING) if over and about.pace else 0


def _iter_learner(desk: FineTuneContext) -> Generator[Progress, None, FineTuner | None]:
    """Choose the way of learning that the network and the corrections allow, and let it look at the slices.

    None where the reader's habit and carrying are all that is learnt.
    """
    torch.manual_seed(desk.settings.seed)
    net = desk.model.net
    if not isinstance(net, LiteUNet) or not can_use_experts(net):
        return WeightFineTuner(net, desk.lesson)
    if _only_outlines(desk):
        return None
    expert = ExpertFineTuner(net, desk.lesson)
    yield from _iter_looked(desk, expert.iter_look(lambda: desk.past(LOOKING)))
    return expert


def _iter_looked(desk: FineTuneContext, steps: Iterator[Any]) -> Generator[Progress, None, Any]:
    """Run a look at slices to its end, with the progress of the fine-tuning; return what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        yield _tick(desk, 0, "looking at the slices")


def _only_outlines(desk: FineTuneContext) -> bool:
    """Tell whether the network stays as it is: nothing can judge what it would learn, and the habit outlines the scan.

    On eight volumes a network that had learnt made the slices around one or two corrected ones no better than carrying
    and the reader's habit do, and those of one patient in four worse.
    """
    learnt = desk.habit != desk.model.spec.habit and any(stack.planes for stack in desk.stacks)
    return learnt and desk.lesson.recipe.judged and not desk.settings.steps and desk.held_out is None


def _iter_loss(desk: FineTuneContext, learner: FineTuner) -> Iterator[float]:
    """Yield the loss of every step, until enough is learnt or the time is over."""
    total = _steps_of(desk, learner)
    losses = _iter_moved(desk, learner, total) if isinstance(learner, WeightFineTuner) else learner.iter_fit()
    about = desk.estimate
    about.begin = desk.spent
    for taken, loss in enumerate(losses, start=1):
        if taken == 1:
            first = desk.spent  # the first step prepares what the others use again
            about.pace = first - about.begin
        else:
            about.pace = (desk.spent - first) / (taken - 1)
        if taken > WARM_UP and total:
            _estimate(desk, taken, total)
        yield loss
        over = desk.past(LEARNING) and not desk.settings.steps
        if over or taken == (total or desk.settings.steps):
            return


def _steps_of(desk: FineTuneContext, learner: FineTuner) -> int:
    """Return how many steps teach all that can be learnt; 0 where the loss tells."""
    return 0 if isinstance(learner, ExpertFineTuner) else desk.settings.steps or desk.lesson.recipe.most


def _iter_moved(desk: FineTuneContext, learner: WeightFineTuner, total: int) -> Iterator[float]:
    """Yield the loss of every step of moving weights; the rate falls with what is spent of steps or time."""
    while True:
        late = 0.0 if desk.settings.steps else desk.spent / (desk.settings.seconds * LEARNING)
        if late >= 1 and not learner.taken and learner.fresh:
            return  # a new class has its first weights already
        yield learner.step(max(learner.taken / total, min(late, 1.0)))


def _estimate(desk: FineTuneContext, taken: int, total: int) -> None:
    """Say how long it takes at the pace of the steps that were taken."""
    about = desk.estimate
    if desk.settings.steps:
        steps = total
    else:
        fit = int((LEARNING * desk.settings.seconds - desk.spent) / max(about.pace, 1e-6)) + taken
        steps = min(total, max(fit, taken))
    learnt = desk.spent + about.pace * (steps - taken)
    about.steps, about.seconds = steps, learnt / LEARNING if desk.held_out else learnt + JUDGING * about.pace


def _shown(desk: FineTuneContext, learner: FineTuner, steps: int) -> dict[str, Any]:
    """Return what a tick shows beside the loss: the watched plane's new probability, the held-out score."""
    shown: dict[str, Any] = {}
    if steps % SHOW_EVERY or (desk.watch is None and desk.held_out is None):
        return shown
    net = learner.blended(1.0)
    if desk.watch is not None and len(desk.watch) and desk.watched is not None:
        native = desk.watch.native(0, scoring.probability(net, desk.watch.images)[0])
        found = (native * 255).round().clamp(0, 255).byte().cpu().numpy()
        spec = desk.model.spec
        shown["probability"] = with_part(desk.watched, found, spec, SegmentSettings(part=spec.part))
    if desk.held_out is not None:
        shown["score"] = dice_at(desk, net, desk.held_out)
    return shown


def _tick(desk: FineTuneContext, step: int, message: str, **values: Any) -> Progress:
    about = desk.estimate
    whole = about.seconds or desk.settings.seconds
    total = max(1, round(whole * 10))
    left = max(0.0, whole - desk.spent)
    if about.steps and message == "learning":
        message = f"learning, {about.steps} steps in about {about.seconds:.0f} s"
        values["seconds_left"] = left
    return Progress(min(total, total - round(left * 10)), total, message, {"step": step, **values})


def iter_time(model: Model, settings: FinetuneSettings) -> Generator[Progress, None, float]:
    """Measure how long a fine-tuning takes on this computer: its first steps, on slices of a computed head.

    Parameters
    ----------
    model : Model
        The parent; stays as it is.
    settings : FinetuneSettings
        The device counts.

    Returns
    -------
    float
        About how many seconds it takes until all is learnt.
    """
    head, _ = phantom(shape=(24, 256, 256))
    channels = model.spec.in_channels
    context = np.repeat(np.asarray(head.array)[:, None], channels, axis=1)
    slices = [replace(one, image=np.repeat(one.image, channels, axis=0)) for one in scoring.phantom_slices()]
    slices[-1] = replace(slices[-1], held_out=True)
    steps = iter_finetune(model, slices, replace(settings, seconds=LONGEST_S, steps=0), context)
    try:
        while True:
            progress = next(steps)
            if "seconds_left" in progress.values:
                return progress.total / 10
            yield progress
    except StopIteration as end:  # so quick that there was nothing to estimate
        return float(end.value.seconds)
    finally:
        steps.close()
