"""What every button of the Correct panel says, and when it can be pressed: all of it follows from the state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_unet_tumour.widgets.common.keys import CLICK_KEY, NEXT_KEY, REVIEWED_NEXT_KEY, TICK_KEY
from napari_unet_tumour.widgets.correct.state import Phase

if TYPE_CHECKING:
    from napari_unet_tumour.widgets.correct.state import CorrectState


@dataclass(frozen=True)
class Button:
    """What a button says, and whether it can be pressed."""

    text: str
    tooltip: str
    enabled: bool = True


TELL_CLICK = (
    "Click lesions: left adds, right or Alt removes, a drag is a box, Shift begins another lesion. "
    "Delete takes a click back, Esc ends. One undo step per click."
)
BUTTONS = {
    "segment": Button("Segment", "Segment every slice that is not reviewed. Your strokes stay."),
    "restore": Button("Restore", "Bring back masks, reviewed slices and model."),
    "afresh": Button("Start over", "Begin anew; a copy of the earlier corrections is kept."),
    "next": Button(f"Next slice ({NEXT_KEY})", "Go to the slice to correct next."),
    "tick": Button(
        f"Reviewed ({TICK_KEY})",
        f"This slice is right as it is; an empty one has no tumour. {REVIEWED_NEXT_KEY}: and go on.",
    ),
    "click": Button(f"Click ({CLICK_KEY})", TELL_CLICK),
    "outline": Button(
        "Outline in 3D", "From the clicks on this slice, outline the lesion on its neighbours (Shift-C). Again: cancel."
    ),
    "smooth": Button("Smooth", "Round the outline on this slice. One undo step."),
    "specks": Button("Remove specks", "Remove pieces much smaller than the largest on this slice. One undo step."),
    "holes": Button("Fill holes", "Fill the holes of the mask on this slice. One undo step."),
    "between": Button(
        "Fill between", "Draw the slices between the nearest corrected ones on either side. One undo step."
    ),
    "snap": Button("Snap to edges", "Move the outline on this slice to edges of the image nearby. One undo step."),
    "run": Button("Fine-tune", "Let a copy of the network learn from the reviewed slices."),
    "measure": Button("Measure…", "Measure this mask in the Lesion report: volumes, diameters, saving."),
    "save": Button(
        "Save all", "Measure the mask, then save mask, table and report beside the scan, under names that are free."
    ),
    "best": Button("Best so far", "Stop learning, and compare the best network so far."),
    "discard": Button("Discard", "Stop learning; model and mask stay as they were."),
    "on": Button("Go on", "Let it learn on."),
    "accept": Button("Accept", "Keep this version, make it the default, and segment the slices not reviewed."),
    "reject": Button("Reject", "Throw it away; model and mask stay as they were."),
}
TOOLS = ("smooth", "specks", "holes", "between", "snap")
# What is under way, as the tooltip of a button that has to wait for it says.
WAITS = {
    Phase.OPENING: "The scan is being read: a moment.",
    Phase.LEARNING: "The network is learning: wait until it is done, or cancel it.",
    Phase.SAVING: "The new version is being saved: a moment.",
    Phase.ADDING_CLASS: "The class is being added to the model: wait until it is done, or cancel it.",
    Phase.RESTORING: "The earlier corrections are being restored: a moment.",
}
SHORT_WAITS = (Phase.OPENING, Phase.SAVING, Phase.RESTORING)
BLOCKED = {
    **dict.fromkeys(("next", "tick", "click", "outline", *TOOLS), (Phase.OPENING,)),
    **dict.fromkeys(("restore", "afresh"), (Phase.OPENING, Phase.RESTORING)),
    **dict.fromkeys(("accept", "reject"), (Phase.OPENING, Phase.SAVING)),
    "segment": (*SHORT_WAITS, Phase.LEARNING, Phase.ADDING_CLASS),
    "run": SHORT_WAITS,
}
# Buttons that stop what they began, or what stands in their way.
CANCELS = {
    ("run", Phase.LEARNING): "Stop learning: you are asked what to keep.",
    ("run", Phase.ADDING_CLASS): "Add no class: model and mask stay as they are.",
    ("segment", Phase.SEGMENTING): "Stop: finished slices stay.",
    ("segment", Phase.LOOKING): "Stop asking the network; the mask stays as it is.",
}


def about_time(seconds: float) -> str:
    """Return how long a fine-tuning takes on this computer in words, "" where that is not known yet."""
    return f"It takes about {seconds:.0f} s on this computer, less for one or two slices." if seconds else ""


def buttons(state: CorrectState) -> dict[str, Button]:
    """Return every button by name, as it is in a state."""
    phase, found = state.phase, dict(BUTTONS)
    found["run"] = replace(found["run"], tooltip=f"{found['run'].tooltip} {about_time(state.estimate)}".rstrip())
    for name, button in found.items():
        if phase in BLOCKED.get(name, ()):
            found[name] = replace(button, tooltip=WAITS[phase], enabled=False)
        elif (name, phase) in CANCELS:
            found[name] = Button("Cancel", CANCELS[name, phase])
    found["best"] = replace(found["best"], enabled=state.best)
    return found
