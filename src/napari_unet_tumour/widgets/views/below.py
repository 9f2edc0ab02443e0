"""Docks a widget with canvases below the main view."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from qtpy.QtCore import QCoreApplication, QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QPushButton, QWidget


class GoBelow(QObject):
    """Moves a newly docked widget below the main view, between what is docked at its sides.

    Parameters
    ----------
    native : QWidget
        The widget.
    height : int
        Its height in pixels; of a small window it takes at most `share`.
    share : float
        Part of the window's height.
    """

    def __init__(self, native: QWidget, height: int, share: float = 0.5) -> None:
        super().__init__(native)
        self._native, self._height, self._share = native, height, share
        native.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Wait for the moment when the widget gets its dock."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            with suppress(RuntimeError):  # Python is ending: Qt has deleted the widget
                if isinstance(self._native.parent(), QDockWidget):
                    self._native.removeEventFilter(self)
                    QTimer.singleShot(0, self._move)
        return False

    def _move(self) -> None:
        with suppress(RuntimeError):  # closed at once
            dock: Any = self._native.parent()
            window = dock.parent() if isinstance(dock, QDockWidget) else None
            if isinstance(window, QMainWindow):
                window.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
                window.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
                window.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, dock)
                _keep_in_window(dock)
                height = min(self._height, int(self._share * window.height()))
                window.resizeDocks([dock], [height], Qt.Orientation.Vertical)


def _keep_in_window(dock: QDockWidget) -> None:
    """Let a dock be closed, not pulled out: Qt would give its canvases new OpenGL contexts, and vispy would crash."""
    if QCoreApplication.testAttribute(Qt.ApplicationAttribute.AA_ShareOpenGLContexts):
        return
    feature = QDockWidget.DockWidgetFeature
    dock.setFeatures(feature.DockWidgetClosable | (dock.features() & feature.DockWidgetVerticalTitleBar))
    bar = dock.titleBarWidget()
    for button in [] if bar is None else bar.findChildren(QPushButton):
        if button.objectName() == "QTitleBarFloatButton":
            button.hide()
