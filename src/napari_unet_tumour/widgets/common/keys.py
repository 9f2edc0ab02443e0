"""All keys of this package with what they do, and how a key is bound."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SEGMENT_KEY = "Shift-S"
NEXT_KEY, TICK_KEY, CLICK_KEY, OUTLINE_KEY = "N", "R", "C", "Shift-C"
REVIEWED_NEXT_KEY = "Shift-R"
BRUSH_KEY, LOCK_KEY = "Shift-B", "Shift-L"
CONTOUR_KEY, RESET_KEY, HELP_KEY = "Shift-O", "Shift-W", "Shift-H"
# napari knows no name for this key and cannot bind it (widgets/common/keys_note.py).
ALL_KEYS_KEY = "?"

# Key, panel that must be open, what it does.
KEYS = (
    (SEGMENT_KEY, "Segment", "segment"),
    (NEXT_KEY, "Correct", "go to the slice to correct next"),
    (TICK_KEY, "Correct", "mark the slice as reviewed"),
    (REVIEWED_NEXT_KEY, "Correct", "mark the slice as reviewed, and go to the next one"),
    (CLICK_KEY, "Correct", "outline a lesion by clicks"),
    (OUTLINE_KEY, "Correct", "follow the clicked lesions to the neighbouring slices"),
    (BRUSH_KEY, "Correct or View", "next kind of brush: all pixels, range, up to edges"),
    (LOCK_KEY, "Correct or View", "lock or unlock the selected label"),
    (CONTOUR_KEY, "View", "show masks as outlines, or filled"),
    (RESET_KEY, "View", "reset window and level"),
    (HELP_KEY, "View", "show or hide these keys"),
    (ALL_KEYS_KEY, "Correct or View", "show or hide these keys above the scan"),
)
MOUSE = (
    ("Right-drag", "window (to the side) and level (up and down)"),
    ("Wheel, brush chosen", "through the slices"),
    ("Ctrl + wheel, brush chosen", "size of the brush"),
    ("Space held", "pan and zoom while a tool is chosen"),
)
# Keys of napari that mean something else while a panel is open: key, what napari does with it, and why.
TAKEN_OVER = ((CLICK_KEY, "napari:auto_contrast_once", "over a scan, C begins to click while Correct is open"),)


def keys_text() -> str:
    """Return a line per key."""
    keys = [f"{key}: {what} ({panel} panel)" for key, panel, what in KEYS]
    return "\n".join([*keys, *(f"{how}: {what}" for how, what in MOUSE)])


def bind_keys(owner: Any, calls: Iterable[tuple[str, Callable[[Any], Any]]]) -> list[str]:
    """Bind keys over a viewer or a layer; return those that are bound: one that the person has bound stays theirs."""
    bound = []
    for key, call in calls:
        with suppress(ValueError):
            owner.bind_key(key, call)
            bound.append(key)
    return bound


def pressed(call: Callable[[], None]) -> Callable[[Any], None]:
    """Return what a key is bound to; napari hands a layer or a viewer over, and wants a function with a name."""

    def on_key(owner: Any) -> None:
        call()

    return on_key
