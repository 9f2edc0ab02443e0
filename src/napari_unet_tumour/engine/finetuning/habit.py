"""What the corrected slices say of how the reader outlines: fitted to the network's answers, and judged on them."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.corrections import ReviewedContext
from napari_unet_tumour.engine.finetuning import scoring
from napari_unet_tumour.engine.inference.segment import iter_segment_planes
from napari_unet_tumour.engine.networks.lite_unet import LiteUNet
from napari_unet_tumour.engine.training.feature_statistics import can_use_experts
from napari_unet_tumour.postprocess.outline_habit import can_learn, contribution, habit_of, with_habit
from napari_unet_tumour.postprocess.threshold import mask_from_probability
from napari_unet_tumour.settings import Progress, SegmentSettings

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_unet_tumour.corrections import ReviewedSlice
    from napari_unet_tumour.engine.finetuning.context import FineTuneContext
    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.models.spec import ModelSpec

    Answered = list[tuple[ReviewedSlice, NDArray[np.uint8]]]


def iter_habit(desk: FineTuneContext) -> Generator[Progress, None, dict[str, Any]]:
    """Return the habit for the new model file: the parent's where the corrected slices add nothing that helps.

    It is added to the answers of the network that stays, so other networks than `lite-unet`, whose weights move, and
    models with several labels have none.
    """
    spec = desk.model.spec
    if not can_learn(spec) or not isinstance(desk.model.net, LiteUNet) or not can_use_experts(desk.model.net):
        return spec.habit
    plain, settings = _plain(desk.model), SegmentSettings(**spec.defaults, device=desk.settings.device)
    learnt = yield from _iter_answered(plain, desk.lesson.cases.sources, settings)
    held_out = yield from _iter_answered(plain, desk.held_out.sources if desk.held_out else (), settings)
    made = []
    for scan in dict.fromkeys(one.scan for one, _ in learnt):
        own = [(one.image, answer, one.mask) for one, answer in learnt if one.scan == scan]
        near = [plane for stack in desk.stacks if stack.scan == scan for plane in stack.planes.values()]
        made.append(contribution(scan, own, near or [image for image, *_ in own], spec, settings))
    found = [one for one in made if one is not None]
    habit = habit_of([*spec.habit.get("scans", ()), *found], spec) if found else {}
    helps = habit and _dice(held_out or learnt, replace(spec, habit=habit), settings) >= _dice(
        held_out or learnt, spec, settings
    )
    return habit if helps else spec.habit


def _dice(answered: Answered, spec: ModelSpec, settings: SegmentSettings) -> float:
    """Return the mean Dice of slices with the habit of a description."""
    rows = []
    for one, answer in answered:
        mask = mask_from_probability(with_habit(one.image, answer, spec, settings), settings)
        rows.append(scoring.scored(mask, one.mask, spec.labels))
    return scoring.mean_dice(rows)


def _iter_answered(
    model: Model, slices: Sequence[ReviewedSlice], settings: SegmentSettings
) -> Generator[Progress, None, Answered]:
    """Return slices with the network's answers (1, H, W) uint8."""
    found: Answered = []
    for one in slices:
        steps = iter_segment_planes(model, one.image[None], settings, ReviewedContext(recall=False))
        found.append((one, (yield from steps)[0]))
    return found


def _plain(model: Model) -> Model:
    """Return a model without what earlier corrections have taught it."""
    spec = replace(model.spec, habit={}, corrected=[])
    net = model.net
    assert isinstance(net, LiteUNet)
    if net.second is None and not (net.corrector is not None and net.corrector.experts):
        return replace(model, spec=spec)
    net = copy.deepcopy(net)
    net.second = None
    if net.corrector is not None:
        net.corrector.experts = 0
    arguments = {name: value for name, value in spec.arguments.items() if name != "gates"} | {"experts": 0}
    return replace(model, spec=replace(spec, arguments=arguments), net=net, hash=f"{model.hash}-plain")
