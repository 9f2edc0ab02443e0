"""The fine-tuning as the person sees it: live curve and mask, Cancel, before/after, Accept or Reject."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.postprocess.threshold import mask_from_probability
from napari_unet_tumour.settings import Progress
from napari_unet_tumour.widgets.common.settings_form import remember, remembered
from napari_unet_tumour.widgets.correct.finetune_job import FineTuneJob, FineTuneResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.corrections import Store
    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue
    from napari_unet_tumour.widgets.correct.finetune_request import FineTuneRequest
    from napari_unet_tumour.widgets.correct.view import CorrectView
    from napari_unet_tumour.widgets.layers.mask_writer import MaskWriter

PART = "fine-tuning"
UNTOUCHED = "model and mask are as they were"
NONE_HELD = "No slice is kept for scoring yet: the third reviewed slice with tumour is the first."


class UnknownLabels(TrainingError):
    """The masks have labels that the model does not know."""


class FineTuneController:
    """One fine-tuning at a time.

    Parameters
    ----------
    accepted : callable
        Called on the GUI thread with the order and the model file's bytes that the person accepts.
    """

    def __init__(
        self,
        panel: CorrectView,
        inbox: MainThreadQueue,
        masks: MaskWriter,
        store: Store,
        accepted: Callable[[FineTuneRequest, bytes], None],
    ) -> None:
        self._panel, self._inbox, self._masks, self._store = panel, inbox, masks, store
        self._accepted = accepted
        self._tune: FineTuneJob | None = None
        self._tried = False
        self.judged: FineTuneResult | None = None
        self._order: FineTuneRequest | None = None
        panel.best.changed.connect(self.keep_best)
        panel.discard.changed.connect(partial(self.stop, f"Cancelled: {UNTOUCHED}."))
        panel.on.changed.connect(lambda: panel.ask_what_to_keep(False))
        panel.accept.changed.connect(self.accept)
        panel.reject.changed.connect(self.reject)

    @property
    def running(self) -> bool:
        """Whether the network learns, or the result is being judged."""
        return self._tune is not None

    def start(self, order: FineTuneRequest) -> None:
        """Begin, in place of a result that was not accepted."""
        self._show(None)
        self._order, self._tried = order, False
        self._tune = FineTuneJob(order, self._store, self._tell)
        panel = self._panel
        panel.run.text = "Cancel"
        panel.curve.begin(order.settings.seconds)
        panel.curve.show()
        panel.say(f"Reading the reviewed slices… {_took_before()}{order.note}".rstrip())
        self._tune.start()

    def ask(self) -> None:
        """Ask what to keep; it learns on until the person has chosen."""
        if self._tune is not None:
            self._panel.ask_what_to_keep(True, self._tune.best is not None)

    def keep_best(self) -> None:
        """Stop, and compare the best network so far."""
        if self._tune is not None:
            self._panel.ask_what_to_keep(False)
            self._masks.hide_preview()
            self._panel.say("Comparing…")
            self._tune.keep_best()

    def stop(self, why: str, wrong: bool = False) -> None:
        """Stop and throw away what was learnt."""
        tune, self._tune = self._tune, None
        self._masks.hide_preview()
        if tune is not None:
            tune.cancel()
            self._panel.ask_what_to_keep(False)
            self._panel.run.text = "Fine-tune"
            self._panel.say(why, wrong)

    def accept(self) -> None:
        """Hand the new model on."""
        judged, order = self.judged, self._order
        if judged is not None and order is not None:
            self._show(None)
            self._accepted(order, judged.tuned.data)

    def reject(self) -> None:
        """Throw the new model away."""
        if self.judged is not None:
            self._show(None)
            self._panel.say(f"Rejected: {UNTOUCHED}.")

    def forget(self) -> None:
        """Throw a result away that the person has not decided on."""
        if self.judged is not None:
            self._show(None)

    def drop(self) -> None:
        """Forget a result that the person has not decided on, and stop; touches nothing of Qt."""
        if self._tune is not None:
            self._tune.cancel()

    def _show(self, judged: FineTuneResult | None) -> None:
        self.judged = judged
        self._panel.pictures.fill([] if judged is None else judged.pictures)
        self._panel.compare(None if judged is None else judged.tuned, {} if judged is None else judged.pixel_mm)

    # ---- what the worker tells ---------------------------------------------------------------------

    def _tell(self, tune: FineTuneJob, news: Any) -> None:
        self._inbox.put(partial(self._on_news, tune, news))

    def _on_news(self, tune: FineTuneJob, news: Any) -> None:
        if tune is not self._tune:
            return
        if isinstance(news, Progress):
            self._on_tick(tune, news)
        elif isinstance(news, FineTuneResult):
            self._on_judged(news)
        else:
            self.stop(f"{news}; {UNTOUCHED}", wrong=True)

    def _on_tick(self, tune: FineTuneJob, tick: Progress) -> None:
        values, panel = tick.values, self._panel
        seconds = tick.done / 10
        panel.curve.budget = max(0.1, tick.total / 10)
        panel.curve.add(seconds, values.get("loss"), values.get("score"))
        left = values.get("seconds_left", max(0.0, (tick.total - tick.done) / 10))
        doing = (tick.message or "learning").capitalize()
        panel.say(f"{doing}: step {values.get('step', 0)}, {left:.0f} s left.{_replayed(tune)}")
        if panel.asking.visible:
            panel.best.enabled = tune.best is not None
        if "probability" in values:
            self._try_on(tune.order, values["probability"])

    def _try_on(self, order: FineTuneRequest, probability: NDArray[np.uint8]) -> None:
        session, shown = order.session, order.shown
        if shown is None or session.is_reviewed(shown) or len(probability) != len(order.entry.spec.labels) - 1:
            return
        part, plane = session.case.where(shown)
        if part.mask is not None and (self._tried or not session.is_edited(shown)):
            self._tried = True
            settings = replace(order.segmenting, flip_tta=False)  # while it learns it is asked for the slice alone
            self._masks.show_preview(part.mask, part.layout, plane, mask_from_probability(probability, settings))

    def _on_judged(self, judged: FineTuneResult) -> None:
        self._tune = None
        self._masks.hide_preview()
        panel, tuned = self._panel, judged.tuned
        panel.run.text = "Fine-tune"
        panel.ask_what_to_keep(False)
        note = "" if self._order is None else self._order.note
        if tuned.steps:
            remember(PART, {"seconds": round(tuned.seconds)})
        took = f"{tuned.steps} step{'s' * (tuned.steps != 1)} in {tuned.seconds:.1f} s"
        if tuned.steps == 0:
            panel.say(
                f"The time was too short to learn anything ({took}): give it a longer learning time; {UNTOUCHED}.", True
            )
            return
        if not tuned.data:
            why = tuned.note.rstrip(".") or "nothing better was found"
            panel.say(f"{why[0].upper()}{why[1:]} ({took}): {UNTOUCHED}. {note}".rstrip())
            return
        self._show(judged)
        panel.say(f"Learnt in {took}. Accept or reject? {tuned.note or note}".rstrip())


def _took_before() -> str:
    """Return how long the last fine-tuning on this computer took, "" before the first."""
    seconds = remembered(PART).get("seconds")
    return f"The last fine-tuning took {seconds} s. " if isinstance(seconds, int) else ""


def _replayed(tune: FineTuneJob) -> str:
    return f" Replays {tune.replayed} earlier scan{'s' * (tune.replayed != 1)}." if tune.replayed else ""


def check(masks: dict[int, NDArray[np.uint8]], trained: Sequence[int], entry: ModelEntry, unsure: int) -> str:
    """Return what the person should know before a fine-tuning, "" where nothing.

    Parameters
    ----------
    masks : dict of int to numpy.ndarray
        (H, W) of the reviewed slices.
    trained : sequence of int
        Those of them that are not held out.

    Raises
    ------
    TrainingError
        Nothing to learn from; `UnknownLabels` for labels that the model does not know.
    """
    if not masks:
        raise TrainingError("No slice is reviewed yet: correct a slice and press R")
    if not trained:
        raise TrainingError("All reviewed slices are kept for scoring: review one more slice")
    found = {int(value) for mask in masks.values() for value in np.unique(mask)} - {unsure}
    unknown = sorted(found - set(range(len(entry.spec.labels))))
    if unknown:
        known = ", ".join(f"{n} = {name}" for n, name in enumerate(entry.spec.labels) if n)
        raise UnknownLabels(
            f"the mask has label {', '.join(map(str, unknown))}, model '{entry.name}' knows only {known}: "
            "paint with these, or add a class"
        )
    if found == {0}:
        return "No reviewed slice has any tumour: the network learns only what is none."
    return NONE_HELD if len(trained) == len(masks) else ""
