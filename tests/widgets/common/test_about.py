"""The button that copies what a bug report needs."""

from qtpy.QtWidgets import QApplication

from napari_unet_tumour import __version__
from napari_unet_tumour.widgets.common.about import information_button


def test_the_button_copies_the_installation_information(qtbot):
    button = information_button()
    qtbot.addWidget(button.native)
    button.native.click()
    assert __version__ in QApplication.clipboard().text()
