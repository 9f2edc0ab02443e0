"""Move all weights of a copy by corrected slices, for scans like theirs alone: the network's second."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch

from napari_unet_tumour.engine.finetuning.style_gate import gate_for, styles_of
from napari_unet_tumour.engine.finetuning.weight_fit import WeightFineTuner
from napari_unet_tumour.engine.networks.gated_branch import GatedBranch
from napari_unet_tumour.engine.networks.lite_unet import LiteUNet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_unet_tumour.engine.finetuning.data import FineTuneData

BATCH = 4


class BranchFineTuner:
    """Moves a second network behind a gate; what the parent knows of other scans stays.

    Parameters
    ----------
    parent : LiteUNet
        Stays as it is; knows its training slices' statistics. Its own second is where the new one starts from.
    lesson : Lesson
        What it learns from, and how: its recipe's `moves` and rate.
    """

    def __init__(self, parent: LiteUNet, lesson: FineTuneData) -> None:
        self.recipe = lesson.recipe
        self.parent = copy.deepcopy(parent).to(lesson.device).eval().requires_grad_(False)
        self._seen = [lesson.cases] if lesson.context is None else [lesson.cases, lesson.context]
        moving = lesson.recipe.moving
        recipe = replace(moving, crop=min(moving.crop, lesson.cases.images.shape[-1]))
        self._tuner = WeightFineTuner(plain_of(self.parent), replace(lesson, context=None, recipe=recipe))
        self.gate: tuple[torch.Tensor, torch.Tensor] | None = None
        self._centre = torch.zeros(0)

    def iter_look(self) -> Iterator[None]:
        """Look at the scan's slices; `gate` is then what tells such scans from others, None where nothing does."""
        styles = []
        for some in self._seen:
            for n in range(0, len(some), BATCH):
                styles.append(styles_of(self.parent, some.images[n : n + BATCH]))
                yield
        corrector = self.parent.corrector
        assert corrector is not None
        self._centre = torch.cat(styles).mean(0)
        weight, bias = gate_for(torch.cat(styles), corrector.get_buffer("style_precision"), self.recipe.threshold)
        self.gate = (weight, bias) if bool(weight.any()) else None

    def iter_fit(self) -> Iterator[float]:
        """Yield the loss after every step."""
        for _ in range(self.recipe.moves):
            yield self._tuner.step(0.0)

    def blended(self, share: float) -> LiteUNet:
        """Return a network with the moved one as its second, which counts by `share` (0..1)."""
        assert self.gate is not None
        net, old = copy.deepcopy(self.parent), self.parent.second
        gates = 1 if old is None else old.gates + 1
        moved = copy.deepcopy(self._tuner.mean).cpu()
        assert isinstance(moved, LiteUNet)
        second = GatedBranch(moved, net.style, gates)
        added = {"gate_weight": self.gate[0][None], "gate_bias": self.gate[1][None], "share": torch.tensor([share]),
                 "centre": self._centre[None]}  # fmt: skip
        for name, value in added.items():
            before = [] if old is None else [old.get_buffer(name).cpu()]
            second.get_buffer(name).copy_(torch.cat([*before, value.cpu()]))
        net.second = second
        return net.to(self._seen[0].images.device).eval().requires_grad_(False)


def plain_of(parent: LiteUNet) -> LiteUNet:
    """Return a copy of a network's second, or of its own weights without experts."""
    net = copy.deepcopy(parent if parent.second is None else cast("LiteUNet", parent.second.net))
    net.corrector = net.second = None
    return net
