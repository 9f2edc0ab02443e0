"""A copy of a network while it is fine-tuned: one step, averaged weights, blends with the parent."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_unet_tumour.engine.finetuning import views
from napari_unet_tumour.engine.finetuning.add_classes import SILENCE, added_class_logits
from napari_unet_tumour.engine.finetuning.losses import likeness, partial
from napari_unet_tumour.engine.finetuning.new_class_head import fit_new_outputs
from napari_unet_tumour.engine.finetuning.scoring import probability
from napari_unet_tumour.engine.training.learner import precision_of
from napari_unet_tumour.engine.training.validation import autocast

if TYPE_CHECKING:
    from napari_unet_tumour.engine.finetuning.cases import FineTuneSlices
    from napari_unet_tumour.engine.finetuning.data import FineTuneData

WARM = 5


class WeightFineTuner:
    """What changes while a network is fine-tuned; normalisation statistics never do, so single slices are safe.

    Parameters
    ----------
    parent : torch.nn.Module
        Stays as it is.
    lesson : Lesson
        What it learns from, and how.
    """

    def __init__(self, parent: nn.Module, lesson: FineTuneData) -> None:
        recipe, device, cases, context = lesson.recipe, lesson.device, lesson.cases, lesson.context
        self.recipe, self.device = recipe, device
        self.precision = precision_of("auto", device)
        self.parent = copy.deepcopy(parent).to(device).eval().requires_grad_(False)
        self.net = copy.deepcopy(self.parent).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weights = [*self.net.requires_grad_(True).parameters()]
        self.fresh = fit_new_outputs(self.net, cases)
        self.mean = copy.deepcopy(self.net).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(self.weights, recipe.rate, weight_decay=0.0, fused=True)
        self.cases, self.context, self.replay = cases, context, lesson.replay
        self.places = views.lesion_boxes(cases)
        self.before = probability(self.parent, context.images) if context is not None and len(context) else None
        self.rng = torch.Generator().manual_seed(lesson.seed)
        self.taken = 0

    def step(self, progress: float) -> float:
        """Learn from one draw; `progress` (0..1) is the share of the budget that is spent. Returns the loss."""
        self._set_rate(progress)
        loss = self._loss()
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.weights, 5.0)
        self.optimiser.step()
        self.taken += 1
        self._average()
        return float(loss.detach())

    def blended(self, share: float) -> nn.Module:
        """Return a new network with this share (0..1) of the tuned weights; the rest is the parent's.

        Of a class that the parent has never learnt there is nothing to keep: its own weights are the tuned ones.
        """
        net = copy.deepcopy(self.parent)
        with torch.no_grad():
            for weight, tuned in zip(net.parameters(), self.mean.parameters(), strict=True):
                weight.lerp_(tuned, share)
            for name, new in self.fresh.items():
                layer, tuned = net.get_submodule(name), self.mean.get_submodule(name)
                for mine, theirs in zip(added_class_logits(layer), added_class_logits(tuned), strict=True):
                    mine[new] = theirs[new]
        return net

    def _loss(self) -> torch.Tensor:
        use, parts = self.recipe, []
        if use.crops and any(len(where) for where in self.places):
            parts.append(self._wrong(views.lesion_crops(self.cases, self.places, use.crops, use.crop, self.rng)))
        parts.append(self._wrong(views.whole_slices(self.cases, use.whole, self.rng)))
        if use.replay and self.replay is not None and len(self.replay):
            parts.append(self._wrong(views.whole_slices(self.replay, use.replay, self.rng)))
        if use.context and self.context is not None and self.before is not None:
            parts.append(use.likeness * self._unlike(views.whole_slices(self._as_before(), use.context, self.rng)))
        return torch.stack(parts).sum()

    def _as_before(self) -> FineTuneSlices:
        from dataclasses import replace

        assert self.context is not None
        assert self.before is not None
        return replace(self.context, truth=self.before)

    def _wrong(self, view: views.View) -> torch.Tensor:
        seen, truth, known = view
        return partial(self._logits(seen), truth, known)

    def _unlike(self, view: views.View) -> torch.Tensor:
        """Return the likeness loss; that the parent sees nothing of what it has never learnt says little."""
        seen, before, known = view
        logits = self._logits(seen)
        new = {n for rows in self.fresh.values() for n in rows}
        if not new:
            return likeness(logits, before, known)
        old = [n for n in range(1, logits.shape[1]) if n not in new]
        among = likeness(logits[:, [0, *old]], before[:, [n - 1 for n in old]], known)
        return SILENCE * likeness(logits, before, known) + (1 - SILENCE) * among

    def _logits(self, seen: torch.Tensor) -> torch.Tensor:
        with autocast(self.device, self.precision):
            found: torch.Tensor = self.net(seen)
        return found.float()

    def _set_rate(self, progress: float) -> None:
        rate = self.recipe.rate * min(1.0, (self.taken + 1) / WARM) * (0.5 + 0.5 * math.cos(math.pi * min(progress, 1)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    @torch.no_grad()
    def _average(self) -> None:
        new = 1 - min(self.recipe.ema, self.taken / (10 + self.taken))
        if new == 1:
            self.mean = self.net
            return
        for mean, weight in zip(self.mean.parameters(), self.net.parameters(), strict=True):
            mean.lerp_(weight, new)
