"""Segments the slices that nobody has reviewed, or only asks how sure the network is of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.widgets.common.settings_form import plain
from napari_unet_tumour.widgets.correct.remaining_slices import RemainingSlices
from napari_unet_tumour.widgets.layers import image_source, labels
from napari_unet_tumour.widgets.layers.predictions import PREDICTIONS, PlanePrediction
from napari_unet_tumour.widgets.segment.progress import slices

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.settings import SegmentSettings
    from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue
    from napari_unet_tumour.widgets.correct.case import CasePart
    from napari_unet_tumour.widgets.correct.state import CorrectState
    from napari_unet_tumour.widgets.layers.mask_writer import MaskWriter
    from napari_unet_tumour.widgets.segment.run import RunEnded

    Say = Callable[[str, bool], None]


class SegmentController:
    """Runs over a session's slices, one run at a time.

    Parameters
    ----------
    say : callable
        Shows a line of status; the second argument is True for an error.
    drawn : callable
        Called when a part has got its mask layer.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        inbox: MainThreadQueue,
        masks: MaskWriter,
        say: Say,
        drawn: Callable[[CasePart, Any], None],
    ) -> None:
        self._viewer, self._inbox, self._masks, self._say, self._drawn = viewer, inbox, masks, say, drawn
        self._rest: RemainingSlices | None = None
        self._session: CorrectState | None = None
        self._then: Callable[[], None] | None = None
        self._first_word = ""

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._rest is not None

    def draw(
        self, session: CorrectState, entry: ModelEntry, settings: SegmentSettings, scheduler: str, first_word: str = ""
    ) -> None:
        """Segment every slice that is not reviewed; strokes of the person stay, each slice is one undo step."""
        numbers = [n for n in range(len(session.case)) if not session.is_reviewed(n) and not _own(session, n)]
        self._first_word = first_word
        self._start(session, entry, settings, scheduler, numbers, None)

    def estimate_uncertainty(
        self,
        session: CorrectState,
        entry: ModelEntry,
        settings: SegmentSettings,
        scheduler: str,
        then: Callable[[], None],
    ) -> None:
        """Ask how sure the network is of every slice, and draw nothing; `then` follows."""
        self._first_word = ""
        self._start(session, entry, settings, scheduler, list(range(len(session.case))), then)

    def cancel(self) -> None:
        """Stop; finished slices stay."""
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.cancel()

    def _start(
        self, session: CorrectState, entry: ModelEntry, settings: SegmentSettings, scheduler: str, numbers: list[int],
        then: Callable[[], None] | None,
    ) -> None:  # fmt: skip
        self.cancel()
        self._session, self._then = session, then
        if not numbers:
            self._say(f"{self._first_word}Every slice is reviewed: there is nothing to segment.", False)
            return
        focus = session.case.on_screen(self._viewer) or 0
        corrected = session.masks(session.reviewed())
        self._rest = RemainingSlices(session.case, entry, settings, numbers, focus, scheduler, self._tell, corrected)
        self._rest.start()

    def _tell(self, rest: RemainingSlices, part: CasePart | None, news: PlanePrediction | RunEnded) -> None:
        self._inbox.put(partial(self._on_news, rest, part, news))

    def _on_news(self, rest: RemainingSlices, part: CasePart | None, news: PlanePrediction | RunEnded) -> None:
        if rest is not self._rest or self._session is None:
            return
        if part is None or not isinstance(news, PlanePrediction):
            self._on_end(rest, news)
            return
        rest.done += 1
        if self._then is None:
            self._draw(rest, part, news)
            self._say(f"{self._first_word}Segmenting: {rest.done} of {slices(rest.total)}", False)
        else:
            self._session.unsure.note(part.first + news.number, news.probability.array())
            self._say(f"Asking the network: {rest.done} of {slices(rest.total)}", False)

    def _draw(self, rest: RemainingSlices, part: CasePart, plane: PlanePrediction) -> None:
        mask = part.mask
        if mask is None:
            mask = labels.add_mask(self._viewer, part.image, part.layout, rest.entry.spec.labels)
            self._drawn(part, mask)
        if plane.number == 0 or rest.done == 1:
            _note(mask, part, rest)
        self._masks.show(mask, part.layout, plane, keep_strokes=True)

    def _on_end(self, rest: RemainingSlices, news: Any) -> None:
        self._rest = None
        if news.error is not None:
            self._say(str(news.error), True)
        elif self._then is not None:
            self._then()
        elif not news.cancelled:
            self._decide_together(rest)
            self._say(f"{self._first_word}{slices(rest.done)} segmented; reviewed slices are as they were.", False)

    def _decide_together(self, rest: RemainingSlices) -> None:
        """Leave out what one slice of a volume alone shows; reviewed slices are neighbours too."""
        parts = [] if self._session is None else self._session.case.parts
        for part in parts if rest.settings.remove_isolated else ():
            if part.mask is not None and part.layout.planes > 1:
                self._masks.move(part.image, rest.settings, at_once=True)


def _own(session: CorrectState, number: int) -> bool:
    """Tell whether a slice is drawn by the person alone, so that a prediction would take strokes away."""
    part, plane = session.case.where(number)
    prediction = None if part.mask is None else PREDICTIONS.get(part.mask)
    return session.is_edited(number) and (prediction is None or plane not in prediction.planes)


def _note(mask: Any, part: CasePart, rest: RemainingSlices) -> None:
    facts = {
        "model": rest.entry.name,
        "hash": rest.entry.hash,
        "labels": list(rest.entry.spec.labels),
        "settings": plain(rest.settings),
    }
    if mask.metadata.get(image_source.KEY, {}).get("layer") in (None, str(mask.unique_id)):
        labels.describe(mask, part.image, **facts)
