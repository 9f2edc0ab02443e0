"""The keys of the View panel, and all keys of this package with what they do."""

from __future__ import annotations

from napari_unet_tumour.widgets.correct.keys import CLICK_KEY, NEXT_KEY, OUTLINE_KEY, TICK_KEY

CONTOUR_KEY, RESET_KEY, HELP_KEY = "Shift-O", "Shift-W", "Shift-H"

# Key, panel that must be open, what it does.
KEYS = (
    ("Shift-S", "Segment", "segment"),
    (NEXT_KEY, "Correct", "go to the slice most worth correcting"),
    (TICK_KEY, "Correct", "mark the slice as reviewed"),
    (CLICK_KEY, "Correct", "outline a lesion by clicks"),
    (OUTLINE_KEY, "Correct", "follow the clicked lesions to the neighbouring slices"),
    (CONTOUR_KEY, "View", "show masks as outlines, or filled"),
    (RESET_KEY, "View", "reset window and level"),
    (HELP_KEY, "View", "show or hide these keys"),
)
MOUSE = (
    ("Right-drag", "window (to the side) and level (up and down)"),
    ("Wheel, brush chosen", "through the slices"),
    ("Ctrl + wheel, brush chosen", "size of the brush"),
    ("Space held", "pan and zoom while a tool is chosen"),
)


def keys_text() -> str:
    """Return a line per key."""
    keys = [f"{key}: {what} ({panel} panel)" for key, panel, what in KEYS]
    return "\n".join([*keys, *(f"{how}: {what}" for how, what in MOUSE)])
