"""How much of what was learnt stays, and what comes of it: chosen and judged on slices that were not learnt from."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.corrections import FineTuneOutcome
from napari_unet_tumour.corrections.carry import CarryWeights
from napari_unet_tumour.corrections.remembered import remember
from napari_unet_tumour.engine import model as models
from napari_unet_tumour.engine.finetuning import scoring
from napari_unet_tumour.engine.finetuning.expert_fit import ExpertFineTuner
from napari_unet_tumour.engine.finetuning.weight_fit import WeightFineTuner
from napari_unet_tumour.engine.networks.lite_unet import LiteUNet
from napari_unet_tumour.postprocess.outline_habit import SAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from napari_unet_tumour.engine.finetuning.cases import FineTuneSlices
    from napari_unet_tumour.engine.finetuning.context import FineTuneContext

FineTuner = ExpertFineTuner | WeightFineTuner


OUTLINES = "the network stays as it is: only its outlines follow yours"
LATER = "from the third corrected slice on it learns too, judged by slices that are kept for scoring"


def choose_blend(desk: FineTuneContext, learner: FineTuner) -> tuple[float, str]:
    """Choose how much of what was learnt stays, and say by what."""
    shares = desk.lesson.recipe.blends
    if desk.held_out is not None:
        before = dice_at(desk, desk.model.net, desk.held_out)
        gains = [(s, dice_at(desk, learner.blended(s), desk.held_out) - before) for s in shares]
        return scoring.best_blend(gains), ""
    alone = "no slice is kept for scoring yet (from the third on): only the reference guards against a worse model"
    if isinstance(learner, ExpertFineTuner) and len(desk.lesson.cases) > 1 and desk.left() > 0:
        return _left_out(desk, learner), alone
    return cautious_blend(desk, learner), alone


def cautious_blend(desk: FineTuneContext, learner: FineTuner) -> float:
    """Return the share that stays where nothing can choose it."""
    recipe = desk.lesson.recipe
    return recipe.single if isinstance(learner, ExpertFineTuner) else recipe.blend


def _left_out(desk: FineTuneContext, learner: ExpertFineTuner) -> float:
    """Choose the share on each corrected slice in turn, learnt without it."""
    gains: dict[float, list[float]] = {share: [] for share in desk.lesson.recipe.blends}
    for n in range(len(desk.lesson.cases)):
        if n and desk.past(1.0):
            break
        only, found = desk.lesson.cases.only(n), learner.without(n)
        before = dice_at(desk, desk.model.net, only)
        for share, list_ in gains.items():
            list_.append(dice_at(desk, learner.blended(share, found), only) - before)
    means = [(share, float(np.mean(found))) for share, found in gains.items()]
    # Learnt from one slice less it is a cautious judge: what does no harm there stays whole.
    return means[0][0] if means[0][1] >= 0 else scoring.best_blend(means)


def finish(desk: FineTuneContext, learner: FineTuner | None, share: float, steps: int, note: str) -> FineTuneOutcome:
    """Keep this share of what was learnt, unless the reference forbids it; score it, and say what came of it."""
    net, new_habit = desk.model.net, desk.habit != desk.model.spec.habit
    after = learner.blended(share) if learner is not None and share else net
    reference = _compared(desk, net, after, desk.reference)
    changed = bool(share) or new_habit
    forgot = changed and _forgot(reference, judged=desk.held_out is not None)
    if forgot:
        share, after, note = 0.0, net, "the model forgot what it knew: nothing was changed, correct another slice"
        desk.habit.clear()
        desk.habit.update(desk.model.spec.habit)
    held_out = _compared(desk, net, after, desk.held_out)
    seconds = time.monotonic() - desk.begin
    if forgot or not changed:
        note = note if forgot else "nothing better was found: the model stays as it is, correct another slice"
        return FineTuneOutcome(b"", 0.0, steps, seconds, held_out, reference, note)
    if not share:
        note = OUTLINES if learner is not None else f"{OUTLINES}; {LATER}"
    return FineTuneOutcome(_file(desk, after), share, steps, seconds, held_out, reference, note)


def _file(desk: FineTuneContext, net: nn.Module) -> bytes:
    spec = desk.model.spec
    arguments = dict(spec.arguments)
    if isinstance(net, LiteUNet) and net.corrector is not None:
        arguments["experts"] = net.corrector.experts
        arguments |= {} if net.second is None else {"gates": net.second.gates}
    learnt = remember(desk.stacks, desk.lesson.cases.sources, spec.corrected)
    carry = CarryWeights.from_dict(spec.carry)
    if desk.habit:  # it knows how this person outlines
        carry = replace(carry, network=SAY)
    made = replace(
        spec,
        arguments=arguments,
        parent=desk.model.hash,
        scores={},
        carry=carry.to_dict(),
        corrected=learnt,
        habit=dict(desk.habit),
    )
    state = {name: value.cpu() for name, value in net.state_dict().items()}
    return models.to_bytes(made, state, clicks=desk.model.click_state)


def _compared(
    desk: FineTuneContext, before: nn.Module, after: nn.Module, cases: FineTuneSlices | None
) -> list[dict[str, Any]]:
    if cases is None:
        return []
    if id(cases) not in desk.before:
        desk.before[id(cases)] = scoring.scores_of(before, cases, desk.model.spec)
    old = desk.before[id(cases)]
    spec = replace(desk.model.spec, habit=desk.habit)
    same = after is before and desk.habit == desk.model.spec.habit
    return scoring.rows_of(cases, old, old if same else scoring.scores_of(after, cases, spec))


def _forgot(rows: Sequence[dict[str, Any]], judged: bool) -> bool:
    """Tell whether the reference got worse; made-up heads have no say where the scan's own held-out slices judged."""
    earlier = [row for row in rows if row["scan"] != scoring.PHANTOM]
    made_up = [row for row in rows if row["scan"] == scoring.PHANTOM and not judged]
    return _lost(earlier) > scoring.FORGOTTEN or _lost(made_up) > scoring.FORGOTTEN_PHANTOM


def _lost(rows: Sequence[dict[str, Any]]) -> float:
    return float(np.mean([row["before"]["dice"] - row["after"]["dice"] for row in rows])) if rows else 0.0


def dice_at(desk: FineTuneContext, net: nn.Module, cases: FineTuneSlices) -> float:
    """Return the mean Dice (0..1) of a network, with the new habit, on slices whose truth is known."""
    return scoring.mean_dice(scoring.scores_of(net, cases, replace(desk.model.spec, habit=desk.habit)))
