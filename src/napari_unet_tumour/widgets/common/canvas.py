"""The canvas of the window that a panel is docked in, and what is drawn above it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari.qt import get_qapp
from OpenGL.platform import PLATFORM  # type: ignore[import-untyped]
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QOffscreenSurface, QOpenGLContext
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_unet_tumour.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_opengl() -> None:
    """Raise DeviceError where this screen has no OpenGL: napari would end without a word that helps.

    It is to be called before the first viewer is made.
    """
    get_qapp()
    surface, context = QOffscreenSurface(), QOpenGLContext()
    surface.create()
    # vispy draws through PyOpenGL, which may not know a context that Qt has made, e.g. on X11 without GLX.
    if not (context.create() and context.makeCurrent(surface) and PLATFORM.GetCurrentContext()):
        raise DeviceError(
            "this screen has no OpenGL, which napari draws with: use another screen or driver, "
            "or 'napari-unet-tumour segment', which opens no window"
        )
    context.doneCurrent()


def canvas_of(panel: QWidget) -> QWidget | None:
    """Return the widget that the canvas of a panel's window is drawn in; None while the panel has no window."""
    parent: Any = panel
    while parent is not None and not isinstance(parent, QMainWindow):
        parent = parent.parent()
    centre = None if parent is None else parent.centralWidget()
    found = [] if centre is None else centre.findChildren(QWidget)
    return next((one for one in found if one.inherits("QOpenGLWidget")), None)


class Overlay(QObject):
    """Widgets above a canvas that keep to its size; the mouse does not notice them.

    Parameters
    ----------
    canvas : QWidget
        What they lie above.
    parts : sequence of QWidget
        Children of the canvas; hidden at first.
    """

    def __init__(self, canvas: QWidget, parts: Sequence[QWidget]) -> None:
        super().__init__(canvas)
        self._canvas, self._parts = canvas, parts
        for part in parts:
            part.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            part.hide()
        canvas.installEventFilter(self)

    def put(self) -> None:
        """Lay the widgets where they belong on a canvas of this size."""
        raise NotImplementedError

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Follow the size of the canvas."""
        if event is not None and event.type() == QEvent.Type.Resize:
            with suppress(RuntimeError):  # the window is being closed: Qt has deleted the widgets
                self.put()
        return False

    def close(self) -> None:
        """Take the widgets away."""
        with suppress(RuntimeError):
            self._canvas.removeEventFilter(self)
            for part in self._parts:
                part.deleteLater()
            self.deleteLater()
