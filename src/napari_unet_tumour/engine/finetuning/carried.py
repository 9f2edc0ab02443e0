"""Neighbours of the corrected slices, with what is carried to them as their truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.corrections import ReviewedContext, ReviewedSlice
from napari_unet_tumour.corrections.carry import CarryWeights
from napari_unet_tumour.corrections.stack import as_truth
from napari_unet_tumour.engine.finetuning.cases import fine_tune_slices
from napari_unet_tumour.engine.inference.segment import iter_segment_planes
from napari_unet_tumour.settings import Progress, SegmentSettings

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_unet_tumour.corrections.stack import ScanStack
    from napari_unet_tumour.engine.finetuning.cases import FineTuneSlices
    from napari_unet_tumour.engine.finetuning.context import FineTuneContext


def iter_carried(desk: FineTuneContext) -> Generator[Progress, None, FineTuneSlices | None]:
    """Carry the corrected slices to their neighbours; None where none follows.

    Slices that are kept for scoring are not among them.
    """
    found: list[ReviewedSlice] = []
    for stack in desk.stacks:
        masks = {one.slice: one.mask for one in desk.lesson.cases.sources if one.scan == stack.scan}
        held_out = desk.held_out.sources if desk.held_out is not None else ()
        scored = {one.slice for one in held_out if one.scan == stack.scan}
        if masks and stack.planes:
            answers = yield from _iter_answers(desk, stack, masks)
            carried = _carried(desk, stack, masks, answers)
            found += [
                ReviewedSlice(stack.scan, n, stack.planes[n], as_truth(answer))
                for n, answer in carried.items()
                if n in stack.planes and n not in scored
            ]
    return fine_tune_slices(found, desk.model.spec, desk.lesson.device) if found else None


def _iter_answers(
    desk: FineTuneContext, stack: ScanStack, masks: dict[int, NDArray[np.uint8]]
) -> Generator[Progress, None, dict[int, NDArray[np.uint8]]]:
    """Ask the parent about a stack's planes."""
    numbers, spec = sorted(stack.planes), desk.model.spec
    settings = SegmentSettings(**spec.defaults, device=desk.settings.device)
    steps = iter_segment_planes(
        desk.model,
        np.stack([stack.planes[n] for n in numbers]),
        settings,
        ReviewedContext(numbers, masks, recall=False),
    )
    return dict(zip(numbers, (yield from steps), strict=True))


def _carried(
    desk: FineTuneContext, stack: ScanStack, masks: dict[int, NDArray[np.uint8]], answers: dict[int, NDArray[np.uint8]]
) -> dict[int, NDArray[np.uint8]]:
    spec = desk.model.spec
    return stack.carried(masks, answers, len(spec.labels) - 1, CarryWeights.from_dict(spec.carry))
