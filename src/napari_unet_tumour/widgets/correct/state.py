"""What the Correct panel is doing, in one place; services write it, views only subscribe. Knows no Qt and no napari."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from psygnal import SignalGroupDescriptor

if TYPE_CHECKING:
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections, SliceState
    from napari_unet_tumour.widgets.correct.finetune_job import FineTuneResult


class Phase(Enum):
    """What the panel is doing; of several things at once the first one counts."""

    OPENING = "opening"
    LEARNING = "learning"
    SAVING = "saving"
    ADDING_CLASS = "adding a class"
    SEGMENTING = "segmenting"
    LOOKING = "looking at the slices"
    RESTORING = "restoring"
    DECIDING = "accept or reject"
    READY = "ready"
    NO_CASE = "no case"


BUSY = (Phase.LEARNING, Phase.SEGMENTING, Phase.LOOKING)
WORK = tuple(Phase)[: list(Phase).index(Phase.DECIDING)]


@dataclass(frozen=True)
class Message:
    """The line of status; `wrong` for what went wrong."""

    text: str = ""
    wrong: bool = False


@dataclass(frozen=True)
class LearningStep:
    """How far the network has learnt; without `seconds` it begins now.

    Parameters
    ----------
    budget, seconds : float
        How long it learns, and has learnt.
    loss, score : float, optional
        Loss, and mean Dice of the slices that are kept for scoring.
    """

    budget: float
    seconds: float | None = None
    loss: float | None = None
    score: float | None = None


@dataclass(eq=False)
class CorrectState:
    """The state of one panel. Every field has an event of its name, emitted when it gets another value.

    Parameters
    ----------
    phase : Phase
        What the panel is doing; follows from `switch`, `corrections` and `result`.
    corrections : CaseCorrections, optional
        What is corrected of the open case.
    generation : int
        Another one for every case; answers carry it, and are dropped where it is no longer this one.
    slices : list of SliceState
        What is known of each slice of the case.
    slice : int, optional
        The one on screen.
    offer : str
        What an earlier session left and may be restored, in words.
    result : FineTuneResult, optional
        A fine-tuned model to accept or reject.
    stopping : bool
        Whether the person is asked what a cancelled fine-tuning leaves.
    best : bool
        Whether there is a model to keep then.
    step : LearningStep, optional
        How far the network has learnt.
    estimate : float
        About how many seconds a fine-tuning takes on this computer; 0 where that is not known yet.
    clicking : bool
        Whether Click mode is on.
    message : Message
        The line of status.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    phase: Phase = Phase.NO_CASE
    corrections: CaseCorrections | None = None
    generation: int = 0
    slices: tuple[SliceState, ...] = ()
    slice: int | None = None
    offer: str = ""
    result: FineTuneResult | None = None
    stopping: bool = False
    best: bool = False
    step: LearningStep | None = None
    estimate: float = 0.0
    clicking: bool = False
    message: Message = Message()

    def __post_init__(self) -> None:
        self._under_way: list[Phase] = []

    # ---- what the services write -------------------------------------------------------------------

    def say(self, text: str, wrong: bool = False) -> None:
        """Show a line of status."""
        self.message = Message(text, wrong)

    def switch(self, before: Phase | None, now: Phase | None) -> None:
        """Note that one kind of work took the place of another; None where there was none, or is none now."""
        if before is not None:
            self._under_way.remove(before)
        if now is not None:
            self._under_way.append(now)
        self._settle()

    def open(self, corrections: CaseCorrections) -> None:
        """Begin to work on a case."""
        self.corrections = corrections
        self._settle()

    def close(self) -> None:
        """Let go of the case: what is under way for it is dropped."""
        self.generation += 1
        self.corrections, self.slices, self.slice, self.offer = None, (), None, ""
        self._settle()

    def show_result(self, result: FineTuneResult | None) -> None:
        """Ask whether to accept a model; None: no more."""
        self.result = result
        self._settle()

    def _settle(self) -> None:
        rest = Phase.NO_CASE if self.corrections is None else Phase.READY if self.result is None else Phase.DECIDING
        self.phase = next((phase for phase in WORK if phase in self._under_way), rest)

    # ---- what others ask ---------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether the network learns or segments."""
        return any(phase in self._under_way for phase in BUSY)

    @property
    def learning(self) -> bool:
        """Whether the network learns, or what it has learnt is compared."""
        return Phase.LEARNING in self._under_way

    @property
    def quiet(self) -> bool:
        """Whether the line of status is free: it is not while it is about a fine-tuning."""
        return not self.learning and self.result is None

    def is_reviewed(self) -> bool:
        """Tell whether the slice on screen is reviewed."""
        return self.corrections is not None and self.slice is not None and self.corrections.is_reviewed(self.slice)
