"""The patient's directions at the edges of the canvas: L, R, A, P, H, F."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLabel, QWidget

from napari_unet_tumour.look.directions import edge_letters
from napari_unet_tumour.scans.placement import knows_place
from napari_unet_tumour.widgets.common.canvas import Overlay
from napari_unet_tumour.widgets.layers.image_source import KEY
from napari_unet_tumour.widgets.layers.world import axes_of, world_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

STYLE = "color: #ffd60a; background: transparent; font-size: 15px; font-weight: bold;"
MARGIN = 6


def letters_of(viewer: ViewerModel, layer: Any) -> str:
    """Return the letters at the top, bottom, left and right edge, "" where a layer does not know the patient.

    They follow rolled and transposed dimensions, a flipped camera, and a layer that was flipped or moved.
    """
    grid = None if layer is None else layer.metadata.get(KEY, {}).get("grid")
    if grid is None or len(grid.spatial) != 3 or grid.units != "mm" or not knows_place(grid):
        return ""
    if viewer.dims.ndisplay != 2:
        return ""
    space = [axis for axis, letter in enumerate(axes_of(layer)) if letter != "t"]
    missing = viewer.dims.ndim - layer.ndim
    shown = [axis - missing for axis in viewer.dims.displayed]
    if len(space) != 3 or any(axis not in space for axis in shown):
        return ""
    down, right = (space.index(axis) for axis in shown)
    step = world_of(layer)[:-1, :-1][space][:, space]
    return edge_letters(grid.world[:-1, :-1], step, down, right, camera_signs(viewer))


def camera_of(viewer: ViewerModel) -> Any:
    """Return the viewer's camera; before napari 0.9 it was the viewer's own."""
    return getattr(viewer, "scene", viewer).camera


def camera_signs(viewer: ViewerModel) -> tuple[int, int]:
    """Return 1 or -1 for the vertical and the horizontal axis on screen: whether it points down, and right."""
    vertical, horizontal = (str(getattr(one, "value", one)) for one in camera_of(viewer).orientation2d)
    return 1 if vertical == "down" else -1, 1 if horizontal == "right" else -1


class EdgeLetters(Overlay):
    """Four letters above a canvas; the mouse does not notice them."""

    def __init__(self, canvas: QWidget) -> None:
        self.labels = [QLabel(canvas) for _ in range(4)]
        for label in self.labels:
            label.setStyleSheet(STYLE)
        super().__init__(canvas, self.labels)

    @property
    def text(self) -> str:
        """What is shown: top, bottom, left, right."""
        return "".join(label.text() for label in self.labels)

    def show_text(self, letters: str) -> None:
        """Show four letters, or none."""
        for label, letter in zip(self.labels, letters or " " * 4, strict=True):
            label.setText(letter.strip())
            label.adjustSize()
            label.setVisible(bool(letter.strip()))
        self.put()

    def put(self) -> None:
        """Lay each letter at the middle of its edge."""
        wide, high = self._canvas.width(), self._canvas.height()
        top, bottom, left, right = self.labels
        top.move((wide - top.width()) // 2, MARGIN)
        bottom.move((wide - bottom.width()) // 2, high - bottom.height() - MARGIN)
        left.move(MARGIN, (high - left.height()) // 2)
        right.move(wide - right.width() - MARGIN, (high - right.height()) // 2)
        for label in self.labels:
            label.raise_()
