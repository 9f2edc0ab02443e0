"""What a panel shows while there is nothing to work on: what to do first, with buttons that do it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import PushButton

from napari_unet_tumour.widgets.common.style import TEXT_WIDTH, flat, note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from magicgui.widgets import Widget


class StartView:
    """A line of text and a button per way to begin.

    Parameters
    ----------
    text : str
        What is missing.
    ways : sequence of (text, tooltip)
        The buttons.
    """

    def __init__(self, text: str, ways: Sequence[tuple[str, str]]) -> None:
        self.text = note(text)
        self.text.native.setMinimumWidth(TEXT_WIDTH)
        self.buttons = [PushButton(text=name, tooltip=tip) for name, tip in ways]
        self._row = flat(list(self.buttons))
        self.show(False)

    def rows(self) -> list[Widget]:
        """Return the rows from top to bottom."""
        return [self.text, self._row]

    def connect(self, *calls: Callable[[], Any]) -> None:
        """Let the buttons call these, in their order."""
        for button, call in zip(self.buttons, calls, strict=True):
            button.native.clicked.connect(partial(_without_arguments, call))

    def show(self, shown: bool) -> None:
        """Show it, or take it away."""
        self.text.visible = self._row.visible = shown


def _without_arguments(call: Callable[[], Any], *given: Any) -> None:
    call()


def start_with_scan() -> StartView:
    """Return what is shown while there is no scan."""
    ways = [
        ("Open a scan…", "NIfTI, DICOM (any file of the series), NRRD, pictures and more."),
        ("Try the sample", "A made-up head with two lesions."),
    ]
    return StartView("There is no scan yet. Open one, or drag a file or a DICOM folder into the window.", ways)


def start_with_mask() -> StartView:
    """Return what is shown while there is no mask to measure."""
    ways = [
        ("Open a mask…", "A file of a mask, for example NIfTI or DICOM SEG."),
        ("Segment…", "Let a network outline the tumour in the Segment panel."),
    ]
    return StartView("There is no mask to measure yet. Open one, or make one.", ways)
