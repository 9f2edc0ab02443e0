"""The View panel: window and level, directions, outlines, and the size of what is drawn."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from napari_unet_tumour.look.label_size import label_size
from napari_unet_tumour.widgets.common.canvas import canvas_of
from napari_unet_tumour.widgets.common.dock import Panel
from napari_unet_tumour.widgets.common.keys import CONTOUR_KEY, HELP_KEY, RESET_KEY, bind_keys
from napari_unet_tumour.widgets.common.main_thread import UndockFilter, single_shot_timer
from napari_unet_tumour.widgets.common.panels import LINKED_VIEWS, open_panel
from napari_unet_tumour.widgets.layers.edits import LayerEvents
from napari_unet_tumour.widgets.layers.image_source import hidden_axes, images, shown_at
from napari_unet_tumour.widgets.layers.labels import image_of
from napari_unet_tumour.widgets.layers.world import affine_of, axes_of
from napari_unet_tumour.widgets.look import windows
from napari_unet_tumour.widgets.look.letters import EdgeLetters, camera_of, letters_of
from napari_unet_tumour.widgets.look.mouse import SliceWheel, WindowDrag
from napari_unet_tumour.widgets.look.surface import MaskSurface
from napari_unet_tumour.widgets.look.view import OWN, LookView
from napari_unet_tumour.widgets.look.windows import ImageWindows

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Labels

    from napari_unet_tumour.look.grey_window import Window

SIZE_MS = 150
# Larger masks are not counted while a person paints.
MOST_VOXELS = 1 << 27
CONTOUR = 2
_PLACE = ("scale", "rotate", "shear", "affine")


class LookWidget(Panel):
    """Dock widget for how scans and masks are shown.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer that it is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._panel = LookView()
        super().__init__(self._panel.rows(), self._panel.actions(), "View")
        self._viewer = viewer
        self._letters: EdgeLetters | None = None
        self._image: Image | None = None
        self._mask: Labels | None = None
        self._window_events = LayerEvents(self._show_window, ("contrast_limits",))
        self._place_events = LayerEvents(self._show_letters, _PLACE)
        self._mask_events = LayerEvents(self._count_soon, ("paint", "data", "labels_update", "selected_label"))
        self._windows = ImageWindows()
        self._offered: dict[str, Window] = {}
        self._setting = False
        self._drag = WindowDrag(viewer, lambda: self._image, self._windows.keep)
        self._wheel = SliceWheel(viewer)
        self._counter = single_shot_timer(self.native, SIZE_MS, self._show_size)
        self._bound: list[str] = []
        self._panel.brush.begin(viewer, self.native)
        self._surface = MaskSurface(
            getattr(viewer, "__wrapped__", viewer), self.native, self._tell_surface, self._on_surface_gone
        )
        self.order_tabs()
        self._listen()
        for image in images(viewer):
            self._windows.take(image)
        self._offer_windows()
        self._follow()
        QTimer.singleShot(0, self._show_letters)

    @property
    def letters(self) -> str:
        """What the canvas shows: top, bottom, left, right; "" where nothing is."""
        return "" if self._letters is None else self._letters.text

    def reset(self) -> None:
        """Show the grey values that the scan opens with."""
        if self._image is not None:
            self._windows.reset(self._image)

    def _listen(self) -> None:
        panel, viewer = self._panel, self._viewer
        panel.preset.changed.connect(self._on_preset)
        panel.reset.changed.connect(self.reset)
        panel.letters.changed.connect(self._show_letters)
        panel.outline.changed.connect(self._on_outline)
        panel.views.changed.connect(lambda: open_panel(self._viewer, LINKED_VIEWS))
        panel.surface.changed.connect(self._on_surface)
        panel.help.changed.connect(lambda shown: setattr(panel.keys, "visible", shown))
        keys = (
            (CONTOUR_KEY, self._on_outline_key),
            (RESET_KEY, self._on_reset_key),
            (HELP_KEY, self._on_help_key),
        )
        self._bound = bind_keys(viewer, keys)
        for event, call in self._events():
            event.connect(call)
        UndockFilter(self.native, self.close_down)

    def _events(self) -> list[tuple[Any, Any]]:
        layers, dims = self._viewer.layers, self._viewer.dims
        camera = camera_of(self._viewer)
        turns = [
            (event, self._show_letters)
            for event in (dims.events.order, dims.events.ndisplay, camera.events.orientation)
        ]
        return [
            *turns,
            (layers.events.inserted, self._on_inserted),
            (layers.events.removed, self._follow),
            (layers.selection.events.active, self._follow),
            (dims.events.current_step, self._count_soon),
        ]

    # ---- which layers are meant --------------------------------------------------------------------

    def _on_inserted(self, event: Any) -> None:
        from napari.layers import Image, Labels

        if isinstance(event.value, Image):
            self._windows.take(event.value)
        elif isinstance(event.value, Labels) and self._panel.outline.value:
            event.value.contour = CONTOUR
        self._follow()

    def _follow(self, event: Any = None) -> None:
        """Take the selected image, or that of the selected mask, or the topmost visible one; and the selected mask."""
        from napari.layers import Labels

        found, active = images(self._viewer), self._viewer.layers.selection.active
        of_mask = None if active is None else image_of(self._viewer, active)
        visible = [one for one in reversed(found) if one.visible and not one.rgb]
        image = next(
            (one for one in found if one in (active, of_mask) and not one.rgb), visible[0] if visible else None
        )
        mask = next((one for one in self._viewer.layers if one == active and isinstance(one, Labels)), None)
        self._listen_to(image, mask)
        before, self._image, self._mask = self._image, image, mask
        if image != before:
            self._offer_windows()
        self._show_letters()
        self._count_soon()

    def _listen_to(self, image: Image | None, mask: Labels | None) -> None:
        """Hear of events of these layers and of no others."""
        for events, layer in ((self._window_events, image), (self._place_events, image), (self._mask_events, mask)):
            events.follow([] if layer is None else [layer])

    # ---- window and level --------------------------------------------------------------------------

    def _offer_windows(self) -> None:
        image = self._image
        self._panel.image.value = "There is no scan yet." if image is None else image.name
        self._offered = {} if image is None else windows.presets_of(image)
        self._setting = True
        self._panel.offer(list(self._offered))
        self._setting = False
        self._show_window()

    def _show_window(self, event: Any = None) -> None:
        window, name = None, OWN
        if self._image is not None:
            window = windows.window_of(self._image)
            same = (
                key for key, one in self._offered.items() if np.allclose((one.low, one.high), (window.low, window.high))
            )
            name = next(same, OWN)
        self._setting = True
        self._panel.show_window(name, window)
        self._setting = False

    def _on_preset(self, name: str) -> None:
        if not self._setting and self._image is not None and name in self._offered:
            windows.show(self._image, self._offered[name])
            self._windows.keep(self._image)

    # ---- letters, outlines, size, keys ---------------------------------------------------------------

    def _show_letters(self, event: Any = None) -> None:
        with suppress(RuntimeError):  # the window was closed meanwhile
            if self._letters is None:
                canvas = canvas_of(self.native)
                self._letters = None if canvas is None else EdgeLetters(canvas)
            if self._letters is not None:
                self._letters.show_text(letters_of(self._viewer, self._image) if self._panel.letters.value else "")

    def _on_outline(self, event: Any = None) -> None:
        from napari.layers import Labels

        for layer in self._viewer.layers:
            if isinstance(layer, Labels):
                layer.contour = CONTOUR if self._panel.outline.value else 0

    def _on_surface(self, on: bool) -> None:
        """Show the surface of the selected mask, else of the topmost one, or take it away."""
        from napari.layers import Labels

        masks = [layer for layer in reversed(self._viewer.layers) if isinstance(layer, Labels)]
        mask = next((one for one in masks if one == self._mask), masks[0] if masks else None)
        self._surface.follow(getattr(mask, "__wrapped__", mask) if on else None)
        if on and self._surface.mask is None:
            why = "There is no mask yet." if mask is None else self._surface.complaint
            self._panel.surface.value = False
            self._tell_surface(why)

    def _tell_surface(self, text: str) -> None:
        self._panel.surface_note.value = text

    def _on_surface_gone(self) -> None:
        self._panel.surface.value = False

    def _count_soon(self, event: Any = None) -> None:
        self._counter.start()

    def _show_size(self) -> None:
        mask = self._mask
        if mask is None or mask.multiscale or not isinstance(mask.data, np.ndarray) or mask.data.size > MOST_VOXELS:
            self._panel.size.value = ""
            return
        self._panel.size.value = f"Label {mask.selected_label}: {self._size(mask)}"

    def _size(self, mask: Labels) -> Any:
        """Measure the selected label at the time point and on the slice that are on screen."""
        axes = axes_of(mask)
        space = [axis for axis, letter in enumerate(axes) if letter != "t"]
        affine, units = affine_of(mask, axes)
        at = shown_at(self._viewer, mask)
        hidden = hidden_axes(self._viewer, mask)
        times = tuple(
            slice(None) if axis in space else _clipped(at[axis], mask.data.shape[axis]) for axis in range(mask.ndim)
        )
        part = mask.data[times]
        across = [space.index(axis) for axis in hidden if axis in space]
        index = None
        if len(space) == 3 and len(across) == 1:
            n = _clipped(at[space[across[0]]], part.shape[across[0]])
            index = tuple(n if axis == across[0] else slice(None) for axis in range(3))
        mm = units == "mm" and len(space) == 3
        return label_size(part, mask.selected_label, affine[:-1, :-1] if mm else None, index)

    def _on_outline_key(self, viewer: Any) -> None:
        self._panel.outline.value = not self._panel.outline.value

    def _on_reset_key(self, viewer: Any) -> None:
        self.reset()

    def _on_help_key(self, viewer: Any) -> None:
        self._panel.help.value = not self._panel.help.value
        self.reveal(self._panel.keys.native)

    def close_down(self) -> None:
        """Let go of the viewer; windows and outlines stay as they are."""
        self._counter.stop()
        self._surface.close()
        self._drag.close()
        self._wheel.close()
        for event, call in self._events():
            event.disconnect(call)
        self._listen_to(None, None)
        for key in self._bound:
            self._viewer.bind_key(key, None)
        if self._letters is not None:
            self._letters.close()
        self._panel.brush.end()
        self.native.deleteLater()


def _clipped(at: float, length: int) -> int:
    return int(np.clip(np.round(np.nan_to_num(at)), 0, length - 1))
