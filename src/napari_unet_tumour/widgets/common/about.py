"""The last row of every panel: what the program is, and a button that copies what a bug report needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import Container, PushButton
from qtpy.QtWidgets import QApplication, QSizePolicy

from napari_unet_tumour.information import as_text, information
from napari_unet_tumour.widgets.common.style import ABOUT, flat, note

if TYPE_CHECKING:
    from magicgui.widgets import Widget


def about_row() -> Container[Widget]:
    """Return "Research use only" with the version, and the button "Copy information"."""
    button = PushButton(
        text="Copy information",
        tooltip="Copy versions, folders and plugins to the clipboard, to paste into a bug report.",
    )
    button.native.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
    button.changed.connect(copy_information)
    return flat([note(ABOUT), button])


def copy_information() -> None:
    """Put the installation's information on the clipboard; without the device, since that would load torch."""
    clipboard = QApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(as_text(information(device=False)))
