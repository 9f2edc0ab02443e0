"""Segments the slices that nobody has reviewed, or only asks how sure the network is of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.widgets.common.background import Background
from napari_unet_tumour.widgets.correct.remaining_slices import RemainingSlices
from napari_unet_tumour.widgets.correct.state import Phase
from napari_unet_tumour.widgets.layers import drawn_pixels, image_source, labels
from napari_unet_tumour.widgets.layers.drawn_pixels import KeptSlices
from napari_unet_tumour.widgets.layers.edits import LayerEvents
from napari_unet_tumour.widgets.layers.mask_writer import Shown
from napari_unet_tumour.widgets.layers.predictions import PlanePrediction
from napari_unet_tumour.widgets.segment.progress import slices

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.settings import SegmentSettings
    from napari_unet_tumour.widgets.common.background import Put
    from napari_unet_tumour.widgets.common.question import Question
    from napari_unet_tumour.widgets.correct.case import CasePart
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections
    from napari_unet_tumour.widgets.correct.state import CorrectState
    from napari_unet_tumour.widgets.layers.mask_writer import MaskWriter
    from napari_unet_tumour.widgets.segment.run import RunEnded


class SegmentController:
    """Runs over a session's slices, one run at a time.

    Parameters
    ----------
    put : callable
        Makes a call on the GUI thread.
    adopt : callable
        Called when a part has got its mask layer.
    """

    def __init__(
        self, viewer: ViewerModel, state: CorrectState, put: Put, masks: MaskWriter, question: Question,
        adopt: Callable[[CasePart, Any], None],
    ) -> None:  # fmt: skip
        self._viewer, self._state, self._masks, self._question, self._adopt = viewer, state, masks, question, adopt
        self._background = Background(put, lambda: state.generation, state.switch)
        self._beneath = False
        self._rest: RemainingSlices | None = None
        self._then: Callable[[], None] | None = None
        self._first_word = self._word = ""
        self._watched = LayerEvents(self._on_data, ("data",))
        self._tally = Tally()

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._background.running

    def draw(
        self, session: CaseCorrections, entry: ModelEntry, settings: SegmentSettings, scheduler: str,
        first_word: str = "",
        beneath: bool = False,
    ) -> None:  # fmt: skip
        """Segment every slice that is not reviewed; what a person drew stays, each slice is one undo step.

        Where `beneath`, slices that follow a correction go on showing what was carried until it is carried anew.
        """
        self._beneath = beneath
        numbers = [n for n in range(len(session.case)) if not session.is_reviewed(n)]
        self._first_word = first_word
        self._start(session, entry, settings, scheduler, numbers, None)

    def estimate_uncertainty(
        self,
        session: CaseCorrections,
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
        self._watched.follow([])
        self._background.cancel()

    def _start(
        self, session: CaseCorrections, entry: ModelEntry, settings: SegmentSettings, scheduler: str,
        numbers: list[int],
        then: Callable[[], None] | None,
    ) -> None:  # fmt: skip
        self.cancel()
        self._question.drop()
        self._word = ""
        self._then, self._tally = then, Tally()
        if not numbers:
            self._state.say(f"{self._first_word}Every slice is reviewed: there is nothing to segment.")
            return
        focus = session.case.on_screen(self._viewer) or 0
        corrected = session.masks(session.reviewed())
        task = self._background.open(self._on_news, Phase.SEGMENTING if then is None else Phase.LOOKING)
        rest = RemainingSlices(session.case, entry, settings, numbers, focus, scheduler, task.report, corrected)
        self._rest = rest
        task.on_drop = rest.cancel
        self._watched.follow(session.case.layers())
        for part in session.case.parts:
            self._tally.erased[part.first] = drawn_pixels.erased_planes(part.mask, part.layout)
        rest.start()

    def _on_data(self, event: Any) -> None:
        """Stop where a layer has got other pixels: what the run brings is of those before."""
        self._stop(f"Stopped, since the pixels of layer '{event.source.name}' were replaced")

    def _stop(self, why: str) -> None:
        self.cancel()
        self._word = f"{why}: {'' if self._rest is None else self._rest.progress_text()} done; press Segment again."
        self._state.say(self._word, True)

    def take_stop(self) -> str:
        """Return why the last run was stopped, once; "" where it was not."""
        word, self._word = self._word, ""
        return word

    def _on_news(self, rest: RemainingSlices, part: CasePart | None, news: PlanePrediction | RunEnded) -> None:
        session = self._state.corrections
        if part is None or not isinstance(news, PlanePrediction) or session is None:
            self._on_end(rest, news)
            return
        if self._then is None and self._draw(rest, part, news) is Shown.FAILED:
            self._stop(f"Stopped, since the mask of '{part.image.name}' no longer fits it")
            return
        rest.done += 1
        if self._then is None:
            self._state.say(f"{self._first_word}Segmenting: {rest.progress_text()}")
        else:
            session.unsure.note(part.first + news.number, news.probability.array())
            self._state.say(f"Looking at the slices: {rest.progress_text()}")

    def _draw(self, rest: RemainingSlices, part: CasePart, plane: PlanePrediction) -> Shown:
        mask = part.mask
        if mask is None:
            mask = labels.add_mask(self._viewer, part.image, part.layout, rest.names)
            self._adopt(part, mask)
            self._watched.follow([*self._watched.layers, mask])
        if plane.number == 0 or rest.done == 0:
            labels.name_labels(mask, rest.names)
            if mask.metadata.get(image_source.KEY, {}).get("layer") in (None, str(mask.unique_id)):
                labels.describe(mask, part.image, **rest.facts())
        shown = self._masks.show(mask, part.layout, plane, self._tally.erased.get(part.first, ()), self._beneath)
        self._tally.count(part, plane, shown)
        return shown

    def _on_end(self, rest: RemainingSlices, news: Any) -> None:
        self._background.finish()
        self._watched.follow([])
        session, then = self._state.corrections, self._then
        if news.error is not None:
            self._state.say(f"{news.error}{f' ({rest.progress_text()} done)' if rest.done else ''}", True)
        elif news.cancelled:
            self._state.say(f"Stopped: {rest.progress_text()} done; press Segment again", True)
        elif rest.done < rest.total:
            self._state.say(f"{slices(rest.total - rest.done)} failed, {rest.done} are done: press Segment again", True)
        elif then is not None:
            then()
        else:
            self._decide_together(rest)
            kept = self._tally.in_words()
            others = f"{kept} and reviewed slices" if kept else "reviewed slices"
            self._state.say(f"{self._first_word}{slices(self._tally.written)} segmented; {others} are as they were.")
        if session is not None and then is None:
            self._tally.note_slices()
            self._ask_what_to_keep(self._tally)

    def _ask_what_to_keep(self, tally: Tally) -> None:
        """Ask once about slices that a person drew; until they answer, and if they do not, these stay."""
        if not tally.kept or all(kept.is_confirmed(part.mask) for part, kept in tally.kept if part.mask is not None):
            return
        keep = ("Keep mine", "They stay as they are.", tally.confirm)
        new = ("Use the network's", "Replace them. One undo step a mask.", partial(self._replace_kept, tally))
        self._question.ask(f"There are {tally.in_words()}. The network has drawn them otherwise.", [keep, new])

    def _replace_kept(self, tally: Tally) -> None:
        count = 0
        for part, kept in [] if self.running else tally.kept:
            if part.mask is not None and part.mask in self._viewer.layers:
                count += self._masks.replace(part.mask, kept.same(part.mask, part.layout))
        self._state.say(f"{slices(count)} replaced; undo brings back what you drew.")

    def _decide_together(self, rest: RemainingSlices) -> None:
        """Leave out what one slice of a volume alone shows; reviewed slices are neighbours too."""
        session = self._state.corrections
        for part in session.case.parts if session is not None and rest.settings.remove_isolated else ():
            if part.mask is not None and part.layout.planes > 1:
                self._masks.move(part.image, rest.settings, at_once=True)


@dataclass
class Tally:
    """What became of the slices of a run.

    Parameters
    ----------
    written : int
        Slices that the network has drawn.
    erased : dict of int to collection of int
        By first slice of a part: planes that a person had emptied when the run began.
    kept : list of (Part, KeptSlices)
        What was left as a person drew it.
    done : list of (Part, int)
        Every plane that has arrived.
    """

    written: int = 0
    erased: dict[int, frozenset[int]] = field(default_factory=dict)
    kept: list[tuple[CasePart, KeptSlices]] = field(default_factory=list)
    done: list[tuple[CasePart, int]] = field(default_factory=list)

    def count(self, part: CasePart, plane: PlanePrediction, shown: Shown) -> None:
        """Note that a plane has arrived, and what became of it."""
        self.done.append((part, plane.number))
        self.written += shown is Shown.WRITTEN
        if shown is Shown.KEPT and part.mask is not None:
            if not self.kept or self.kept[-1][0] is not part:
                self.kept.append((part, KeptSlices()))
            self.kept[-1][1].add(part.mask, part.layout, plane.number, None)

    def confirm(self) -> None:
        """Remember that the person keeps what they drew."""
        for part, kept in self.kept:
            if part.mask is not None:
                kept.confirm(part.mask)

    def in_words(self) -> str:
        """Return e.g. "3 slices that you drew (412 pixels)", "" where there are none."""
        every = KeptSlices()
        for part, kept in self.kept:
            every.pixels |= {part.first + n: pixels for n, pixels in kept.pixels.items()}
        return every.in_words()

    def note_slices(self) -> None:
        """Write into the masks' metadata which slices the network was asked about."""
        for part in {id(part): part for part, _ in self.done}.values():
            if part.mask is not None:
                planes = sorted(n for one, n in self.done if one is part)
                labels.amend(part.mask, slices=planes, of=part.layout.planes)
