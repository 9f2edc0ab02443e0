"""What the View panel looks like; what it does is in widget.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, PushButton

from napari_unet_tumour.widgets.brush.view import BrushControls
from napari_unet_tumour.widgets.common.keys import CONTOUR_KEY, HELP_KEY, RESET_KEY, keys_text
from napari_unet_tumour.widgets.common.style import about, flat, note, picker, row

if TYPE_CHECKING:
    from magicgui.widgets import Widget

    from napari_unet_tumour.look.grey_window import Window

OWN = "Your own"


class LookView:
    """The parts of the panel, made and arranged."""

    def __init__(self) -> None:
        self._names = [OWN]
        self.image = note()
        self.preset = picker(
            "Window", "Which grey values are shown from black to white. Right-drag on the canvas changes it.",
            choices=self._offered,
        )  # fmt: skip
        self.window = note()
        self.reset = PushButton(text="Reset", tooltip=f"The window that the scan opens with (key {RESET_KEY}).")
        self.letters = CheckBox(
            text="Letters of direction",
            value=True,
            tooltip="At the edges of the canvas: left, right, anterior, posterior, head, feet of the patient.",
        )
        self.outline = CheckBox(
            text="Masks as outlines", value=False, tooltip=f"All masks as outlines, or filled (key {CONTOUR_KEY})."
        )
        self.brush = BrushControls()
        self.brush.lock.text = "Lock label"
        self.size = note()
        self.size.tooltip = "Size of the selected label of the selected mask; follows the brush."
        self.views = PushButton(
            text="Linked views", tooltip="Axial, coronal and sagittal view below the main view, with one crosshair."
        )
        self.surface = CheckBox(
            text="Surface of the mask",
            value=False,
            tooltip="The selected mask as a surface for the view in 3D; follows every change of the mask.",
        )
        self.surface_note = note()
        self.help = CheckBox(text="Keys and mouse", value=False, tooltip=f"Show all keys (key {HELP_KEY}).")
        self.keys = note(keys_text())
        self.keys.visible = False

    def rows(self) -> list[Widget]:
        """Return the rows from top to bottom."""
        window = row(self.preset, self.reset)
        masks = flat([self.outline, self.brush.lock])
        solid = flat([self.surface, self.views])
        shown = [self.image, window, self.window, self.letters, masks, self.brush.row(), self.size]
        return [*shown, solid, self.surface_note, self.help, self.keys]

    def actions(self) -> list[Widget]:
        """Return the rows that are always in sight."""
        return [flat([about()])]

    def offer(self, names: list[str]) -> None:
        """Offer windows by name."""
        self._names = [OWN, *names]
        self.preset.reset_choices()

    def show_window(self, name: str, window: Window | None) -> None:
        """Show what the canvas has."""
        self.preset.value = name if name in self._names else OWN
        self.window.value = "" if window is None else f"Level {window.level:.4g}, width {window.width:.4g}"

    def _offered(self, picker: Any) -> list[str]:
        # A function, since magicgui asks again whenever the widget is docked.
        return self._names
