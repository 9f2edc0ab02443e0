"""From one panel to the next: open one beside the others, all at once, or a scan to begin with."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import napari
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

PLUGIN = "napari-unet-tumour"
SEGMENT, CORRECT, REPORT = "Segment", "Correct and fine-tune", "Lesion report"
WORKLIST, VIEW, LINKED_VIEWS, DATES = "Work-list", "View", "Linked views", "Two dates"


def open_panel(viewer: napari.Viewer, name: str) -> Any:
    """Open a panel, or bring the open one to the front; returns its widget."""
    dock, widget = viewer.window.add_plugin_dock_widget(PLUGIN, name)
    dock.show()
    dock.raise_()
    return widget


def open_all() -> None:
    """Open the three panels as tabs, Segment in front; between two the window answers."""
    viewer = napari.current_viewer()
    if viewer is not None:
        _open_in_turn(viewer, [SEGMENT, CORRECT, REPORT, SEGMENT])


def _open_in_turn(viewer: napari.Viewer, names: list[str]) -> None:
    with suppress(RuntimeError):  # the window was closed meanwhile
        open_panel(viewer, names[0])
        if names[1:]:
            QTimer.singleShot(0, partial(_open_in_turn, viewer, names[1:]))


def open_sample(viewer: napari.Viewer) -> None:
    """Add the sample head to the viewer."""
    viewer.open_sample(PLUGIN, "head")


def open_scan(viewer: napari.Viewer, parent: QWidget, say: Callable[[str, bool], None]) -> None:
    """Let the person choose a file and add it to the viewer; what is wrong with it is said in one line."""
    path, _ = QFileDialog.getOpenFileName(parent, "Open a scan, or one file of a DICOM series")
    if path:
        open_path(viewer, path, say)


def open_path(viewer: napari.Viewer, path: str, say: Callable[[str, bool], None]) -> bool:
    """Add a file or folder to the viewer and tell whether it is there; what is wrong with it is said in one line."""
    try:
        viewer.open(path, plugin=PLUGIN)
    except Exception as error:  # noqa: BLE001 - a reader may raise anything
        say(str(error).partition("\n")[0] or type(error).__name__, True)
        return False
    return True
