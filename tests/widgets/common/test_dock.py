"""The three panels in one window: small enough for a laptop, the next action in sight, every control explained."""

import re
from itertools import pairwise

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDockWidget,
    QLabel,
    QLineEdit,
    QScrollBar,
    QSlider,
    QTableWidget,
    QTextEdit,
    QWidget,
)

from napari_unet_tumour.widgets.common.run_on import THERE
from napari_unet_tumour.widgets.common.style import ABOUT

NAMES = ("Segment", "Correct and fine-tune", "Lesion report")
LONG = "a name of a layer that is much longer than any dock of three hundred pixels can show"
PRIVATE = r"\blone\b|mirror image|scheduler|shelf|held.out|budget"
CONTROLS = (QAbstractButton, QComboBox, QAbstractSpinBox, QLineEdit, QSlider, QTextEdit, QTableWidget)


class Three:
    """A window with a scan, a mask and the three panels, 1024 x 768 pixels large."""

    def __init__(self, viewer, qtbot, settle):
        self.viewer, self._qtbot = viewer, qtbot
        self.window = viewer.window._qt_window
        self.window.resize(1024, 768)
        self.docks, self.widgets = {}, {}
        for name in NAMES:
            self.docks[name], self.widgets[name] = viewer.window.add_plugin_dock_widget("napari-unet-tumour", name)
            settle()
        self._settle = settle

    def show(self, name):
        self.docks[name].raise_()
        self._settle()
        return self.widgets[name]

    def in_sight(self, part):
        part = getattr(part, "native", part)
        inside = part.visibleRegion().boundingRect()
        return part.isVisible() and inside.size() == part.size()


@pytest.fixture
def settle(qtbot):
    def wait():
        for _ in range(5):
            QApplication.processEvents()
            qtbot.wait(20)

    return wait


@pytest.fixture
def three(make_napari_viewer, qtbot, scan, instant, settle):
    """Return what opens the window; no fixture may hold it, napari looks for what outlives a test."""

    def open_():
        viewer = make_napari_viewer(show=True)
        data = scan(6, 64, 64)
        viewer.add_image(data, name=LONG)
        viewer.add_labels((data > 127).astype(np.uint8), name="drawn")
        made = Three(viewer, qtbot, settle)
        qtbot.waitUntil(lambda: made.widgets[NAMES[1]].session is not None, timeout=30_000)
        settle()
        return made

    return open_


def controls(widget):
    """Yield what a person can use; not the parts that other controls are made of."""
    for one in widget.native.findChildren(QWidget):
        parts = (QAbstractSpinBox, QComboBox, QSlider, QScrollBar, QTableWidget)
        inner = isinstance(one.parent(), parts) or isinstance(one, QScrollBar)
        unused = isinstance(one, QAbstractButton) and not one.text()  # an answer of a question that is not asked
        if isinstance(one, CONTROLS) and not inner and not unused and "qt_scrollarea" not in one.objectName():
            yield one


def tip(one):
    """Return the tooltip that the mouse finds: the control's own, or that of what it is a part of."""
    while one is not None and not one.toolTip():
        one = one.parent()
    return "" if one is None else one.toolTip()


def check_the_window_fits_a_laptop_and_the_next_action_is_in_sight(three, settle):
    least = three.window.minimumSizeHint()
    assert least.width() <= 1024
    assert least.height() <= 768
    assert (three.window.width(), three.window.height()) == (1024, 768)
    segment = three.show("Segment")
    beside = three.window.tabifiedDockWidgets(three.docks["Segment"])
    assert set(beside) == {three.docks[name] for name in NAMES[1:]}
    for name, widget in three.widgets.items():
        needed = widget.content.native.minimumSizeHint().width()
        assert needed + 13 <= widget.native.minimumSizeHint().width() <= 320 or needed <= 320 - 13 - 12, name
        assert widget.native.minimumSizeHint().height() <= 400
    assert three.in_sight(segment._panel.run)
    correct = three.show("Correct and fine-tune")
    panel = correct._panel
    for part in (panel.next, panel.tick, panel.run, panel.strip, panel.status):
        assert three.in_sight(part)
    panel.deciding.visible = True
    panel.pictures.setVisible(True)
    settle()
    for part in (panel.accept, panel.reject, panel.next):
        assert three.in_sight(part)
    panel.question.ask("Which one of these? " * 6, [("One", "1", print), ("The other", "2", print)])
    settle()
    assert three.in_sight(panel.accept)
    assert panel.question.text.native.height() >= panel.question.text.native.heightForWidth(270) // 2
    assert three.in_sight(three.show("Lesion report")._panel.run)


def check_every_control_says_what_it_does_and_no_text_is_cut_off(three):
    for name in NAMES:
        widget = three.show(name)
        for one in controls(widget):
            assert tip(one), f"{name}: {type(one).__name__} {getattr(one, 'text', str)()} has no tooltip"
            assert not re.search(PRIVATE, tip(one), re.I), tip(one)
            if isinstance(one, QAbstractButton) and one.isVisible():
                needs = one.fontMetrics().horizontalAdvance(one.text().replace("&", ""))
                assert one.width() >= needs + 8, f"{name}: {one.text()} is cut off"
                assert not re.search(PRIVATE, one.text(), re.I)
        assert any(three.in_sight(one) and one.toolTip() == ABOUT for one in widget.native.findChildren(QLabel))


def check_a_long_layer_name_is_shown_in_the_tooltip(three, qtbot, settle):
    box = three.show("Segment")._panel.image.native
    assert box.currentText() == LONG
    whole = box.grab().toImage()
    box.setItemText(box.currentIndex(), LONG + " and longer still")
    settle()
    assert box.grab().toImage() == whole, "the end is cut off where the dots are"
    box.setItemText(box.currentIndex(), "short")
    settle()
    assert box.grab().toImage() != whole


def check_the_keyboard_reaches_every_part_in_the_order_of_the_rows(three, qtbot):
    correct = three.show("Correct and fine-tune")
    panel = correct._panel
    correct.go(2)
    panel.strip.setFocus()
    for key, number in ((Qt.Key.Key_Right, 3), (Qt.Key.Key_Left, 2), (Qt.Key.Key_End, 5), (Qt.Key.Key_Home, 0)):
        qtbot.keyClick(panel.strip, key)
        assert three.viewer.dims.current_step[0] == number
    for custom in (panel.strip, panel.pictures):
        assert custom.focusPolicy() & Qt.FocusPolicy.TabFocus
    chain, one = [], panel.image.native
    for _ in range(3000):
        chain.append(one)
        one = one.nextInFocusChain()
    wanted = [panel.image, panel.mask, panel.model, panel.segment, panel.paint, panel.seconds, panel.device,
              panel.strip, panel.next, panel.tick, panel.run]  # fmt: skip
    natives = [getattr(part, "native", part) for part in wanted]
    places = [next(n for n, one in enumerate(chain) if one is native) for native in natives]
    assert places == sorted(places)


def check_paint_paints(three, qtbot, settle):
    correct = three.show("Correct and fine-tune")
    panel, mask = correct._panel, three.viewer.layers["drawn"]
    mask.mode, mask.selected_label = "pan_zoom", 3
    three.viewer.layers.selection.active = three.viewer.layers[LONG]
    panel.paint.native.activated.emit(panel.paint.native.currentIndex())  # chosen again: it was "tumour" before
    assert (mask.mode, mask.selected_label) == ("paint", 1)
    assert three.viewer.layers.selection.active == mask
    panel.paint.value = 0
    assert mask.mode == "erase"


def check_run_on_is_one_control(three):
    panel = three.show("Segment")._panel
    assert list(panel.form["device"].choices)[:2] == ["auto", "cpu"]
    assert panel.address_row.native.isHidden()
    panel.place.value = THERE
    assert not panel.address_row.native.isHidden()
    assert three.widgets["Segment"]._choice.settings.device == "auto"
    panel.form["device"].value = "cpu"
    assert panel.address_row.native.isHidden()
    assert three.widgets["Segment"]._choice.settings.device == "cpu"


def check_a_panel_that_was_moved_away_is_left_there(three, settle):
    dock = three.docks["Segment"]
    three.window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, dock)
    settle()
    assert three.window.dockWidgetArea(dock) == Qt.DockWidgetArea.LeftDockWidgetArea
    assert isinstance(dock, QDockWidget)


def test_the_window(three, qtbot, settle):
    """All in one window: opening one takes seconds."""
    opened = three()
    check_the_window_fits_a_laptop_and_the_next_action_is_in_sight(opened, settle)
    check_every_control_says_what_it_does_and_no_text_is_cut_off(opened)
    check_a_long_layer_name_is_shown_in_the_tooltip(opened, qtbot, settle)


def test_what_the_controls_do(three, qtbot, settle):
    opened = three()
    check_the_keyboard_reaches_every_part_in_the_order_of_the_rows(opened, qtbot)
    check_paint_paints(opened, qtbot, settle)
    check_run_on_is_one_control(opened)
    check_a_panel_that_was_moved_away_is_left_there(opened, settle)


def test_rows_without_flowing_texts_scroll_and_never_overlap(qtbot):
    from magicgui.widgets import Label

    from napari_unet_tumour.widgets.common.dock import Panel

    rows = [Label(value=str(n)) for n in range(6)]
    for row in rows:
        row.native.setMinimumHeight(80)
    panel = Panel(rows, [Label(value="below")], "Rows")
    qtbot.addWidget(panel.native)
    panel.native.resize(318, 300)
    panel.native.show()
    qtbot.waitExposed(panel.native)
    qtbot.waitUntil(lambda: panel.area.verticalScrollBar().maximum() > 0, timeout=5000)
    rows[-1].native.hide()
    qtbot.waitUntil(lambda: panel.area.widget().height() < 6 * 80, timeout=5000)
    shown = [row.native.geometry() for row in rows[:-1]]
    assert not any(one.intersects(other) for one, other in pairwise(shown))
