"""The mouse on the canvas: right-drag changes window and level, the wheel goes through slices under a brush."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet_tumour.look.grey_window import Window
from napari_unet_tumour.widgets.look.letters import camera_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.components import ViewerModel
    from napari.layers import Image

RIGHT = 2
# So many pixels of the canvas change width or level by the width that the drag began with.
PIXELS = 400.0
DRAWS = ("paint", "erase", "fill", "polygon")
BRUSHES = ("paint", "erase")


def drawing_layer(viewer: ViewerModel) -> Any:
    """Return the active Labels layer while a drawing tool is chosen, else None."""
    from napari.layers import Labels

    layer = viewer.layers.selection.active
    return layer if isinstance(layer, Labels) and str(layer.mode) in DRAWS else None


class WindowDrag:
    """Right-drag: to the right widens the window, downwards raises the level (darker).

    Parameters
    ----------
    image_of : callable
        Returns the image whose window is meant, or None.
    on_end : callable
        Called with the image when a drag has ended.
    """

    def __init__(
        self, viewer: ViewerModel, image_of: Callable[[], Image | None], on_end: Callable[[Any], None]
    ) -> None:
        self._viewer, self._image_of, self._on_end = viewer, image_of, on_end
        viewer.mouse_drag_callbacks.append(self._on_drag)

    def close(self) -> None:
        """Give the right button back to napari."""
        if self._on_drag in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_drag)

    def _on_drag(self, viewer: Any, event: Any) -> Iterator[None]:
        image = self._image_of()
        # With a drawing tool the right button is napari's, and in 3D, too.
        if event.button != RIGHT or image is None or drawing_layer(self._viewer) is not None:
            return
        if self._viewer.dims.ndisplay != 2 or event.modifiers:
            return
        camera = camera_of(self._viewer)
        pans, camera.mouse_pan = camera.mouse_pan, False
        begun, start = [float(at) for at in event.pos[:2]], Window(*image.contrast_limits)
        moved = False
        try:
            yield
            while event.type == "mouse_move":
                right, down = (float(now) - then for now, then in zip(event.pos[:2], begun, strict=True))
                width = start.width * max(1 + right / PIXELS, 0.02)
                window = Window.of(start.level + down / PIXELS * start.width, width)
                image.contrast_limits = (window.low, window.high)
                moved = True
                yield
        finally:
            camera.mouse_pan = pans
        if moved:
            self._on_end(image)


class SliceWheel:
    """While a drawing tool is chosen the wheel goes through the slices, and with Ctrl it sizes the brush.

    Hold Space to zoom meanwhile: napari leaves the tool as long as it is held.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._watched: Any = None
        self._progress = 0.0
        self._zooms: bool | None = None
        calls = viewer.mouse_wheel_callbacks
        # napari's own call goes through slices with Ctrl; it is asked where no tool is chosen.
        self._napari = next((call for call in calls if getattr(call, "__name__", "") == "dims_scroll"), None)
        if self._napari is None:
            calls.append(self._on_wheel)
        else:
            calls[calls.index(self._napari)] = self._on_wheel
        viewer.layers.selection.events.active.connect(self._watch)
        self._watch()

    def close(self) -> None:
        """Give the wheel back to napari."""
        calls = self._viewer.mouse_wheel_callbacks
        if self._on_wheel in calls:
            at = calls.index(self._on_wheel)
            calls[at : at + 1] = [] if self._napari is None else [self._napari]
        self._viewer.layers.selection.events.active.disconnect(self._watch)
        if self._watched is not None:
            self._watched.events.mode.disconnect(self._on_mode)
        self._let_zoom(True)

    def _watch(self, event: Any = None) -> None:
        from napari.layers import Labels

        layer = self._viewer.layers.selection.active
        if self._watched is not None:
            self._watched.events.mode.disconnect(self._on_mode)
        self._watched = layer if isinstance(layer, Labels) else None
        if self._watched is not None:
            self._watched.events.mode.connect(self._on_mode)
        self._on_mode()

    def _on_mode(self, event: Any = None) -> None:
        self._let_zoom(drawing_layer(self._viewer) is None)

    def _let_zoom(self, zooms: bool) -> None:
        """Keep the camera from zooming while the wheel means something else."""
        camera = camera_of(self._viewer)
        if not zooms and self._zooms is None:
            self._zooms, camera.mouse_zoom = camera.mouse_zoom, False
        elif zooms and self._zooms is not None:
            camera.mouse_zoom, self._zooms = self._zooms, None

    def _on_wheel(self, viewer: Any, event: Any) -> None:
        mask = drawing_layer(self._viewer)
        if mask is None:
            if self._napari is not None:
                self._napari(viewer, event)
            return
        modifiers = set(event.modifiers)
        if modifiers - {"Control"}:
            return
        self._progress += max(-1.0, min(1.0, float(event.delta[1])))
        steps, self._progress = int(self._progress), self._progress - int(self._progress)
        if "Control" in modifiers and str(mask.mode) in BRUSHES:
            mask.brush_size = max(1, mask.brush_size + steps * max(1, round(mask.brush_size / 10)))
        elif not modifiers:
            self._step(-steps)

    def _step(self, steps: int) -> None:
        dims = self._viewer.dims
        hidden = [axis for axis in dims.order if axis in dims.not_displayed]
        if not hidden or not steps:
            return
        axis = dims.last_used if dims.last_used in hidden else hidden[-1]
        dims.set_current_step(axis, max(0, min(int(dims.nsteps[axis]) - 1, int(dims.current_step[axis]) + steps)))
