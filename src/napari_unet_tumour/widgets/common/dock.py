"""The frame of every panel: what scrolls above, the next action below it, and all panels in the tabs of one dock."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, Widget
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QFrame, QLabel, QMainWindow, QScrollArea, QSizePolicy, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QResizeEvent, QShowEvent

MINE = "napari_unet_tumour_panel"
# The least that a panel needs; the widest row of each fits, a scroll bar included.
WIDTH, LEAST_HEIGHT = 318, 90
SPACING = 5
RESIZED = (QEvent.Type.LayoutRequest, QEvent.Type.Resize)


class ContentArea(QScrollArea):
    """Scrolls a panel's rows where they are higher than the dock; else it is no higher than they are.

    Parameters
    ----------
    content : QWidget
        The rows.
    fills : bool
        Whether the rows take all the height there is, e.g. since a table is among them.
    """

    def __init__(self, content: QWidget, fills: bool = False) -> None:
        super().__init__()
        self._content, self._fills = content, fills
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # its rows take the keyboard
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        policy = QSizePolicy.Policy.Expanding if fills else QSizePolicy.Policy.Preferred
        self.setSizePolicy(QSizePolicy.Policy.Expanding, policy)
        self.setMinimumHeight(LEAST_HEIGHT)
        self.setWidget(content)
        self._set_least_height()
        content.installEventFilter(self)

    def sizeHint(self) -> QSize:
        """Return the size that shows every row."""
        return QSize(WIDTH, self._needed())

    def minimumSizeHint(self) -> QSize:
        """Return a size at which the rows can still be scrolled."""
        return QSize(80, LEAST_HEIGHT)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Follow the height of the rows."""
        if event is not None and event.type() in RESIZED:
            with suppress(RuntimeError):  # the window is being closed: Qt has deleted the rows
                self._fit()
        return False

    def showEvent(self, event: QShowEvent | None) -> None:
        """Take the height that the rows have in the window's style."""
        super().showEvent(event)
        QTimer.singleShot(0, self._fit_if_there)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Follow the height that the texts need at another width."""
        super().resizeEvent(event)
        self._fit()

    def _fit_if_there(self) -> None:
        with suppress(RuntimeError):  # the window was closed meanwhile
            self._fit()

    def _set_least_height(self) -> None:
        """Let rows scroll rather than overlap."""
        layout = self._content.layout()
        # Qt scrolls texts that flow by their height at this width; a minimum would be that at their narrowest.
        flows = layout is not None and layout.hasHeightForWidth()
        least = 1 if layout is None or flows else max(1, layout.minimumSize().height())
        if self._content.minimumHeight() != least:
            self._content.setMinimumHeight(least)

    def _fit(self) -> None:
        self._set_least_height()
        most = max(self._needed(), LEAST_HEIGHT)
        if not self._fills and self.maximumHeight() != most:
            self.setMaximumHeight(most)
            self.updateGeometry()

    def _needed(self) -> int:
        layout = self._content.layout()
        frame = 2 * self.frameWidth()  # the window's style may draw one
        if layout is not None and layout.hasHeightForWidth() and self._content.width() > 0:
            return int(layout.totalHeightForWidth(self._content.width())) + frame
        return self._content.sizeHint().height() + frame


class Panel(Container[Widget]):
    """A dock widget's frame.

    Parameters
    ----------
    content : sequence of Widget
        The rows that scroll, from top to bottom.
    actions : sequence of Widget
        The rows that are always in sight, below them.
    title : str
        Text of its tab.
    fills : bool
        See `ContentArea`.
    """

    def __init__(self, content: Sequence[Widget], actions: Sequence[Widget], title: str, fills: bool = False) -> None:
        self.content: Container[Widget] = Container(widgets=list(content), labels=False)
        self.actions: Container[Widget] = Container(widgets=list(actions), labels=False)
        super().__init__(widgets=[self.content, self.actions], labels=False)
        for inner in (self.content, self.actions):
            inner.margins = (0, 0, 0, 0)
            inner.native.layout().setSpacing(SPACING)
        layout = self.native.layout()
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(SPACING)
        layout.removeWidget(self.content.native)
        self.area = ContentArea(self.content.native, fills)
        layout.insertWidget(0, self.area, 1000)  # all the height up to its rows' own comes first
        if not fills:
            layout.addStretch(1)
        _KeepHeight(self.actions.native)
        self.native.setMinimumWidth(WIDTH)
        self.native.setProperty(MINE, title)
        _JoinTabs(self.native)

    def order_tabs(self) -> None:
        """Let the Tab key go through the controls as the eye does; call it when all parts are in their places."""
        parts = [*_parts(self.content.native), *_parts(self.actions.native)]
        for first, second in pairwise(part for part in parts if part.focusPolicy() & Qt.FocusPolicy.TabFocus):
            QWidget.setTabOrder(first, second)

    def reveal(self, part: Any) -> None:
        """Scroll until a part is in sight, once the rows have taken their places."""
        QTimer.singleShot(0, partial(self._reveal, part))

    def _reveal(self, part: Any) -> None:
        with suppress(RuntimeError):  # the window was closed meanwhile
            if part.isVisible():
                self.area.ensureWidgetVisible(part, 0, 4)


def _parts(widget: QWidget) -> list[QWidget]:
    """Return the widgets in a widget's layout in their order, those of layouts within included."""
    layout = widget.layout()
    items = [] if layout is None else [layout.itemAt(n) for n in range(layout.count())]
    inner = [item.widget() for item in items if item is not None]
    found = [part for one in inner if one is not None for part in _parts(one)]
    return found or [widget]


class _KeepHeight(QObject):
    """Keeps room for all lines of the texts in a widget, however narrow it is."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Ask for the height that the rows need at the width that they have."""
        if event is not None and event.type() in RESIZED:
            with suppress(RuntimeError):  # the window is being closed: Qt has deleted the rows
                self._fit()
        return False

    def _fit(self) -> None:
        layout = self._widget.layout()
        if layout is not None and layout.hasHeightForWidth():
            high = max(layout.totalHeightForWidth(self._widget.width()), 0)
            if high != self._widget.minimumHeight():
                self._widget.setMinimumHeight(high)


class _JoinTabs(QObject):
    """Puts a panel that is docked beside another one of ours into its tabs; later moves are the person's."""

    def __init__(self, native: QWidget) -> None:
        super().__init__(native)
        self._native = native
        native.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Wait for the moment when the panel gets its dock."""
        if event is None or event.type() != QEvent.Type.ParentChange:
            return False
        with suppress(RuntimeError):  # Python is ending: Qt has deleted the panel
            self._on_parent(self._native.parent())
        return False

    def _on_parent(self, parent: QObject | None) -> None:
        if isinstance(parent, QDockWidget):
            self._native.removeEventFilter(self)
            parent.setWindowTitle(str(self._native.property(MINE)))  # the full name is cut off in a row of tabs
            QTimer.singleShot(0, self._join)

    def _join(self) -> None:
        with suppress(RuntimeError):  # closed at once
            dock = self._native.parent()
            window = dock.parent() if isinstance(dock, QDockWidget) else None
            bar = dock.titleBarWidget() if isinstance(dock, QDockWidget) else None
            caption = None if bar is None else bar.findChild(QLabel)
            if isinstance(caption, QLabel):
                caption.setText(str(self._native.property(MINE)))
            if isinstance(dock, QDockWidget) and isinstance(window, QMainWindow) and not dock.isFloating():
                for other in window.findChildren(QDockWidget, options=Qt.FindChildOption.FindDirectChildrenOnly):
                    if other is not dock and _is_beside(other, dock, window):
                        window.tabifyDockWidget(other, dock)
                        dock.raise_()
                        return


def _is_beside(other: QDockWidget, dock: QDockWidget, window: QMainWindow) -> bool:
    inner = other.widget()
    return (
        inner is not None
        and inner.property(MINE) is not None
        and not other.isFloating()
        and window.dockWidgetArea(other) == window.dockWidgetArea(dock)
    )
