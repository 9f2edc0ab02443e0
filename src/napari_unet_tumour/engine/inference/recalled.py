"""Answers to a scan that a model was fine-tuned on: carried from the corrected slices that its file keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.corrections import UNSURE, ReviewedContext
from napari_unet_tumour.corrections.carry import CarryWeights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.corrections.remembered import Recalled
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import Progress

    Answers = dict[int, NDArray[np.uint8]]


def context_of(found: Sequence[Recalled], planes: int) -> ReviewedContext:
    """Return the corrected slices of stacks among so many planes, numbered so that each stack lies apart."""
    numbers, start = list(range(planes)), planes + 1
    masks: dict[int, NDArray[np.uint8]] = {}
    for one in found:
        for n, place in one.places.items():
            numbers[place] = start + n - one.stack.first
        masks |= {start + n - one.stack.first: mask for n, mask in one.masks.items()}
        start += one.stack.count + 1
    return ReviewedContext(numbers, masks)


def iter_recalled(ticks: Iterator[Progress], found: Sequence[Recalled], spec: ModelSpec) -> Iterator[Progress]:
    """Hold back the answers to stacks with corrected slices until all are there, and carry the corrections in them.

    The values of the progress also have "recalled", the planes whose answers are not the network's own.
    """
    own = {place for one in found for place in one.places.values()}
    held: Answers = {}
    for tick in ticks:
        numbers, answers = tick.values["planes"], tick.values["probability"]
        held |= {n: answer for n, answer in zip(numbers, answers, strict=True) if n in own}
        rest = {n: answer for n, answer in zip(numbers, answers, strict=True) if n not in own}
        made: Answers = {}
        if tick.done == tick.total:
            for one in found:
                made |= _carried(one, held, spec)
            rest |= held | made
        yield replace(tick, values={**_values(tick.values, rest), "recalled": [*made]})


def _carried(found: Recalled, held: Answers, spec: ModelSpec) -> Answers:
    """Return what is answered anew: the neighbours of corrected slices, and these as they were drawn."""
    places, labels = found.places, len(spec.labels) - 1
    known = {n: held[place] for n, place in places.items() if place in held}
    made = found.stack.carried(found.masks, known, labels, CarryWeights.from_dict(spec.carry))
    made |= {n: _as_drawn(mask, known[n]) for n, mask in found.masks.items() if n in known}
    return {places[n]: answer for n, answer in made.items() if n in places}


def _as_drawn(mask: NDArray[np.uint8], answer: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a corrected slice as a probability (L, H, W); unsure pixels keep the network's answer."""
    drawn = np.stack([np.where(mask == label, 255, 0) for label in range(1, len(answer) + 1)]).astype(np.uint8)
    return np.where(mask == UNSURE, answer, drawn)


def _values(values: dict[str, Any], answers: Answers) -> dict[str, Any]:
    none = values["probability"][:0]
    return {**values, "planes": [*answers], "probability": np.stack([*answers.values()]) if answers else none}
