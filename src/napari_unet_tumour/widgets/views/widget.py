"""The dock widget of the linked views."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QCoreApplication, QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QLabel, QMainWindow, QPushButton, QSizePolicy, QSplitter, QVBoxLayout, QWidget

from napari_unet_tumour.widgets.common.main_thread import UndockFilter
from napari_unet_tumour.widgets.views.link import Link

if TYPE_CHECKING:
    import napari.viewer
    from qtpy.QtGui import QResizeEvent

# Height that the views begin with, below the main view.
HEIGHT = 340


class LinkedViews(QWidget):
    """Axial, coronal and sagittal view of the scan with one crosshair.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer that it is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        # Else napari would add empty room below.
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._note = QLabel()
        self._note.setWordWrap(True)
        self._note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._views = QSplitter(Qt.Orientation.Horizontal)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 2, 2, 2)
        layout.addWidget(self._note)
        layout.addWidget(self._views, 1)
        # napari gives a widget a proxy of the viewer, whose layers are not identical to those that events name.
        self.link: Link | None = Link(self, getattr(viewer, "__wrapped__", viewer), self._say)
        for pane in self.link.panes:
            self._views.addWidget(pane.native)
        _GoBelow(self)
        UndockFilter(self, self.close_down)

    @property
    def note(self) -> str:
        """What is in the way, "" where nothing is."""
        return str(self._note.text())

    def _say(self, text: str) -> None:
        self._note.setText(text)
        self._note.setVisible(bool(text))

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Lie side by side where there is more width than height, else one below the other."""
        super().resizeEvent(event)
        wide = self.width() > self.height()
        self._views.setOrientation(Qt.Orientation.Horizontal if wide else Qt.Orientation.Vertical)

    def close_down(self) -> None:
        """Let go of the viewer."""
        link, self.link = self.link, None
        if link is not None:
            link.close()
            self.deleteLater()


class _GoBelow(QObject):
    """Moves a newly docked widget below the main view, between what is docked at its sides."""

    def __init__(self, native: QWidget) -> None:
        super().__init__(native)
        self._native = native
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
                window.resizeDocks([dock], [min(HEIGHT, window.height() // 2)], Qt.Orientation.Vertical)


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
