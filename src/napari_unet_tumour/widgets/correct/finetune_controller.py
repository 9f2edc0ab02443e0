"""The fine-tuning as the person sees it: live curve and mask, Cancel, before/after, Accept or Reject."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from napari_unet_tumour.base.text import plural
from napari_unet_tumour.postprocess.threshold import mask_from_probability
from napari_unet_tumour.widgets.common.background import Background
from napari_unet_tumour.widgets.common.settings_form import remember, remembered
from napari_unet_tumour.widgets.correct.buttons import about_time
from napari_unet_tumour.widgets.correct.finetune_job import FineTuneJob, FineTuneResult
from napari_unet_tumour.widgets.correct.state import LearningStep, Phase
from napari_unet_tumour.widgets.segment.run import model_for

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from napari_unet_tumour.corrections import Store
    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.settings import FinetuneSettings, Progress
    from napari_unet_tumour.widgets.common.background import Put
    from napari_unet_tumour.widgets.correct.finetune_request import FineTuneRequest
    from napari_unet_tumour.widgets.correct.state import CorrectState
    from napari_unet_tumour.widgets.layers.mask_writer import MaskWriter

PART = "fine-tuning"
UNTOUCHED = "model and mask are as they were"


class FineTuneController:
    """One fine-tuning at a time.

    Parameters
    ----------
    put : callable
        Makes a call on the GUI thread.
    accepted : callable
        Called on the GUI thread with the order and the model file's bytes that the person accepts.
    longer : callable
        Called with the seconds that would have been needed, where the time was too short.
    """

    def __init__(
        self, state: CorrectState, put: Put, masks: MaskWriter, store: Store,
        accepted: Callable[[FineTuneRequest, bytes], None], longer: Callable[[float], None],
    ) -> None:  # fmt: skip
        self._state, self._masks, self._store = state, masks, store
        self._accepted, self._longer = accepted, longer
        self._background = Background(put, lambda: state.generation, state.switch)
        self._measuring = Background(put, lambda: state.generation)
        self._measured: set[str] = set()
        self._job: FineTuneJob | None = None
        self._tried = False

    @property
    def running(self) -> bool:
        """Whether the network learns, or the result is being compared."""
        return self._background.running

    def start(self, order: FineTuneRequest) -> None:
        """Begin, in place of a result that was not accepted."""
        state = self._state
        state.show_result(None)
        state.best, self._tried = False, False
        state.step = LearningStep(order.settings.seconds)
        state.say(" ".join(filter(None, ("Reading the reviewed slices…", about_time(state.estimate), order.note))))
        job = self._job = FineTuneJob(order, self._store)
        self._background.start(
            job.work, partial(self._on_result, job), lambda why: self.stop(f"{why}; {UNTOUCHED}", wrong=True),
            partial(self._on_progress, job), kind=Phase.LEARNING,
        )  # fmt: skip

    def estimate(self, entry: ModelEntry, settings: FinetuneSettings, scheduler: str, measure: bool) -> None:
        """Take how long it took before with such a model; where that is not known, `measure` has its steps timed."""
        key, state = _key(entry, settings, scheduler), self._state
        state.estimate = _took_before(key)
        if measure and not state.estimate and not self._measuring.running and key not in self._measured:
            where = scheduler or None
            self._measuring.start(
                lambda task: task.ask("finetune_time", model_for(entry, where), settings, scheduler=where),
                partial(self._on_time, key), lambda why: self._measured.add(key),
            )  # fmt: skip

    def stop_measuring(self) -> None:
        """Leave the worker to others."""
        self._measuring.cancel()

    def _on_time(self, key: str, seconds: float) -> None:
        if seconds:
            self._measured.add(key)
            remember(PART, {"seconds": round(seconds), "of": key})
            self._state.estimate = _took_before(key)

    def ask(self) -> None:
        """Ask what to keep; it learns on until the person has chosen."""
        self._state.stopping = self.running

    def go_on(self) -> None:
        """Let it learn on."""
        self._state.stopping = False

    def discard(self) -> None:
        """Stop and throw away what was learnt, since the person wants it."""
        self.stop(f"Cancelled: {UNTOUCHED}.")

    def keep_best(self) -> None:
        """Stop, and compare the best network so far."""
        task = self._background.task
        if task is not None and self._job is not None:
            self._state.stopping = False
            self._masks.hide_preview()
            self._state.say("Comparing…")
            self._job.keep_best(task)

    def stop(self, why: str = "", wrong: bool = False) -> None:
        """Stop and throw away what was learnt; `why` is said, unless it is ""."""
        self._background.cancel()
        self._masks.hide_preview()
        self._state.stopping = False
        if why:
            self._state.say(why, wrong)

    def accept(self) -> None:
        """Hand the new model on."""
        result = self._state.result
        if result is not None and self._job is not None:
            self._state.show_result(None)
            self._accepted(self._job.order, result.tuned.data)

    def reject(self) -> None:
        """Throw the new model away."""
        if self._state.result is not None:
            self._state.show_result(None)
            self._state.say(f"Rejected: {UNTOUCHED}.")

    def drop(self) -> None:
        """Stop; touches nothing of Qt."""
        self._background.cancel()
        self._measuring.cancel()

    # ---- what the worker tells ---------------------------------------------------------------------

    def _on_progress(self, job: FineTuneJob, tick: Progress) -> None:
        values, state = tick.values, self._state
        job.note(tick)
        state.best = job.best is not None
        state.step = LearningStep(max(0.1, tick.total / 10), tick.done / 10, values.get("loss"), values.get("score"))
        doing = (tick.message or "learning").capitalize()
        doing += f": step {values.get('step', 0)}" if "loss" in values else ""
        left = f", {values['seconds_left']:.0f} s left." if "seconds_left" in values else "…"
        state.say(f"{doing}{left}{_replayed(job)}")
        if "probability" in values:
            self._try_on(job.order, values["probability"])

    def _try_on(self, order: FineTuneRequest, probability: NDArray[np.uint8]) -> None:
        session, shown = order.session, order.shown
        if shown is None or session.is_reviewed(shown) or len(probability) != len(order.entry.spec.labels) - 1:
            return
        part, plane = session.case.where(shown)
        if part.mask is not None and (self._tried or not session.is_edited(shown)):
            self._tried = True
            settings = replace(order.segmenting, flip_tta=False)  # while it learns it is asked for the slice alone
            self._masks.show_preview(part.mask, part.layout, plane, mask_from_probability(probability, settings))

    def _on_result(self, job: FineTuneJob, result: FineTuneResult) -> None:
        self._masks.hide_preview()
        state, tuned, order = self._state, result.tuned, job.order
        state.stopping = False
        if tuned.steps > 1:  # one step fits outlines alone, and says nothing of the others
            self._on_time(_key(order.entry, order.settings, order.scheduler), tuned.needed or tuned.seconds)
        took = f"{plural(tuned.steps, 'step')} in {tuned.seconds:.1f} s"
        if tuned.steps == 0:
            state.say(
                f"The time was too short to learn anything ({took}): give it a longer learning time; {UNTOUCHED}.", True
            )
        elif not tuned.data:
            why = tuned.note.rstrip(".") or "nothing better was found"
            state.say(f"{why[0].upper()}{why[1:]} ({took}): {UNTOUCHED}. {order.note}".rstrip())
        else:
            state.show_result(result)
            state.say(f"Learnt in {took}. Accept or reject? {tuned.note or order.note}".rstrip())
        if tuned.needed:
            self._longer(tuned.needed)


def _key(entry: ModelEntry, settings: FinetuneSettings, scheduler: str) -> str:
    """Return what decides how long a fine-tuning takes: the kind of model, and where it learns."""
    return f"{entry.spec.network}, {settings.device} {scheduler}".rstrip()


def _took_before(key: str) -> float:
    """Return how many seconds the last such fine-tuning took, or would have taken; 0 before the first."""
    known = remembered(PART)
    seconds = known.get("seconds") if known.get("of") == key else 0
    return float(seconds) if isinstance(seconds, int) else 0.0


def _replayed(job: FineTuneJob) -> str:
    return f" Replays {plural(job.replayed, 'earlier scan')}." if job.replayed else ""
