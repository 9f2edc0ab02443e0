from qtpy.QtWidgets import QApplication

from napari_unet_tumour import __version__
from napari_unet_tumour.widgets.common.about import about_row


def test_the_button_copies_what_a_report_needs(qtbot):
    row = about_row()
    qtbot.addWidget(row.native)
    text, button = row
    assert "not a medical device" in text.value
    button.native.click()
    copied = QApplication.clipboard().text()
    assert copied.startswith("napari-unet-tumour\n")
    assert __version__ in copied
    assert "\ndevice\n" not in copied, "that would load torch"
