"""Text that is read in a dark theme and in a light one."""

import pytest
from magicgui.widgets import Label
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QWidget

from napari_unet_tumour.widgets.common.style import AMBER, GREEN, LIGHT, RED, ink, say


@pytest.mark.parametrize("colour", [RED, AMBER, GREEN])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_colours_stand_out_in_either_theme(qapp, qtbot, colour, theme):
    line = Label()
    qtbot.addWidget(line.native)
    palette = line.native.palette()
    palette.setColor(QPalette.ColorRole.WindowText, QColor("#f0f1f2" if theme == "dark" else "#3b3a39"))
    line.native.setPalette(palette)
    behind = luminance(QColor("#262930" if theme == "dark" else "#efebe9"))
    text = luminance(QColor(ink(line.native, colour)))
    low, high = sorted((behind, text))
    assert (high + 0.05) / (low + 0.05) > 4.5, "as WCAG 2.1 asks for text"
    say(line, "no scan: open one", colour)
    assert line.value == "no scan: open one"
    assert line.native.styleSheet() == f"color: {ink(line.native, colour)};"
    say(line, "done")
    assert line.native.styleSheet() == ""


def test_a_text_that_is_shown_follows_the_theme(qtbot):
    window, line = QWidget(), Label()
    qtbot.addWidget(window)
    line.native.setParent(window)
    window.setStyleSheet("QWidget { color: #f0f1f2; }")
    window.show()
    say(line, "check the mask", AMBER)
    dark = line.native.palette().windowText().color()
    window.setStyleSheet("QWidget { color: #3b3a39; }")
    light = line.native.palette().windowText().color()
    assert (dark, light) == (QColor(AMBER), QColor(LIGHT[AMBER]))
    window.setStyleSheet("QWidget { color: #f0f1f2; }")
    assert line.native.palette().windowText().color() == QColor(AMBER)
    say(line, "done")
    assert line.native.palette().windowText().color() == QColor("#f0f1f2")


def luminance(colour):
    parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.getRgbF()[:3]]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))
