"""The canvas of the window that a panel is docked in, and short texts above it."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QMainWindow, QWidget


def canvas_of(panel: QWidget) -> QWidget | None:
    """Return the widget that the canvas of a panel's window is drawn in; None while the panel has no window."""
    parent: Any = panel
    while parent is not None and not isinstance(parent, QMainWindow):
        parent = parent.parent()
    centre = None if parent is None else parent.centralWidget()
    found = [] if centre is None else centre.findChildren(QWidget)
    return next((one for one in found if one.inherits("QOpenGLWidget")), None)
