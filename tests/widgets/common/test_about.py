"""The button that copies what a bug report needs."""

from qtpy.QtWidgets import QApplication

from napari_unet_tumour import __version__
from napari_unet_tumour.widgets.common.about import information_button


def test_the_button_copies_the_installation_information(qtbot):
    button = information_button()
    qtbot.addWidget(button.native)
    button.native.click()
    copied = QApplication.clipboard().text()
    assert copied.startswith("napari-unet-tumour\n")
    assert __version__ in copied
    assert "\ndevice\n" not in copied, "that would load torch"
