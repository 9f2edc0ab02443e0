"""A mask that is tried on a slice, outside the undo history, and the hand that draws over it.

napari records of a stroke the pixels that it changes: over a preview these would be others than over the mask itself.
So the preview makes way at the press of the mouse button, and comes back after its release.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.components import ViewerModel
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.widgets.layers.predictions import PlanePrediction

PASSIVE_MODES = ("pan_zoom", "transform", "pick")
POLYGON_MODE = "polygon"


@dataclass
class Preview:
    """A plane that shows a preview.

    Parameters
    ----------
    mask, array, layout, plane
        The layer, its array when the preview began, and which plane of it.
    base : numpy.ndarray
        (H, W) uint8, what the plane holds: what it held before, and what the person has drawn since.
    strokes : numpy.ndarray
        (H, W) bool, which of its pixels are the person's.
    shown : numpy.ndarray
        (H, W) uint8, what is on screen.
    """

    mask: Labels
    array: Any
    layout: SliceLayout
    plane: PlanePrediction
    base: NDArray[np.uint8]
    strokes: NDArray[np.bool_]
    shown: NDArray[np.uint8]

    def __post_init__(self) -> None:
        self._undone = len(self.mask._redo_history)

    def notice(self, now: NDArray[np.uint8]) -> None:
        """Take up what the person has drawn, undone and redone since the preview was shown.

        Parameters
        ----------
        now : numpy.ndarray
            (H, W), a view of the plane's pixels in the layer.
        """
        self._take_up_undo(now)
        drawn = now != self.shown
        self.base = np.where(drawn, now, self.base)
        self.strokes = self.strokes | drawn

    def _take_up_undo(self, now: NDArray[np.uint8]) -> None:
        """Have undo write over what the plane holds: over a preview that looks the same it would not be noticed."""
        steps = len(self.mask._redo_history) - self._undone
        if not steps:
            return
        was, again, back = self.base, self.mask.redo, self.mask.undo
        now[...] = self.base
        for step in (again, back) if steps > 0 else (back, again):
            for _ in range(abs(steps)):
                step()
        self._undone = len(self.mask._redo_history)
        self.base = self.shown = now.copy()
        self.strokes = self.strokes | (self.base != was)


class DrawingHand:
    """Tells when a person draws on a mask, for as long as it listens.

    Parameters
    ----------
    pressed : callable
        Called with the mask layer before anything is drawn.
    """

    def __init__(self, viewer: ViewerModel, pressed: Callable[[Labels], None]) -> None:
        self._viewer, self._pressed = viewer, pressed
        self._down: Labels | None = None
        self._wanted = False

    def listen(self, on: bool) -> None:
        """Begin or end to listen; a stroke that is under way is followed to its end."""
        self._wanted = on
        for calls, call in (
            (self._viewer.mouse_drag_callbacks, self._on_drag),
            (self._viewer.mouse_double_click_callbacks, self._on_double_click),
        ):
            if on and call not in calls:
                calls.append(call)
            elif not on and call in calls and self._down is None:
                calls.remove(call)

    def draws_on(self, mask: Labels) -> bool:
        """Tell whether a stroke is under way on a mask; a polygon may be closed by a key at any time."""
        return self._down is mask or str(mask.mode) == POLYGON_MODE

    def _on_drag(self, viewer: Any, event: Any) -> Iterator[None]:
        # napari tells the viewer before the layer, so nothing is drawn yet.
        self._down = drawn_on(viewer)
        if self._down is not None:
            self._pressed(self._down)
        yield
        while event.type == "mouse_move":
            yield
        self._down = None
        if not self._wanted:
            self.listen(False)

    def _on_double_click(self, viewer: Any, event: Any) -> None:
        mask = drawn_on(viewer)
        if mask is not None:
            self._pressed(mask)


def drawn_on(viewer: Any) -> Any:
    """Return the mask layer that a press of the mouse button would draw on; None where it draws nothing.

    The viewer is the one that the event tells of: a widget is given a proxy, whose layers are not identical to ours.
    """
    layer = viewer.layers.selection.active
    draws = hasattr(layer, "data_setitem") and str(getattr(layer, "mode", "")) not in PASSIVE_MODES
    return layer if draws else None
