"""One fine-tuning: what the worker gets, what it tells, and the slices to compare; knows no Qt."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.corrections import FineTuneOutcome, scan_id
from napari_unet_tumour.corrections.carry import CarryWeights
from napari_unet_tumour.corrections.matching import exclude_leaks
from napari_unet_tumour.corrections.reviewed import with_stacks
from napari_unet_tumour.corrections.stack import stacks_of
from napari_unet_tumour.errors import ScanError, TrainingError, UNetTumourError
from napari_unet_tumour.models.spec import with_scores
from napari_unet_tumour.models.tuned_scores import tuned_scores
from napari_unet_tumour.widgets.common.background import JobStopped
from napari_unet_tumour.widgets.correct.carry_stack import spacing
from napari_unet_tumour.widgets.correct.comparison import Comparison
from napari_unet_tumour.widgets.segment.run import check_model, model_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.corrections import ReviewedSlice, Store
    from napari_unet_tumour.corrections.stack import ScanStack
    from napari_unet_tumour.settings import Progress
    from napari_unet_tumour.widgets.common.background import Task
    from napari_unet_tumour.widgets.correct.before_after_view import ComparisonPicture
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections
    from napari_unet_tumour.widgets.correct.finetune_request import FineTuneRequest

CONTEXT = 24


@dataclass(frozen=True, eq=False)
class FineTuneResult:
    """A model to accept or reject, and what it does to some slices."""

    tuned: FineTuneOutcome
    pictures: list[ComparisonPicture] = field(default_factory=list)
    pixel_mm: dict[str, float] = field(default_factory=dict)


class FineTuneJob:
    """Fine-tune in the worker.

    Parameters
    ----------
    order : FineTuneRequest
        What was asked for.
    store : Store
        Where the corrections of earlier scans are.

    Attributes
    ----------
    best : FineTuneOutcome, optional
        The best model so far.
    replayed : int
        How many earlier scans are learnt from.
    """

    def __init__(self, order: FineTuneRequest, store: Store) -> None:
        self.order, self._store = order, store
        self.best: FineTuneOutcome | None = None
        self.replayed = 0
        self._keeping = self._comparing = False

    def work(self, task: Task) -> FineTuneResult:
        """Learn, and compare what was learnt; on a thread, since lazy layers may take long to read.

        The task reports every `Progress`.
        """
        asked, scheduler = self._gather(), self.order.scheduler or None
        tuned = self.best
        try:
            if not self._keeping:
                tuned = task.ask("finetune", *asked, scheduler=scheduler, reports=True)
        except JobStopped:
            tuned = self.best if self._keeping else None
        if tuned is None:
            raise TrainingError("the fine-tuning was stopped: press Fine-tune again")
        self._comparing = True
        return self._compare(task, tuned)

    def note(self, progress: Progress) -> None:
        """Keep the best model that a progress brings."""
        best = progress.values.get("best")
        if isinstance(best, FineTuneOutcome):
            self.best = best

    def keep_best(self, task: Task) -> None:
        """Let it stop learning, and compare the best model so far."""
        if self.best is not None and not self._comparing:
            self._keeping = True
            task.stop_job()

    def _gather(self) -> tuple[Any, ...]:
        """Read what the engine needs: reviewed slices, some that nobody reviewed, earlier scans, the one on screen."""
        order, session = self.order, self.order.session
        check_model(order.entry)
        _check_images(session)
        known = [*session.records.values(), *(one for one in self._store.every() if one.scan not in session.records)]
        corrections = exclude_leaks((session.correction(n, mask) for n, mask in order.masks.items()), known)
        if all(one.held_out for one in corrections):
            raise TrainingError(
                "every reviewed slice lies where a slice of another scan of this person is kept for scoring: "
                "review one more"
            )
        _check_alike(corrections)
        earlier = self._store.replay([*session.records], order.segmenting.part)
        replay = [one for one in earlier if _same_kind(one, corrections)]
        replay = exclude_leaks(replay, known)
        self.replayed = len({one.scan for one in replay})
        watch = None
        if order.shown is not None and not session.is_reviewed(order.shown):
            watch = session.case.image(order.shown)[None]
        context = self._context(corrections)
        parent = model_for(order.entry, order.scheduler or None)
        corrections = with_stacks(corrections, self._stacks(corrections))
        return parent, corrections, order.settings, context, replay, watch

    def _stacks(self, corrections: list[ReviewedSlice]) -> list[ScanStack]:
        """Return the neighbours of the corrected slices, where corrections are carried at all."""
        found = []
        for part in self.order.session.case.parts if self.order.carry else ():
            learnt = [one.slice for one in corrections if one.scan == part.scan and not one.held_out]
            read = partial(part.layout.read_planes, part.array)
            weights = CarryWeights.from_dict(self.order.entry.spec.carry)
            found += stacks_of(part.scan, part.layout, spacing(part), learnt, read, weights)
        return found

    def _context(self, corrections: list[ReviewedSlice]) -> NDArray[Any] | None:
        session = self.order.session
        free = session.order()
        spread = free[:: max(1, len(free) // (CONTEXT // 2))]
        chosen = list(dict.fromkeys([*free[: CONTEXT // 2], *sorted(spread)]))[:CONTEXT]
        planes = [session.case.image(n) for n in chosen]
        alike = [plane for plane in planes if plane.shape == corrections[0].image.shape]
        return np.stack(alike) if alike else None

    def _compare(self, task: Task, tuned: FineTuneOutcome) -> FineTuneResult:
        session = self.order.session
        sides = {part.scan: part.pixel_mm() for part in session.case.parts}
        pixel_mm = {scan: side for scan, side in sides.items() if side is not None}
        pictures: list[ComparisonPicture] = []
        if tuned.data:
            scans, held = {session.record(n)[0].scan for n in self.order.masks}, tuned.held_out
            scores = tuned_scores(held, len(self.order.masks) - len(held), len(scans), pixel_mm)
            tuned = replace(tuned, data=with_scores(tuned.data, scores))
            with suppress(UNetTumourError):  # the figures are there; only the pictures are not
                pictures = Comparison(self.order, task).pictures(tuned)
        return FineTuneResult(tuned, pictures, pixel_mm)


def _check_images(session: CaseCorrections) -> None:
    for part in session.case.parts:
        if scan_id(part.array, part.layout) != part.content:
            raise ScanError(
                f"the image '{part.image.name}' has changed since it was corrected: "
                "bring back the image that the corrections were made on, or close and reopen this panel to begin anew"
            )


def _check_alike(corrections: list[ReviewedSlice]) -> None:
    channels = {one.image.shape[0] for one in corrections}
    if len(channels) > 1:
        raise ScanError("the reviewed images have different numbers of channels: review images of one kind")


def _same_kind(one: ReviewedSlice, corrections: list[ReviewedSlice]) -> bool:
    return bool(one.image.shape[0] == corrections[0].image.shape[0])
