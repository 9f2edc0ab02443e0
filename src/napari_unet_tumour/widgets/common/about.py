"""A button that copies what a bug report needs."""

from __future__ import annotations

from magicgui.widgets import PushButton
from qtpy.QtWidgets import QApplication, QSizePolicy

from napari_unet_tumour.information import as_text, information


def information_button() -> PushButton:
    """Return the button "Copy information"."""
    button = PushButton(
        text="Copy information",
        tooltip="Copy versions, folders and plugins to the clipboard, to paste into a bug report.",
    )
    button.native.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
    button.changed.connect(copy_information)
    return button


def copy_information() -> None:
    """Put the installation's information on the clipboard; without the device, since that would load torch."""
    clipboard = QApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(as_text(information(device=False)))
