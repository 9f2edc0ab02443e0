"""How fine-tuning works inside: chosen by an ablation (docs/finetuning.md), not by a person."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HyperParameters:
    """What a step is made of.

    Parameters
    ----------
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
    judged : bool
        Experts: learn one only where held-out slices can judge it, or where nothing else is learnt.
    """

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
    judged: bool = True
