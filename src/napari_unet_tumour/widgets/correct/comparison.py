"""Slices with the masks that a model and its fine-tuned copy give them, as the viewer would show them; knows no Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.base.compressed import CompressedArray
from napari_unet_tumour.corrections import ReviewedContext
from napari_unet_tumour.corrections.carry import CarryWeights, slices_in_reach
from napari_unet_tumour.corrections.stack import stack_range
from napari_unet_tumour.models.spec import spec_of
from napari_unet_tumour.postprocess.threshold import mask_from_probability
from napari_unet_tumour.widgets.common.words import slice_label
from napari_unet_tumour.widgets.correct.before_after_view import ComparisonPicture
from napari_unet_tumour.widgets.correct.carry_stack import CarryStack, spacing
from napari_unet_tumour.widgets.layers.predictions import PlanePrediction, decide
from napari_unet_tumour.widgets.segment.run import model_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.corrections import FineTuneOutcome
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.widgets.common.background import Task
    from napari_unet_tumour.widgets.correct.case import CasePart
    from napari_unet_tumour.widgets.correct.finetune_request import FineTuneRequest

PICTURES = 6
# Slices on either side that a pictured one is seen with.
AROUND = 3


class Comparison:
    """Compares a fine-tuned model with its parent.

    Parameters
    ----------
    order : FineTuneRequest
        What was asked for.
    task : Task
        Asks the worker.
    """

    def __init__(self, order: FineTuneRequest, task: Task) -> None:
        self.order, self._task = order, task
        self._asked: dict[int, PlanePrediction] = {}

    def pictures(self, tuned: FineTuneOutcome) -> list[ComparisonPicture]:
        """Return the slices that are kept for scoring, and the one on screen, with the masks of both models."""
        order, session = self.order, self.order.session
        held = [n for n in order.masks if session.is_held_out(n)][:PICTURES]
        free = session.order()
        other = order.shown if order.shown in free else (free[0] if free else None)
        numbers = held + ([] if other is None else [other])
        # A parent without a second network sees every slice by itself; what stands alone shows beside its neighbours.
        alone = 1 if order.segmenting.remove_isolated else 0
        around = AROUND if self.order.entry.spec.arguments.get("gates") else alone
        new = spec_of(tuned.data, "the tuned model")
        before = self._masks(model_for(order.entry, order.scheduler or None), order.entry.spec, numbers, around)
        after = self._masks(tuned.data, new, numbers, AROUND)
        return [self._picture(n, before[n], after[n]) for n in numbers]

    def _picture(self, number: int, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> ComparisonPicture:
        order = self.order
        image, truth = order.session.case.image(number), order.masks.get(number)
        name = slice_label(number)
        if truth is not None:
            name += ", kept for scoring"
        elif number == order.shown:
            name += ", on screen"
        return ComparisonPicture(name.capitalize(), image[0], before, after, truth)

    def _masks(
        self, model: str | bytes, spec: ModelSpec, numbers: list[int], around: int
    ) -> dict[int, NDArray[np.uint8]]:
        """Return the masks of slices as they are shown with a model: with what is corrected elsewhere carried to them.

        The model sees the slices around them too.
        """
        found: dict[int, NDArray[np.uint8]] = {}
        for part in self.order.session.case.parts:
            inside = [n - part.first for n in numbers if part.first <= n < part.first + part.layout.planes]
            # What the person reviewed counts, but not on the slices that are compared.
            masks = {n - part.first: mask for n, mask in self.order.masks.items() if n - part.first not in inside}
            drawn = {n: mask for n, mask in masks.items() if 0 <= n < part.layout.planes}
            seen = self._seen(part, inside, [*drawn], around)
            if not seen:
                continue
            planes = self._planes(model, part, seen, drawn)
            if self.order.carry:
                # On reviewed slices the answer from before stays known, as it does in the viewer.
                planes |= {n: self._asked.setdefault(part.first + n, planes[n]) for n in drawn if n in planes}
                planes |= self._carried(part, spec, planes, drawn)
            near = {n: mask for n, mask in drawn.items() if n in planes}
            decided, *_ = decide([planes[n] for n in seen], part.layout, self.order.segmenting, near)
            found |= {part.first + n: mask for n, mask in zip(seen, decided, strict=True) if n in inside}
        return found

    def _seen(self, part: CasePart, inside: list[int], drawn: list[int], around: int) -> list[int]:
        """Return the planes to ask about: those inside, those around, and all up to corrected ones within reach."""
        seen = {m for n in inside for m in range(n - around, n + around + 1) if 0 <= m < part.layout.planes}
        weights = CarryWeights.from_dict(self.order.entry.spec.carry)
        for n in inside if self.order.carry else ():
            stack = stack_range(part.layout, n)
            reach = slices_in_reach(len(stack), part.layout.plane_shape, spacing(part), weights) if stack else 0
            for k in drawn:
                if k in stack and abs(k - n) <= reach:
                    seen |= set(range(min(k, n), max(k, n) + 1))
        return sorted(seen)

    def _carried(
        self,
        part: CasePart,
        spec: ModelSpec,
        planes: dict[int, PlanePrediction],
        drawn: dict[int, NDArray[np.uint8]],
    ) -> dict[int, PlanePrediction]:
        """Return the planes that follow a correction."""
        found: dict[int, PlanePrediction] = {}
        for start in {stack_range(part.layout, n) for n in planes}:
            own = {n: plane for n, plane in planes.items() if n in start}
            reviewed = {n: mask for n, mask in drawn.items() if n in own}
            if reviewed:
                stack = CarryStack(part, start, reviewed, own, {}, spec, self.order.segmenting, spacing(part))
                answers = stack.answers()
                new = [*answers.follow, *answers.outlined]
                found |= {plane.number: plane for plane in new if plane.number in planes}
        return found

    def _planes(
        self, model: str | bytes, part: CasePart, seen: list[int], drawn: dict[int, NDArray[np.uint8]]
    ) -> dict[int, PlanePrediction]:
        """Return what a model answers to planes, and what it did before the reader's habit in its file."""
        order, plain = self.order, {}
        raw = np.stack([order.session.case.image(part.first + n) for n in seen])
        known = {n: mask for n, mask in drawn.items() if n in seen}
        found = self._task.ask(
            "segment_planes", model, raw, order.segmenting, ReviewedContext(seen, known, recall=False),
            scheduler=order.scheduler or None, heard=lambda progress: plain.update(progress.values.get("plain", {})),
        )  # fmt: skip
        planes: dict[int, PlanePrediction] = {}
        for place, (n, probability) in enumerate(zip(seen, found, strict=True)):
            mask = mask_from_probability(probability, order.segmenting)
            before = CompressedArray(plain[place]) if place in plain else None
            kept = CompressedArray(probability), CompressedArray(mask)
            planes[n] = PlanePrediction(n, None, *kept, order.segmenting.flip_tta, plain=before)
        return planes
