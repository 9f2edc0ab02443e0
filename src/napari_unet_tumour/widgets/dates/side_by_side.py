"""Two dates side by side: one plane of each, linked by the place in the patient.

Places are kept in the earlier date's patient, in millimetres. The later date's are moved there by its alignment.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy, QSplitter, QVBoxLayout, QWidget

from napari_unet_tumour.look.planes import OPPOSITE, VIEWS, PlaneView, levelled, plane_views
from napari_unet_tumour.widgets.common.canvas import canvas_of
from napari_unet_tumour.widgets.common.main_thread import UndockFilter
from napari_unet_tumour.widgets.dates.layers import Date, to_patient
from napari_unet_tumour.widgets.views.below import GoBelow
from napari_unet_tumour.widgets.views.linked_edits import LinkedEdits
from napari_unet_tumour.widgets.views.plane_canvas import SPACE, PlaneCanvas, make_current
from napari_unet_tumour.widgets.views.relay import DRAGGED, LEFT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

PLANES = tuple(VIEWS)
HEIGHT, SHARE = 620, 0.65
# In a narrow view the name would lie over the letter at the top.
BELOW_LETTER = 26
OUTSIDE = "this place is outside the scan"


class DatePane(PlaneCanvas):
    """One date: a canvas that only shows; what is drawn, is drawn in the main view.

    Parameters
    ----------
    parent : QWidget
        What it is shown in.
    when : str
        What its title begins with.
    clicked, scrolled, zoomed : callable
        Called with this pane (`clicked` with a position, too) when the person clicks, moves the slider, moves or zooms.
    """

    def __init__(
        self, parent: QWidget, when: str, clicked: Callable[[DatePane, Any], None],
        scrolled: Callable[[DatePane], None], zoomed: Callable[[DatePane], None],
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self.when = when
        self.date: Date | None = None
        self._title.move(6, BELOW_LETTER)
        self.to_common, self.shown = np.eye(4), np.eye(4)
        self._clicked, self._scrolled, self._zoomed = clicked, scrolled, zoomed
        self.model.mouse_drag_callbacks.insert(0, self._on_drag)
        self.model.mouse_double_click_callbacks.clear()  # napari would zoom
        self.model.dims.events.point.connect(self._on_point)
        for event in (self._camera.events.center, self._camera.events.zoom):
            event.connect(self._on_camera)

    @property
    def camera(self) -> Any:
        """The canvas's camera."""
        return self._camera

    def show_date(self, date: Date | None, to_common: Matrix, plane: str) -> None:
        """Show a plane of a date.

        Parameters
        ----------
        to_common : numpy.ndarray
            (4, 4) the date's patient -> the patient of the earlier date.
        plane : str
            One of `PLANES`.
        """
        self.date, self.to_common = date, to_common
        if date is None:
            self.show_layers([], [])
            self.show_texts("", "")
            return
        world = to_common @ date.grid.world
        middle = world @ [*(np.array(self._shape(date)) - 1) / 2, 1.0]
        straight = plane_views(np.eye(SPACE))[PLANES.index(plane)]
        self.shown, axes = levelled(world, straight.order[0], middle[:-1])
        self.show_layers(date.layers, [self.shown @ to_common @ to_patient(layer) for layer in date.layers])
        self.model.layers.selection.active = None  # nothing is drawn here
        down, right, normal = axes[straight.order[1]], axes[straight.order[2]], axes[straight.order[0]]
        self.show_plane(PlaneView(plane, (normal, down, right), straight.signs))

    def go_to(self, place: Matrix) -> None:
        """Show the slice at a place of the earlier date's patient, and say where there is none."""
        date = self.date
        if date is None:
            return
        index = np.linalg.solve(self.to_common @ date.grid.world, [*place, 1.0])[:-1]
        size, n = self._shape(date), self.view.order[0]
        outside = not -0.5 <= index[n] <= size[n] - 0.5
        edges = "".join(f"{edge}{OPPOSITE[edge]}" for edge in VIEWS[self.view.name]) if date.grid.units == "mm" else ""
        name = f"{self.when}: {date.layers[0].name}"
        self.show_texts(f"{name}\n{OUTSIDE}" if outside else name, edges)
        self.go((self.shown @ [*place, 1.0])[:-1])
        self.crosshair.follow()

    def place_at(self, position: Any) -> Matrix:
        """Return the place in the earlier date's patient of a position of this canvas."""
        return np.linalg.solve(self.shown, [*np.asarray(position, np.float64)[-SPACE:], 1.0])[:-1]

    def middle(self) -> Matrix:
        """Return the place in the middle of the canvas."""
        at = np.array(self.model.dims.point, np.float64)[-SPACE:]
        at[list(self.view.order[1:])] = self._camera.center[-2:]
        return self.place_at(at)

    def look_at(self, place: Matrix, zoom: float) -> None:
        """Move a place into the middle of the canvas."""
        at = (self.shown @ [*place, 1.0])[:-1]
        self._camera.center = (self._camera.center[0], *(float(at[axis]) for axis in self.view.order[1:]))
        self._camera.zoom = zoom

    @staticmethod
    def _shape(date: Date) -> Sequence[int]:
        return [int(date.grid.array.shape[axis]) for axis in date.grid.spatial]

    def _on_point(self, event: Any = None) -> None:
        self._scrolled(self)

    def _on_camera(self, event: Any = None) -> None:
        self._zoomed(self)

    def _on_drag(self, model: Any, event: Any) -> Iterator[None]:
        """Take a click; a drag is napari's and moves the picture."""
        begun, pressed, away = tuple(event.position), np.array(event.pos), 0.0
        button = event.button
        yield
        while event.type == "mouse_move":
            away = max(away, float(np.hypot(*(np.array(event.pos) - pressed))))
            yield
        if button == LEFT and away <= DRAGGED and self.date is not None:
            self._clicked(self, begun)

    def close(self) -> None:
        """Let go of the layers and of the canvas."""
        self.model.mouse_drag_callbacks.clear()
        self.model.dims.events.point.disconnect(self._on_point)
        for event in (self._camera.events.center, self._camera.events.zoom):
            event.disconnect(self._on_camera)
        super().close()


class SideBySide(QWidget):
    """Both dates and what links them.

    Parameters
    ----------
    main : ViewerModel
        The main view.
    closed : callable
        Called when the views are closed.
    edited : callable
        Called with a mask that is shown and has been changed.
    """

    def __init__(self, main: ViewerModel, closed: Callable[[], None], edited: Callable[[Any], None]) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._main, self._closed = main, closed
        self.place = np.zeros(SPACE)
        self._plane, self._following = PLANES[0], True
        split = QSplitter(Qt.Orientation.Horizontal)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 2, 2, 2)
        layout.addWidget(split)
        calls = (self._on_click, self._on_scroll, self._on_camera)
        self.panes = [DatePane(self, when, *calls) for when in ("Earlier", "Later")]
        for pane in self.panes:
            split.addWidget(pane.native)
        self._edits = LinkedEdits(self, main, self.panes, edited)
        main.layers.events.removing.connect(self._on_removing)
        GoBelow(self, HEIGHT, SHARE)
        UndockFilter(self, self.close_down)

    def show_dates(self, earlier: Date, later: Date, plane: str, to_earlier: Matrix | None = None) -> None:
        """Show two dates; both views begin in the middle of the earlier one unless they show these dates already."""
        fresh = [pane.date for pane in self.panes] != [earlier, later]
        with _paused(self):
            for pane, date, matrix in zip(self.panes, (earlier, later), (None, to_earlier), strict=True):
                pane.show_date(date, np.eye(4) if matrix is None else matrix, plane)
        changed, self._plane = plane != self._plane, plane
        make_current(canvas_of(self))
        self._edits.watch(date.mask for date in (earlier, later) if date.mask is not None)
        if fresh:
            shape = [int(n) for n in np.array(earlier.grid.array.shape)[list(earlier.grid.spatial)]]
            self.place = (earlier.grid.world @ [*((np.array(shape) - 1) / 2), 1.0])[:-1]
        self.go(self.place)
        if fresh or changed:
            self._fit_soon()

    def clear(self) -> None:
        """Show nothing."""
        self._edits.watch(())
        with _paused(self):
            for pane in self.panes:
                pane.show_date(None, np.eye(4), self._plane)
        make_current(canvas_of(self))

    def go(self, place: Any, centre: bool = False) -> None:
        """Show a place (3,) of the earlier date's patient in both views; with `centre` in the middle of them."""
        self.place = np.asarray(place, np.float64)
        with _paused(self):
            for pane in self.panes:
                pane.go_to(self.place)
        if centre:
            self._look_at(self.place, float(self.panes[0].camera.zoom), self.panes)

    # ---- what the person does --------------------------------------------------------------------------

    def _on_click(self, pane: DatePane, position: Any) -> None:
        self.go(pane.place_at(position))

    def _on_scroll(self, pane: DatePane) -> None:
        if not self._following or pane.date is None or not pane.model.layers:
            return
        at = (pane.shown @ [*self.place, 1.0])[:-1]
        at[pane.view.order[0]] = pane.model.dims.point[pane.axis]
        self.go(pane.place_at(at))

    def _on_camera(self, pane: DatePane) -> None:
        if self._following and pane.date is not None:
            self._look_at(pane.middle(), float(pane.camera.zoom), [one for one in self.panes if one is not pane])

    def _look_at(self, place: Matrix, zoom: float, panes: Sequence[DatePane]) -> None:
        with _paused(self):
            for pane in panes:
                pane.look_at(place, zoom)

    def _fit_soon(self) -> None:
        self.panes[0].fit_soon()

    # ---- layers ----------------------------------------------------------------------------------------

    def _on_removing(self, event: Any = None) -> None:
        make_current(canvas_of(self))

    def close_down(self) -> None:
        """Let go of the viewer."""
        self._following = False
        self._edits.close()
        self._main.layers.events.removing.disconnect(self._on_removing)
        for pane in self.panes:
            pane.close()
        make_current(canvas_of(self))
        self.panes.clear()
        with suppress(RuntimeError):
            self.deleteLater()
        self._closed()


class _paused:
    """Keeps one view's change from moving the other meanwhile."""

    def __init__(self, views: SideBySide) -> None:
        self._views, self._before = views, views._following

    def __enter__(self) -> None:
        self._before, self._views._following = self._views._following, False

    def __exit__(self, *why: object) -> None:
        self._views._following = self._before
