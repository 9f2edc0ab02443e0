"""The state of the Correct panel, without a window: phases, events, and the buttons that follow from them."""

from types import SimpleNamespace

import pytest

from napari_unet_tumour.widgets.correct.buttons import BUTTONS, TOOLS, buttons
from napari_unet_tumour.widgets.correct.case_corrections import SliceState
from napari_unet_tumour.widgets.correct.messages import place
from napari_unet_tumour.widgets.correct.state import BUSY, WORK, CorrectState, Message, Phase


class Corrections(SimpleNamespace):
    """Stands in for the corrections of a case of four slices: 0 and 2 are reviewed, 2 is kept for scoring."""

    case = range(4)

    def reviewed(self):
        return [0, 2]

    def is_reviewed(self, number):
        return number in (0, 2)

    def is_held_out(self, number):
        return number == 2

    def state(self, number):
        return SliceState(("reviewed", "edited", "held out", "")[number])


def state_in(phase):
    """Return a state in a phase, as the services bring it there."""
    state = CorrectState()
    if phase is not Phase.NO_CASE:
        state.open(Corrections())
    if phase is Phase.DECIDING:
        state.show_result(SimpleNamespace())
    elif phase in WORK:
        state.switch(None, phase)
    assert state.phase is phase
    return state


# By button: in which phases it cannot be pressed.
OPENING, SAVING, RESTORING = {Phase.OPENING}, {Phase.SAVING}, {Phase.RESTORING}
DISABLED = {
    **{name: set() for name in BUTTONS},
    **dict.fromkeys(("next", "tick", "click", "outline", *TOOLS), OPENING),
    "restore": OPENING | RESTORING,
    "afresh": OPENING | RESTORING,
    "accept": OPENING | SAVING,
    "reject": OPENING | SAVING,
    "run": OPENING | SAVING | RESTORING,
    "segment": OPENING | SAVING | RESTORING | {Phase.LEARNING, Phase.ADDING_CLASS},
    "best": set(Phase),  # until there is a model to keep
}
# Which buttons cancel, and in which phases.
CANCEL = {"run": {Phase.LEARNING, Phase.ADDING_CLASS}, "segment": {Phase.SEGMENTING, Phase.LOOKING}}


@pytest.mark.parametrize("phase", Phase)
def test_every_button_in_every_phase(phase):
    found = buttons(state_in(phase))
    assert found.keys() == BUTTONS.keys()
    for name, button in found.items():
        assert button.enabled == (phase not in DISABLED[name]), name
        assert button.text == ("Cancel" if phase in CANCEL.get(name, ()) else BUTTONS[name].text), name
        assert button.tooltip.endswith("."), name
        same = button.tooltip == BUTTONS[name].tooltip
        assert same == (button.text != "Cancel" and (button.enabled or name == "best")), "it says why it waits"


def test_the_best_so_far_can_be_kept_once_there_is_one():
    state = state_in(Phase.LEARNING)
    state.best = True
    assert buttons(state)["best"].enabled


def test_fine_tune_says_how_long_it_takes():
    state = state_in(Phase.READY)
    state.estimate = 12.4
    assert buttons(state)["run"].tooltip.endswith("It takes about 12 s on this computer, less for one or two slices.")
    state.switch(None, Phase.LEARNING)
    assert "12 s" not in buttons(state)["run"].tooltip


@pytest.mark.parametrize("second", WORK)
@pytest.mark.parametrize("first", WORK)
def test_of_two_things_at_once_the_first_one_counts_and_the_other_is_not_forgotten(first, second):
    state = state_in(Phase.READY)
    state.switch(None, first)
    state.switch(None, second)
    assert state.phase is min(first, second, key=WORK.index)
    assert state.busy == (first in BUSY or second in BUSY)
    state.switch(first, None)
    assert state.phase is second
    state.switch(second, None)
    assert state.phase is Phase.READY


def test_a_result_waits_while_slices_are_segmented():
    state = state_in(Phase.DECIDING)
    assert not state.quiet
    state.switch(None, Phase.SEGMENTING)
    assert state.phase is Phase.SEGMENTING
    state.switch(Phase.SEGMENTING, None)
    assert state.phase is Phase.DECIDING
    state.show_result(None)
    assert (state.phase, state.quiet) == (Phase.READY, True)


def test_a_case_that_closes_takes_its_slices_along_and_outdates_what_is_under_way():
    state = state_in(Phase.READY)
    state.slices, state.slice, state.offer = (SliceState("edited"),), 0, "1 edited"
    before = state.generation
    state.close()
    assert (state.corrections, state.slices, state.slice, state.offer) == (None, (), None, "")
    assert state.generation != before
    assert state.phase is Phase.NO_CASE


def test_views_hear_of_changes_and_of_nothing_else():
    state, heard = CorrectState(), []
    state.events.connect(lambda event: heard.append((event.signal.name, event.args[0])))
    state.say("Reading…")
    state.say("Reading…")
    state.say("Reading…", wrong=True)
    state.switch(None, Phase.OPENING)
    state.switch(Phase.OPENING, None)
    assert heard == [
        ("message", Message("Reading…")), ("message", Message("Reading…", True)),
        ("phase", Phase.OPENING), ("phase", Phase.NO_CASE),
    ]  # fmt: skip
    state.events.disconnect()
    state.say("Nobody hears this.")
    assert len(heard) == 4


@pytest.mark.parametrize(
    ("number", "text", "reviewed"),
    [
        (None, "No slice of this scan is on screen.", False),
        (0, "Slice 1 of 4: reviewed, locked. 2 reviewed, 1 of them kept for scoring.", True),
        (1, "Slice 2 of 4: edited. 2 reviewed, 1 of them kept for scoring.", False),
        (2, "Slice 3 of 4: kept for scoring, locked. 2 reviewed, 1 of them kept for scoring.", True),
        (3, "Slice 4 of 4: nothing yet. 2 reviewed, 1 of them kept for scoring.", False),
    ],
)
def test_where_the_person_is(number, text, reviewed):
    state = state_in(Phase.READY)
    assert place(CorrectState()) == ""
    state.slice = number
    assert (place(state), state.is_reviewed()) == (text, reviewed)
