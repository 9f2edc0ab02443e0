"""How fine-tuning works inside: chosen by an ablation (docs/finetuning.md), not by a person."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

PARTS: dict[str, Callable[[str], bool]] = {
    "all": lambda name: True,
    "decoder": lambda name: name.startswith(("decoder", "head", "upsamples", "output_block")),
    "encoder": lambda name: name.startswith(("encoder", "input_block", "downsamples", "bottleneck")),
    "head": lambda name: name.startswith(("head", "output_block")),
}


@dataclass(frozen=True)
class HyperParameters:
    """What a step is made of.

    Parameters
    ----------
    part : str
        Key of `PARTS`: which weights move; all where a network has no part of that name.
    rate : float
        Highest learning rate (AdamW, one warm-up and a cosine).
    crops, crop : int
        Views around lesions in a step, and their side in pixels.
    whole : int
        Views of whole corrected slices in a step.
    context : int
        Views of slices of the same scan that nobody corrected; the parent's own answer is their truth.
    likeness : float
        Weight of staying like the parent on those.
    replay : int
        Views of corrected slices of earlier scans.
    ema : float
        Share of the averaged weights kept at a step.
    most : int
        Steps after which the weights have moved enough.
    blend : float
        Share of moved weights in the answer, 0..1, where no held-out slice can choose it.
    single : float
        The same for an expert that has learnt from one slice alone.
    blends : tuple of float
        The shares that held-out slices choose from, the largest first.
    pull : float
        Experts: pull of the weights towards 0.
    views : int
        Experts: views of every corrected slice, the first as it is.
    near, far : int
        Experts: most pixels of a view near tumour, and elsewhere.
    healed : float
        Experts: what the corrected slices count without their lesion, where they count 1 as they are.
    replayed : float
        Experts: what earlier corrections count together, where the corrected slices count 1.
    threshold : float
        Experts: where the gate is half open; 0 = midway between the training's style and the scan's, 0.5 = the scan's.
    rounds : int
        Experts: most rounds of four iterations.
    enough : int
        Corrected slices that show a lesion, from which a second network is moved instead of an expert being fitted.
    judged : bool
        Second: move it only where held-out slices can judge it, or where nothing else is learnt from the corrections.
    moves, fewest, pace : int, int, float
        Second: most steps, those that are taken however short the time is, and their learning rate (Adam).
    pair, near_side : int
        Second: views around lesions in a step, and their side in pixels.
    carried : int
        Second: how many of those views are of neighbours, with the masks that were carried to them.
    moved : float
        Second: how much of it counts, 0..1, where no held-out slice can choose it.
    say : float
        Second: weight of its log odds where corrected slices are carried to their neighbours.
    """

    part: str = "all"
    rate: float = 5e-4
    crops: int = 6
    crop: int = 128
    whole: int = 2
    context: int = 2
    likeness: float = 0.5
    replay: int = 2
    ema: float = 0.9
    most: int = 60
    blend: float = 0.5
    single: float = 0.5
    blends: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25)
    pull: float = 3e-5
    views: int = 4
    near: int = 6000
    far: int = 3000
    healed: float = 0.5
    replayed: float = 0.5
    threshold: float = 0.1
    rounds: int = 15
    enough: int = 2
    judged: bool = True
    moves: int = 28
    fewest: int = 20
    pace: float = 1e-4
    pair: int = 2
    near_side: int = 160
    carried: int = 1
    moved: float = 0.85
    say: float = 0.15

    @property
    def moving(self) -> HyperParameters:
        """How a second network is moved: around lesions, all weights, one rate, no average."""
        return replace(
            self,
            part="all",
            rate=self.pace,
            crops=self.pair,
            crop=self.near_side,
            whole=0,
            context=0,
            replay=1,
            ema=0.0,
        )


def moving(net: nn.Module, part: str) -> list[nn.Parameter]:
    """Let only the weights of a part move, and return them."""
    chosen = {name for name, _ in net.named_parameters() if PARTS[part](name)}
    for name, weight in net.named_parameters():
        weight.requires_grad_(not chosen or name in chosen)
    return [weight for weight in net.parameters() if weight.requires_grad]
