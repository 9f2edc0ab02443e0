"""Parts that all panels are made of: pickers, rows, notes, buttons and bars, and how they look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.application import use_app
from magicgui.widgets import ComboBox, Container, Label
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QSizePolicy

from napari_unet_tumour.version import __version__

if TYPE_CHECKING:
    from magicgui.widgets import Widget

ABOUT = f"Research use only: not a medical device. napari-unet-tumour {__version__}"
RED = "#ff6b61"


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
