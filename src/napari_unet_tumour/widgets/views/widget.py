"""The dock widget of the linked views."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy, QSplitter, QVBoxLayout, QWidget

from napari_unet_tumour.widgets.common.main_thread import UndockFilter
from napari_unet_tumour.widgets.views.below import GoBelow
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
        GoBelow(self, HEIGHT)
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
