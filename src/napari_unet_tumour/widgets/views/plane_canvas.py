"""A canvas that shows one plane of layers: with their linked copies, its name, letters of direction and a crosshair."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.qt import QtViewer
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QLabel

from napari_unet_tumour.look.planes import PlaneView, on_canvas
from napari_unet_tumour.widgets.look.letters import STYLE, EdgeLetters, camera_of
from napari_unet_tumour.widgets.views.crosshair import Crosshair
from napari_unet_tumour.widgets.views.linked_layers import LinkedLayer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget

LEAST_SIDE = 90
SPACE = 3


class Canvas(QtViewer):  # type: ignore[misc]
    """napari's canvas with its slider; keys go to the main view, which has its own shortcuts."""

    def _bind_shortcuts(self) -> None:
        """Leave napari's shortcuts as they are: to bind them anew takes half of the time to open a view."""


class PlaneCanvas(QObject):
    """A canvas with one plane of some layers of the main view.

    Parameters
    ----------
    parent : QWidget
        What it is shown in.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.view = PlaneView("", (0, 1, 2))
        self.model = ViewerModel(title="linked view")
        self.native = Canvas(self.model)
        self.native.setAcceptDrops(False)  # a file is opened in the main view
        self.canvas = self.native.canvas.native
        self.canvas.setMinimumSize(LEAST_SIDE, LEAST_SIDE)
        for part in (self.native, self.native.widget(0), self.native.dims):
            part.setMinimumWidth(LEAST_SIDE)  # else three sliders would make the window wider than a laptop's screen
        self.linked: list[LinkedLayer] = []
        self._place: NDArray[np.float64] | None = None
        self._fitted = 0.0
        self._edges = ""
        self.letters = EdgeLetters(self.canvas)
        self.crosshair = Crosshair(self.canvas, self._crosshair_at)
        self._title = QLabel(self.canvas)
        self._title.setStyleSheet(STYLE)
        self._title.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._title.move(6, 4)
        self._camera = camera_of(self.model)
        for event in (self._camera.events.center, self._camera.events.zoom, self._camera.events.orientation):
            event.connect(self.crosshair.follow)
        self.canvas.installEventFilter(self)

    @property
    def title(self) -> str:
        """What is said of the plane."""
        return str(self._title.text())

    @property
    def axis(self) -> int:
        """The axis of the world that it slices."""
        return int(self.model.dims.ndim) - SPACE + self.view.order[0]

    # ---- layers ----------------------------------------------------------------------------------------

    def show_layers(self, layers: Sequence[Any], turns: Sequence[NDArray[np.float64]]) -> None:
        """Show layers of the main view, in their order, each turned as `LinkedLayer` does it."""
        make_current(self.canvas)
        for linked in [one for one in self.linked if not any(one.source is layer for layer in layers)]:
            self.linked.remove(linked)
            linked.close()
            self.model.layers.remove(linked.layer)
        for layer, turn in zip(layers, turns, strict=True):
            known = next((one for one in self.linked if one.source is layer), None)
            if known is None:
                known = LinkedLayer(layer, turn)
                self.linked.append(known)
                self.model.layers.append(known.layer)
            else:
                known.place(turn)
        self.linked.sort(key=lambda one: next(n for n, layer in enumerate(layers) if one.source is layer))
        for n, linked in enumerate(self.linked):
            at = self.model.layers.index(linked.layer)
            if at != n:
                self.model.layers.move(at, n)

    def linked_to(self, layer: Any) -> Any:
        """Return the layer that shows a layer of the main view here, or None."""
        return next((one.layer for one in self.linked if one.source is layer), None)

    def show_plane(self, view: PlaneView) -> None:
        """Show a plane, the way up that it says."""
        self.view, dims = view, self.model.dims
        first = dims.ndim - SPACE
        order = (*range(first), *(first + axis for axis in view.order))
        if tuple(dims.order) != order:
            dims.order = order
        self._camera.orientation2d = ("down" if view.signs[0] > 0 else "up", "right" if view.signs[1] > 0 else "left")

    def show_texts(self, title: str, edges: str) -> None:
        """Show what is said of the plane, and the letters at its edges (top, bottom, left, right)."""
        self._title.setText(title)
        self._edges = edges
        self._lay_texts()

    def _lay_texts(self) -> None:
        self._title.adjustSize()
        self.letters.show_text(self._edges)

    # ---- the place -------------------------------------------------------------------------------------

    def go(self, place: NDArray[np.float64]) -> bool:
        """Show the slice at a place (3,) of the linked views' world; tells whether it is another one than before.

        The crosshair is left where it is: to move it draws the whole view anew.
        """
        self._place = place
        moved = set_points(self.model, {self.axis: float(place[self.view.order[0]])})
        self._keep_in_sight()
        return moved

    def fit(self) -> None:
        """Show the whole plane."""
        if self.model.layers:
            self.model.reset_view()
            self._fitted = float(self._camera.zoom)
            self.crosshair.follow()

    def fit_soon(self) -> None:
        """Show the whole plane once the canvas has its size."""
        QTimer.singleShot(0, self._fit_if_there)

    def _fit_if_there(self) -> None:
        with suppress(RuntimeError):  # closed meanwhile
            self._lay_texts()  # in a window they have another font
            self.fit()

    def _crosshair_at(self) -> tuple[float, float] | None:
        if self._place is None or not self.model.layers:
            return None
        shown = [float(self._place[axis]) for axis in self.view.order[1:]]
        size = (self.canvas.width(), self.canvas.height())
        return on_canvas(shown, self._camera.center[-2:], float(self._camera.zoom), size, self.view.signs)

    def _keep_in_sight(self) -> None:
        """Move the camera to a place beyond the edge of what is in sight."""
        at, size = self._crosshair_at(), (self.canvas.width(), self.canvas.height())
        if at is not None and any(not 0 <= one <= length for one, length in zip(at, size, strict=True)):
            self._camera.center = (self._camera.center[0], *(float(self._place[n]) for n in self.view.order[1:]))  # type: ignore[index]

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Keep the whole plane in sight when the canvas changes size, unless the person has zoomed."""
        if event is not None and event.type() == QEvent.Type.Resize and self._camera.zoom == self._fitted:
            self.fit_soon()
        return False

    def close(self) -> None:
        """Let go of the main view's layers and of the canvas."""
        for linked in self.linked:
            linked.close()
        self.linked.clear()
        for event in (self._camera.events.center, self._camera.events.zoom, self._camera.events.orientation):
            event.disconnect(self.crosshair.follow)
        with suppress(RuntimeError):  # the window is being closed: Qt has deleted the canvas
            self.canvas.removeEventFilter(self)
            self.letters.close()
            self.crosshair.close()
            make_current(self.canvas)
            self.model.layers.clear()
            self.native.close()
            self.native.deleteLater()


def set_points(viewer: ViewerModel, points: dict[int, float]) -> bool:
    """Move sliders to the steps nearest to points of the world; tells whether one has moved.

    Between two steps napari's slider would at once move the point to a step, and every layer be sliced twice.
    """
    steps = {}
    for axis, at in points.items():
        start, _, step = viewer.dims.range[axis]
        steps[axis] = start + round((at - start) / step) * step if step else at
    moves = any(viewer.dims.point[axis] != at for axis, at in steps.items())
    if moves:
        viewer.dims.set_point(list(steps), list(steps.values()))
    return moves


def make_current(canvas: Any) -> None:
    """Let OpenGL commands go to a canvas.

    napari frees what a layer had on the graphics card as soon as the layer is removed, in whichever canvas was drawn
    last; the numbers of its buffers mean others there.
    """
    if canvas is not None and hasattr(canvas, "makeCurrent"):
        canvas.makeCurrent()
