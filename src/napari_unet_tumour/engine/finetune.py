"""Fine-tune a model on corrected slices, within a budget of seconds; never worse than its parent on what it may see.

A lite-unet that knows its training slices' statistics learns a new expert from a single slice (`tuning/expert.py`),
and from more a second network for such scans (`tuning/moved.py`). Any other network moves its weights a little
(`tuning/tuner.py`). What was learnt is kept by a share that held-out slices choose; without them, leaving out one
corrected slice after the other does for an expert, and a cautious share stays of the others.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet_tumour.corrections import Tuned
from napari_unet_tumour.engine import model as models
from napari_unet_tumour.engine.fast import pick_device
from napari_unet_tumour.engine.lite import LiteUNet
from napari_unet_tumour.engine.room import give_back
from napari_unet_tumour.engine.tuning import guard
from napari_unet_tumour.engine.tuning.acquaint import can_correct
from napari_unet_tumour.engine.tuning.cases import Cases, cases_of, context_of
from napari_unet_tumour.engine.tuning.classes import never_learnt
from napari_unet_tumour.engine.tuning.expert import ExpertFit
from napari_unet_tumour.engine.tuning.moved import MovedFit
from napari_unet_tumour.engine.tuning.recipe import Recipe
from napari_unet_tumour.engine.tuning.tuner import Tuner
from napari_unet_tumour.errors import DeviceError, TrainingError
from napari_unet_tumour.settings import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from napari_unet_tumour.corrections import Correction
    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.settings import FinetuneSettings

# Most slices of the same scan, and of earlier ones, that are looked at.
MOST_CONTEXT, MOST_REPLAY = 24, 24
# Share of the budget after which looking at the slices, and learning, end; the rest is for judging.
LOOKING, LEARNING = 0.5, 0.8
SHOW_EVERY, KEEP_EVERY = 4, 3.0

Learner = ExpertFit | MovedFit | Tuner


@dataclass(frozen=True, eq=False)
class _Desk:
    """All that one fine-tuning works on."""

    model: Model
    settings: FinetuneSettings
    recipe: Recipe
    device: torch.device
    learn: Cases
    held_out: Cases | None
    context: Cases | None
    replay: Cases | None
    reference: Cases | None
    watch: Cases | None
    begin: float
    before: dict[int, guard.Scores] = field(default_factory=dict)

    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.settings.seconds - (time.monotonic() - self.begin)

    def past(self, share: float) -> bool:
        """Tell whether more than this share of the budget is spent."""
        return self.left() < (1 - share) * self.settings.seconds


def finetune(model: Model, corrections: Sequence[Correction], settings: FinetuneSettings, **more: Any) -> Tuned:
    """Fine-tune a copy of a model; see `iter_finetune`."""
    steps = iter_finetune(model, corrections, settings, **more)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def iter_finetune(
    model: Model,
    corrections: Sequence[Correction],
    settings: FinetuneSettings,
    context: NDArray[Any] | None = None,
    replay: Sequence[Correction] = (),
    watch: NDArray[Any] | None = None,
    recipe: Recipe | None = None,
) -> Generator[Progress, None, Tuned]:
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
        (L, H, W) uint8 of the watched plane and "best" (a `Tuned` that is worth keeping if the person
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
            yield from _iter_tuned(_prepared(model, corrections, settings, context, replay, watch, recipe or Recipe()))
        )
    except torch.OutOfMemoryError as error:
        raise DeviceError("the memory is full: close other programs, or choose the device cpu") from error
    finally:
        # Also when the person cancels: a GPU's memory is for others again.
        give_back(device)


def _iter_tuned(desk: _Desk) -> Generator[Progress, None, Tuned]:
    yield _tick(desk, 0, "looking at the slices")
    learner = yield from _iter_learner(desk)
    steps, kept = 0, time.monotonic()
    for loss in _iter_loss(desk, learner):
        steps += 1
        yield _tick(desk, steps, "learning", loss=loss, **_shown(desk, learner, steps))
        if time.monotonic() - kept > KEEP_EVERY:
            best = _ending(desk, learner, _cautious(desk, learner), steps, "stopped before its time")
            kept = time.monotonic()
            yield _tick(desk, steps, "learning", loss=loss, **({"best": best} if best.data else {}))
    yield _tick(desk, steps, "judging")
    share, how = _share(desk, learner)
    return _ending(desk, learner, share, steps, how)


def _prepared(
    model: Model,
    corrections: Sequence[Correction],
    settings: FinetuneSettings,
    context: NDArray[Any] | None,
    replay: Sequence[Correction],
    watch: NDArray[Any] | None,
    recipe: Recipe,
) -> _Desk:
    spec, device, begin = model.spec, pick_device(settings.device), time.monotonic()
    learn = [one for one in corrections if not one.held_out]
    if not learn:
        raise TrainingError("no slice to learn from: tick a corrected slice as reviewed")

    def cases(some: Sequence[Correction]) -> Cases | None:
        return cases_of(some, spec, device) if some else None

    def planes(some: NDArray[Any] | None) -> Cases | None:
        return (
            None if some is None or not len(some) else context_of(np.stack(_spread(some, MOST_CONTEXT)), spec, device)
        )

    reference = [one for one in replay if one.held_out] or _spread(replay, 6)
    reference += list(guard.phantom_slices()) if guard.fits_phantom(spec) else []
    return _Desk(
        model, settings, recipe, device,
        learn=cases_of(learn, spec, device),
        held_out=cases([one for one in corrections if one.held_out]),
        context=planes(context),
        replay=cases(_spread([one for one in replay if not one.held_out], MOST_REPLAY)),
        reference=cases(reference),
        watch=planes(watch),
        begin=begin,
    )  # fmt: skip


def _iter_learner(desk: _Desk) -> Generator[Progress, None, Learner]:
    """Choose the way of learning that the network and the corrections allow, and let it look at the slices."""
    more = (desk.learn, desk.context, desk.replay, desk.recipe, desk.device, desk.settings.seed)
    torch.manual_seed(desk.settings.seed)
    net = desk.model.net
    if not isinstance(net, LiteUNet) or not can_correct(net):
        return Tuner(net, *more)
    looking = partial(_tick, desk, 0, "looking at the slices")
    # A class that was added is known from experts alone; a second network has nothing to start from.
    if len(desk.learn) >= desk.recipe.enough and not never_learnt(net.head):
        moved = MovedFit(net, *more)
        for _ in moved.iter_look():
            yield looking()
        if moved.gate is not None:
            return moved
    expert = ExpertFit(net, *more)
    for _ in expert.iter_look(lambda: desk.past(LOOKING)):
        yield looking()
    return expert


def _iter_loss(desk: _Desk, learner: Learner) -> Iterator[float]:
    """Yield the loss of every step."""
    if not isinstance(learner, Tuner):
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


def _share(desk: _Desk, learner: Learner) -> tuple[float, str]:
    """Choose how much of what was learnt stays, and say by what."""
    shares = desk.recipe.blends
    if desk.held_out is not None:
        before = guard.mean_dice(guard.scores_of(desk.model.net, desk.held_out, desk.model.spec))
        gains = [(s, _dice_at(desk, learner.blended(s), desk.held_out) - before) for s in shares]
        return guard.best_share(gains), ""
    alone = "no slice is held out yet (that begins with the third): only the reference guards against a worse model"
    if isinstance(learner, ExpertFit) and len(desk.learn) > 1 and desk.left() > 0:
        return _left_out(desk, learner), alone
    return _cautious(desk, learner), alone


def _cautious(desk: _Desk, learner: Learner) -> float:
    """Return the share that stays where nothing can choose it."""
    shares = {ExpertFit: desk.recipe.single, MovedFit: desk.recipe.moved, Tuner: desk.recipe.blend}
    return shares[type(learner)]


def _left_out(desk: _Desk, learner: ExpertFit) -> float:
    """Choose the share on each corrected slice in turn, learnt without it."""
    gains: dict[float, list[float]] = {share: [] for share in desk.recipe.blends}
    for n in range(len(desk.learn)):
        if n and desk.past(1.0):
            break
        only, found = desk.learn.only(n), learner.without(n)
        before = _dice_at(desk, desk.model.net, only)
        for share, list_ in gains.items():
            list_.append(_dice_at(desk, learner.blended(share, found), only) - before)
    means = [(share, float(np.mean(found))) for share, found in gains.items()]
    # Learnt from one slice less it is a cautious judge: what does no harm there stays whole.
    return means[0][0] if means[0][1] >= 0 else guard.best_share(means)


def _ending(desk: _Desk, learner: Learner, share: float, steps: int, note: str) -> Tuned:
    net = desk.model.net
    after = learner.blended(share) if share else net
    reference = _compared(desk, net, after, desk.reference)
    if share and _forgot(reference, judged=desk.held_out is not None):
        share, after, note = 0.0, net, "the model forgot what it knew: nothing was changed, correct another slice"
    held_out = _compared(desk, net, after, desk.held_out)
    if share == 0 and not note.startswith("the model forgot"):
        note = "nothing better was found: the model stays as it is, correct another slice"
    seconds = time.monotonic() - desk.begin
    if share == 0:
        return Tuned(b"", 0.0, steps, seconds, held_out, reference, note)
    return Tuned(_file(desk, after), share, steps, seconds, held_out, reference, note)


def _file(desk: _Desk, net: nn.Module) -> bytes:
    spec = desk.model.spec
    arguments = dict(spec.arguments)
    if isinstance(net, LiteUNet) and net.corrector is not None:
        arguments["experts"] = net.corrector.experts
        arguments |= {} if net.second is None else {"gates": net.second.gates}
    made = replace(spec, arguments=arguments, parent=desk.model.hash, scores={})
    return models.to_bytes(made, {name: value.cpu() for name, value in net.state_dict().items()})


def _compared(desk: _Desk, before: nn.Module, after: nn.Module, cases: Cases | None) -> list[dict[str, Any]]:
    if cases is None:
        return []
    if id(cases) not in desk.before:
        desk.before[id(cases)] = guard.scores_of(before, cases, desk.model.spec)
    old = desk.before[id(cases)]
    return guard.rows_of(cases, old, old if after is before else guard.scores_of(after, cases, desk.model.spec))


def _forgot(rows: Sequence[dict[str, Any]], judged: bool) -> bool:
    """Tell whether the reference got worse; made-up heads have no say where the scan's own held-out slices judged."""
    earlier = [row for row in rows if row["scan"] != guard.PHANTOM]
    made_up = [row for row in rows if row["scan"] == guard.PHANTOM and not judged]
    return _lost(earlier) > guard.FORGOTTEN or _lost(made_up) > guard.FORGOTTEN_PHANTOM


def _lost(rows: Sequence[dict[str, Any]]) -> float:
    return float(np.mean([row["before"]["dice"] - row["after"]["dice"] for row in rows])) if rows else 0.0


def _dice_at(desk: _Desk, net: nn.Module, cases: Cases) -> float:
    return guard.mean_dice(guard.scores_of(net, cases, desk.model.spec))


def _shown(desk: _Desk, learner: Learner, steps: int) -> dict[str, Any]:
    """Return what a tick shows beside the loss: the watched plane's new probability, the held-out score."""
    shown: dict[str, Any] = {}
    if steps % SHOW_EVERY or (desk.watch is None and desk.held_out is None):
        return shown
    net = learner.blended(1.0)
    if desk.watch is not None and len(desk.watch):
        native = desk.watch.native(0, guard.probability(net, desk.watch.images)[0])
        shown["probability"] = (native * 255).round().clamp(0, 255).byte().cpu().numpy()
    if desk.held_out is not None:
        shown["score"] = _dice_at(desk, net, desk.held_out)
    return shown


def _tick(desk: _Desk, step: int, message: str, **values: Any) -> Progress:
    total = max(1, round(desk.settings.seconds * 10))
    left = max(0.0, desk.left())
    return Progress(
        min(total, total - round(left * 10)), total, message, {"step": step, "seconds_left": left, **values}
    )


def _spread(some: Any, most: int) -> list[Any]:
    """Return at most so many, evenly spread."""
    if len(some) <= most:
        return list(some)
    return [some[int(n)] for n in np.linspace(0, len(some) - 1, most).round()]
