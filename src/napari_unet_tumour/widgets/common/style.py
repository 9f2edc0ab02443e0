"""Parts that all panels are made of: pickers, rows, notes, buttons and bars, and how they look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.application import use_app
from magicgui.widgets import ComboBox, Container, Label
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QComboBox, QSizePolicy, QStyle, QStyleOptionComboBox, QStylePainter, QToolTip, QWidget

from napari_unet_tumour.version import __version__

if TYPE_CHECKING:
    from magicgui.widgets import Widget

ABOUT = f"Research use only: not a medical device. napari-unet-tumour {__version__}"
TEXT_WIDTH = 270
MIDDLE = 120  # lightness: above it a text is for a dark background
SHORT_ABOUT = "Research use only: not a medical device."
RED, AMBER, GREEN = "#ff6b61", "#e6a23c", "#34c759"
# The same for text in a light theme.
LIGHT = {RED: "#b3261e", AMBER: "#8a5300", GREEN: "#1b7a36"}


def strong(button: Any, height: int = 34) -> None:
    """Let a magicgui button be seen as the one to press."""
    button.native.setMinimumHeight(height)
    button.native.setStyleSheet("font-weight: bold;")


def thin(bar: Any) -> None:
    """Make a magicgui progress bar a line that keeps its place while it is hidden, and hide it."""
    policy = bar.native.sizePolicy()
    policy.setRetainSizeWhenHidden(True)
    bar.native.setSizePolicy(policy)
    bar.native.setTextVisible(False)
    bar.native.setFixedHeight(6)
    bar.visible = False


def ink(widget: QWidget, colour: str) -> str:
    """Return a colour of text as it is read well in a widget's theme."""
    around = widget.parentWidget() or widget  # the widget's own text may have a colour already
    text = around.palette().windowText().color()
    return colour if text.lightness() > MIDDLE else LIGHT[colour]


def say(line: Any, text: str, colour: str = "") -> None:
    """Show text in a magicgui label, e.g. an error in `RED`; else in the colour of the theme."""
    line.value = text
    native = line.native
    themed = native.findChild(_ThemedText) or _ThemedText(native)
    themed.show_in(colour)


class _ThemedText(QObject):
    """The colour of a label's text, which follows the theme."""

    def __init__(self, native: QWidget) -> None:
        super().__init__(native)
        self._native, self._colour = native, ""
        native.installEventFilter(self)

    def show_in(self, colour: str) -> None:
        """Show the text in a colour from now on; "" is that of the theme."""
        self._colour = colour
        style = f"color: {ink(self._native, colour)};" if colour else ""
        if self._native.styleSheet() != style:  # a new style is costly even when it is the same
            self._native.setStyleSheet(style)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Look at the theme again when it changes."""
        if event is not None and event.type() == QEvent.Type.StyleChange:
            self.show_in(self._colour)
        return False


class StatusLine:
    """What a panel's view has that shows a line of status in its `status`."""

    status: Any

    def say(self, text: str, wrong: bool = False) -> None:
        """Show one line of status; errors in red."""
        say(self.status, text, RED if wrong else "")


def two_lines(status: Any) -> None:
    """Keep room for a second line, so that the rows below do not jump."""
    status.native.setMinimumHeight(2 * status.native.fontMetrics().lineSpacing() + 2)
    status.native.setAlignment(Qt.AlignmentFlag.AlignTop)


def picker(label: str, tooltip: str, choices: Any = (), value: Any = None, nullable: bool = False) -> ComboBox:
    """Return a picker that may be narrower than its choices; `nullable` offers "none" too."""
    chosen = {} if value is None else {"value": value}
    box = ComboBox(label=label, choices=choices, tooltip=tooltip, nullable=nullable, **chosen)
    if nullable:
        box.null_string = "none"
    shrink(box.native)
    return box


def shrink(native: QComboBox) -> None:
    """Let a picker be narrower than its longest choice: layer names can be long, docks are not."""
    native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    native.setMinimumContentsLength(4)
    native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    Elided(native)


class Elided(QObject):
    """Ends a choice that is too long for its picker in "…", and shows all of it in the tooltip."""

    def __init__(self, box: QComboBox) -> None:
        super().__init__(box)
        self._box = box
        box.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Paint in place of the picker where its text is too long; put the text before its tooltip."""
        box = self._box
        if event is None or watched is not box:
            return False
        if event.type() == QEvent.Type.ToolTip and box.currentText():
            QToolTip.showText(event.globalPos(), f"{box.currentText()}\n{box.toolTip()}".strip(), box)  # type: ignore[attr-defined]
            return True
        return event.type() == QEvent.Type.Paint and self._paint()

    def _paint(self) -> bool:
        box, option = self._box, QStyleOptionComboBox()
        option.initFrom(box)
        option.subControls = QStyle.SubControl.SC_All
        option.currentText, style = box.currentText(), box.style()
        if style is None:
            return False
        edit = QStyle.SubControl.SC_ComboBoxEditField
        room = style.subControlRect(QStyle.ComplexControl.CC_ComboBox, option, edit, box).width() - 4
        short = box.fontMetrics().elidedText(box.currentText(), Qt.TextElideMode.ElideRight, max(room, 1))
        if short == box.currentText():
            return False
        option.currentText = short
        painter = QStylePainter(box)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()
        return True


def row(first: Any, *more: Any) -> Container[Widget]:
    """Return widgets side by side behind the first one's caption."""
    caption = Label(value=first.label)
    caption.min_width = use_app().get_obj("get_text_width")("Smallest object ")
    caption.tooltip = first.tooltip
    return flat([caption, first, *more])


def flat(widgets: list[Any]) -> Container[Widget]:
    """Return widgets side by side, without captions."""
    beside: Container[Widget] = Container(widgets=widgets, layout="horizontal", labels=False)
    beside.margins = (0, 0, 0, 0)
    return beside


def about(text: str = SHORT_ABOUT) -> Label:
    """Return the line that stands below every panel; its tooltip says all."""
    line = Label(value=text, tooltip=ABOUT)
    line.native.setStyleSheet("font-style: italic;")  # apart from the panel's own texts, but as well read
    line.native.setMinimumWidth(60)
    return line


def note(text: str = "") -> Label:
    """Return a text that breaks into lines."""
    label = Label(value=text)
    label.native.setWordWrap(True)
    label.native.setTextFormat(Qt.TextFormat.PlainText)
    label.native.setMinimumWidth(60)
    policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
    policy.setHeightForWidth(True)
    label.native.setSizePolicy(policy)
    return label
