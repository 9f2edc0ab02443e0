"""Links three views to the main view: one place, the same layers, the same active layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject

from napari_unet_tumour.look.planes import on_canvas, plane_views, upright
from napari_unet_tumour.widgets.common.canvas import canvas_of
from napari_unet_tumour.widgets.common.main_thread import single_shot_timer
from napari_unet_tumour.widgets.layers.image_source import KEY, shown_at, slider_point
from napari_unet_tumour.widgets.layers.labels import image_of
from napari_unet_tumour.widgets.layers.world import PLACE, axes_of, pixels_of, world_of
from napari_unet_tumour.widgets.look.letters import camera_of, camera_signs
from napari_unet_tumour.widgets.views.crosshair import Crosshair
from napari_unet_tumour.widgets.views.linked_edits import LinkedEdits
from napari_unet_tumour.widgets.views.linked_layers import can_be_shown
from napari_unet_tumour.widgets.views.pane import Pane
from napari_unet_tumour.widgets.views.plane_canvas import SPACE, make_current, set_points

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget


class Link(QObject):
    """Keeps linked views and the main view at one place.

    The place is kept in the main view's world, in its units, along its last three axes.

    Parameters
    ----------
    parent : QWidget
        What the views are shown in.
    main : ViewerModel
        The main view.
    said : callable
        Called with what is in the way, "" where nothing is.
    """

    def __init__(self, parent: QWidget, main: ViewerModel, said: Callable[[str], None]) -> None:
        super().__init__(parent)
        self._parent, self._main, self._said = parent, main, said
        self._scan: Any = None
        self._turn = np.eye(SPACE + 1)
        self.place = np.zeros(SPACE)
        self._moving = False
        self._cross: Crosshair | None = None
        self.panes = [Pane(parent, main, self) for _ in range(SPACE)]
        self._edits = LinkedEdits(self, main, self.panes)
        self._relink = single_shot_timer(self, 0, self.look)
        self._main_soon = single_shot_timer(self, 0, self._move_main)
        self._crosses_soon = single_shot_timer(self, 0, self._move_crosses)
        self._bound: list[tuple[Any, Any]] = []
        self._listen()
        self.look()

    def _listen(self) -> None:
        layers, dims, camera = self._main.layers, self._main.dims, camera_of(self._main)
        for emitter in (layers.events.inserted, layers.events.removed, layers.events.reordered):
            self._bind(emitter, self.look)
        self._bind(layers.events.removing, self._on_removing)
        self._bind(layers.selection.events.active, self._on_active)
        self._bind(dims.events.point, self._on_main_moved)
        for emitter in (dims.events.order, dims.events.ndisplay, camera.events.center, camera.events.zoom):
            self._bind(emitter, self._draw_main_cross)

    def _bind(self, emitter: Any, call: Any) -> None:
        emitter.connect(call)
        self._bound.append((emitter, call))

    # ---- layers ----------------------------------------------------------------------------------------

    def look(self, event: Any = None) -> None:
        """Take up the layers that there are."""
        self._moving = True  # the sliders of the views move as layers come and go
        try:
            before = self._take_up()
        finally:
            self._moving = False
            make_current(self.main_canvas())  # the main view may be about to remove a layer, too
        if self._scan is None:
            self._draw_main_cross()
            return
        if before is None:
            self.place = self._middle(self._scan)
        self._take_from_main()
        for pane in self.panes if before is not self._scan else ():
            pane.fit_soon()

    def _take_up(self) -> Any:
        """Show the layers; return the scan before this one."""
        before, self._scan = self._scan, self._chosen()
        if before is not self._scan:
            self._follow_place(before, self._scan)
        self._said(self._complaint())
        scan = self._scan
        self._turn = np.eye(SPACE + 1) if scan is None else upright(world_of(scan)[-4:, -4:])
        for pane in self.panes:
            pane.show_all(self._main.layers if scan is not None else [], self._turn)
        self._watch_masks()
        if scan is not None:
            self._show_views(scan)
            self._activate()
        return before

    def _on_removing(self, event: Any = None) -> None:
        make_current(self.main_canvas())

    def _chosen(self) -> Any:
        """Return the volume that the planes run along: that of the active layer, else the first one."""
        from napari.layers import Image

        found = [layer for layer in self._main.layers if can_be_shown(layer) and _is_volume(layer)]
        active = self._main.layers.selection.active
        of_mask = None if active is None else image_of(self._main, active)
        images = [layer for layer in found if isinstance(layer, Image)]
        mine = [layer for layer in images if layer is of_mask or layer == active or layer is self._scan]
        return next(iter([*mine, *images, *found]), None)

    def _complaint(self) -> str:
        if self._scan is not None:
            return ""
        flat = [layer for layer in self._main.layers if getattr(layer, "rgb", False) or layer.ndim < SPACE]
        if not self._main.layers:
            return "There is no scan yet: open one with several slices"
        why = f"'{flat[0].name}' is a flat or a colour picture" if flat else "No layer has slices along three axes"
        return f"{why}: linked views need a grey scan with several slices"

    def _show_views(self, scan: Any) -> None:
        grid = scan.metadata.get(KEY, {}).get("grid")
        known = grid is not None and len(grid.spatial) == SPACE and grid.world.shape == (SPACE + 1, SPACE + 1)
        shown = (self._turn @ world_of(scan)[-4:, -4:])[:-1, :-1]
        to_patient = grid.world[:-1, :-1] @ np.linalg.inv(shown) if known else None
        for pane, view in zip(self.panes, plane_views(to_patient), strict=True):
            pane.show_view(view, scan)

    def _follow_place(self, old: Any, new: Any) -> None:
        for layer, join in ((old, False), (new, True)):
            for name in PLACE if layer is not None else ():
                emitter = getattr(layer.events, name)
                (emitter.connect if join else emitter.disconnect)(self._on_place)

    def _on_place(self, event: Any = None) -> None:
        self._relink.start()

    def _on_active(self, event: Any = None) -> None:
        if self._chosen() is not self._scan:
            self.look()
        else:
            self._activate()

    def _activate(self) -> None:
        for pane in self.panes:
            pane.activate(self._main.layers.selection.active)

    # ---- pixels ----------------------------------------------------------------------------------------

    def _watch_masks(self) -> None:
        from napari.layers import Labels

        self._edits.watch(layer for layer in self._main.layers if isinstance(layer, Labels) and can_be_shown(layer))

    # ---- the place -------------------------------------------------------------------------------------

    def to_main(self, position: Any) -> NDArray[np.float64]:
        """Return a position of a linked view, along all axes, in the main view's world."""
        found = np.array(position, np.float64)
        found[-SPACE:] = _moved(_inverse(self._turn), found[-SPACE:])
        return found

    def clicked(self, position: Any, now: bool = False) -> None:
        """Go to a position of a linked view."""
        self.go(self.to_main(position)[-SPACE:], now)

    def go(self, place: NDArray[np.float64], now: bool = False) -> None:
        """Show a place (3,) of the main view's world in all views, or the nearest place of the scan.

        The main view follows once the linked views are drawn; with `now` it does so before this returns.
        """
        if self._scan is None:
            return
        self.place = self._world(self._index(place))
        self._show_place()
        if now:
            self._move_main()
        else:
            self._main_soon.start()

    def _move_main(self) -> None:
        scan = self._scan
        if scan is None:
            return
        self._main_soon.stop()
        self._moving = True
        try:
            points = slider_point(self._main, scan, [*np.zeros(scan.ndim - SPACE), *self._index(self.place)])
            first = self._main.dims.ndim - SPACE
            set_points(self._main, {axis: at for axis, at in points.items() if axis >= first})
        finally:
            self._moving = False

    def scrolled(self, pane: Pane) -> None:
        """Follow the slider of a linked view."""
        if self._moving or self._scan is None:
            return
        place, first = _moved(self._turn, self.place), pane.model.dims.ndim - SPACE
        place[pane.view.order[0]] = pane.model.dims.point[pane.axis]
        self._main.dims.set_point(list(range(first)), list(pane.model.dims.point[:first]))
        self.go(_moved(_inverse(self._turn), place))

    def _on_main_moved(self, event: Any = None) -> None:
        if not self._moving and self._scan is not None and len(self.panes[0].model.layers):
            self._take_from_main()

    def _take_from_main(self) -> None:
        """Go to the slice that the main view shows."""
        self._main_soon.stop()
        index = self._index(self.place)
        shown = shown_at(self._main, self._scan)[-SPACE:]
        self.place = self._world(self._clipped(np.where(np.isfinite(shown), shown, index)))
        self._show_place()

    def _show_place(self) -> None:
        turned = _moved(self._turn, self.place)
        self._moving = True
        try:
            for pane in self.panes:
                dims = pane.model.dims
                first = dims.ndim - SPACE
                others = self._main.dims.point[-dims.ndim : -SPACE] if first else ()
                if tuple(dims.point[:first]) != tuple(others):
                    dims.set_point(list(range(first)), list(others))
                if pane.go(turned):
                    pane.crosshair.follow()
        finally:
            self._moving = False
        self._crosses_soon.start()

    def _move_crosses(self) -> None:
        """Move the crosshair in the views that show the same slice, once those with another one are drawn."""
        for pane in self.panes:
            pane.crosshair.follow()
        self._draw_main_cross()

    def _index(self, place: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._clipped(_moved(_inverse(world_of(self._scan)[-4:, -4:]), place))

    def _clipped(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(index, 0, np.array(_shape(self._scan)[-SPACE:]) - 1)

    def _world(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        return _moved(world_of(self._scan)[-4:, -4:], index)

    def _middle(self, scan: Any) -> NDArray[np.float64]:
        return self._world((np.array(_shape(scan)[-SPACE:]) - 1) / 2)

    # ---- the main view ---------------------------------------------------------------------------------

    def main_canvas(self) -> QWidget | None:
        """Return what the main view is drawn in."""
        return canvas_of(self._parent)

    def _draw_main_cross(self, event: Any = None) -> None:
        canvas = self.main_canvas() if self._cross is None else None
        if canvas is not None:
            self._cross = Crosshair(canvas, self._main_cross_at)
        if self._cross is not None:
            self._cross.follow()

    def _main_cross_at(self) -> tuple[float, float] | None:
        canvas, dims = self.main_canvas(), self._main.dims
        shown = [axis - dims.ndim + SPACE for axis in dims.displayed]
        if canvas is None or self._scan is None or dims.ndisplay != 2 or min(shown) < 0:
            return None
        camera = camera_of(self._main)
        at = [float(self.place[axis]) for axis in shown]
        return on_canvas(
            at, camera.center[-2:], float(camera.zoom), (canvas.width(), canvas.height()), camera_signs(self._main)
        )

    def close(self) -> None:
        """Let go of the main view."""
        self._relink.stop()
        self._main_soon.stop()
        self._crosses_soon.stop()
        for emitter, call in self._bound:
            emitter.disconnect(call)
        self._bound.clear()
        self._follow_place(self._scan, None)
        self._edits.close()
        self._scan = None
        for pane in self.panes:
            pane.close()
        self.panes.clear()
        make_current(self.main_canvas())
        if self._cross is not None:
            self._cross.close()


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.inv(matrix), np.float64)


def _moved(matrix: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(matrix[:-1, :-1] @ place + matrix[:-1, -1], np.float64)


def _shape(layer: Any) -> tuple[int, ...]:
    return tuple(pixels_of(layer).shape)


def _is_volume(layer: Any) -> bool:
    """Tell whether a layer has slices along its last three axes."""
    from napari.layers import Points

    return not isinstance(layer, Points) and axes_of(layer)[-SPACE:] == "zyx" and min(_shape(layer)[-SPACE:]) > 1
