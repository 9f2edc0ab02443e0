"""Carries a reviewed slice to its neighbours as soon as it is ticked, off the GUI thread and without the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from napari_unet_tumour.postprocess.following import Lessons
from napari_unet_tumour.widgets.common.background import Background, Task
from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue, single_shot_timer
from napari_unet_tumour.widgets.common.settings_form import fill, remember, remembered
from napari_unet_tumour.widgets.correct import carry_stack
from napari_unet_tumour.widgets.correct.carry_stack import CarryStack, stack_of
from napari_unet_tumour.widgets.correct.state import Message
from napari_unet_tumour.widgets.layers.mask_writer import Shown
from napari_unet_tumour.widgets.segment.progress import slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from magicgui.widgets import CheckBox

    from napari_unet_tumour.widgets.correct.case import CasePart
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections
    from napari_unet_tumour.widgets.correct.inputs import CorrectInputs
    from napari_unet_tumour.widgets.correct.state import CorrectState
    from napari_unet_tumour.widgets.layers.mask_writer import MaskWriter
    from napari_unet_tumour.widgets.layers.predictions import PlanePrediction

PART = "carry"
EVERY, THEM = "your corrections", ("it", "them")
# The network counts as finished when it has brought nothing new for so long.
REST_MS = 900


@dataclass
class CarryCount:
    """How many slices follow a correction, how many others are outlined like it, and how many no longer are."""

    follow: int = 0
    outlined: int = 0
    back: int = 0

    def in_words(self, of: str) -> str:
        """Return e.g. "3 slices follow this correction.", "" where nothing has changed."""
        told = f"{slices(self.follow)} follow{'s' * (self.follow == 1)} {of}." if self.follow else ""
        if self.outlined:
            who, whom = (
                (f"{told[:-1]}, {self.outlined} more", THEM[of == EVERY]) if told else (slices(self.outlined), of)
            )
            told = f"{who} {'is' if self.outlined == 1 else 'are'} outlined like {whom}."
        again = f"{slices(self.back)} no longer follow{'s' * (self.back == 1)} a correction." if self.back else ""
        return " ".join(filter(None, (told, again)))


class CarryController:
    """What follows a tick on the slices beside it.

    Parameters
    ----------
    follows : magicgui.widgets.CheckBox
        Whether anything follows at all.
    """

    def __init__(
        self, state: CorrectState, follows: CheckBox, choice: CorrectInputs, inbox: MainThreadQueue, masks: MaskWriter
    ) -> None:
        self._state, self._choice, self._masks = state, choice, masks
        self._background = Background(inbox.put, lambda: state.generation)
        self._wanted: list[tuple[CasePart, range]] = []
        self._word, self._told, self._of = Message(), Message(), ""
        self._count, self._lessons = CarryCount(), Lessons()
        self._heard: list[tuple[int, int]] | None = None
        self._timer = single_shot_timer(inbox, REST_MS, self._on_rest)
        fill({"on": follows}, remembered(PART))
        follows.changed.connect(self._on_switch)

    @property
    def working(self) -> bool:
        """Whether an answer is on its way."""
        return self._background.running

    def ticked(self, session: CaseCorrections, number: int) -> None:
        """Answer the neighbours of a slice anew, which was ticked or whose tick was taken back."""
        part, plane = session.case.where(number)
        others = []
        if self._timer.isActive() and not self._state.busy:  # what waits is done at once
            self._timer.stop()
            others = _stacks(session)
        self._ask(session, [(part, stack_of(part, plane)), *others], "this correction")

    def look(self, session: CaseCorrections) -> None:
        """Carry again where the network has answered anew since, once it rests."""
        known, self._heard = self._heard, _heard(session)
        if known not in (None, self._heard) and session.reviewed():
            self._timer.start()

    def drop(self) -> None:
        """Forget what is asked: the case or the model is another one now."""
        self._heard, self._wanted, self._lessons = None, [], Lessons()
        self._background.cancel()
        self._timer.stop()

    def _on_switch(self, on: bool) -> None:
        remember(PART, {"on": bool(on)})
        self._background.cancel()
        self._wanted = []
        if on:
            self._all()

    def _on_rest(self) -> None:
        if self._state.busy:
            self._timer.start()
        else:
            self._all()

    def _all(self) -> None:
        session = self._state.corrections
        if session is not None:
            self._ask(session, _stacks(session), EVERY)

    def _ask(self, session: CaseCorrections, stacks: Sequence[tuple[CasePart, range]], of: str) -> None:
        stacks = [stack for stack in stacks if stack[1]]
        entry = self._choice.entry
        if not self._choice.carries or not stacks or entry is None:
            return
        self._wanted = list(dict.fromkeys([*self._wanted, *stacks]))
        self._word, self._of = self._state.message, of
        self._told, self._count = self._word, CarryCount()
        settings, lessons = self._choice.segmenting(), self._lessons
        taken = [CarryStack.of(session, part, planes, entry.spec, settings) for part, planes in self._wanted]

        def work(task: Task) -> None:
            for stack in taken:
                for answers in stack.iter_answers(lessons):
                    task.report(stack, answers)
                    if not task.wanted:
                        return

        self._background.start(
            work, self._on_end, partial(self._on_failed, session), partial(self._on_answers, session)
        )

    def _on_failed(self, session: CaseCorrections, why: str) -> None:
        self._wanted = []
        self._say(f"The slices beside it do not follow: {why}.", True)

    def _on_answers(self, session: CaseCorrections, stack: CarryStack, answers: carry_stack.CarryAnswers) -> None:
        self._masks.hide_preview()
        count = self._count
        count.follow += sum(self._show(session, stack, plane) for plane in answers.follow)
        count.outlined += sum(self._show(session, stack, plane) for plane in answers.outlined)
        count.back += sum(self._show(session, stack, plane) for plane in answers.back)
        if self._of == EVERY:
            count.follow += sum(carry_stack.is_free(session, stack.part, n) for n in answers.same)
            count.outlined += sum(carry_stack.is_free(session, stack.part, n) for n in answers.same_outlined)
        self._heard = _heard(session)  # what was taken back is no news of the network
        self._say(count.in_words(self._of))

    def _on_end(self, _: None) -> None:
        self._wanted = []

    def _show(self, session: CaseCorrections, stack: CarryStack, plane: PlanePrediction) -> bool:
        """Write a slice, unless it was answered by the network, drawn or reviewed meanwhile; tell whether it was."""
        part, number, settings = stack.part, plane.number, self._choice.segmenting()
        cache, was = part.cache, stack.shown.get(number)
        now = None if cache is None else cache.planes.get(number)
        same = now is was or (now is not None and was is not None and now.probability is was.probability)
        if part.mask is None or not same or not carry_stack.is_free(session, part, number):
            return False
        carry_stack.keep_own(part, stack.own.get(number))
        new = plane if settings == stack.settings else carry_stack.decided(plane, settings)
        return self._masks.show(part.mask, part.layout, new) is Shown.WRITTEN

    def _say(self, word: str, wrong: bool = False) -> None:
        """Add to what was said when it was asked, unless something else has been said since."""
        if word and self._state.quiet and self._state.message in (self._word, self._told):
            self._state.say(f"{self._word.text} {word}".strip(), wrong)
            self._told = self._state.message


def _stacks(session: CaseCorrections) -> list[tuple[CasePart, range]]:
    """Return the stacks in which anything is reviewed."""
    return [(part, stack_of(part, plane)) for part, plane in map(session.case.where, session.reviewed())]


def _heard(session: CaseCorrections) -> list[tuple[int, int]]:
    """Return what tells one answer of the network to a session's slices from the next."""
    return [(id(cache), cache.answers) for part in session.case.parts if (cache := part.cache) is not None]
