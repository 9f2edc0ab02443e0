"""What mouse and keyboard mean while Click mode is on: clicks, boxes, scribbles, Esc, Delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.widgets.common.keys import bind_keys, pressed
from napari_unet_tumour.widgets.layers.preview import drawn_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.components import ViewerModel
    from napari.layers import Labels

LEFT, RIGHT = 1, 2
# So many pixels of the screen tell a drag from a click.
DRAGGED = 6.0
NAPARIS = "napari."


@dataclass(frozen=True)
class Gesture:
    """What the mouse did.

    Parameters
    ----------
    path : tuple of tuple of float
        Positions in the viewer's world, from the press to the release.
    dragged : bool
        Whether the mouse moved.
    sign : int
        +1: add, -1: remove.
    apart : bool
        Whether Shift was held.
    """

    path: tuple[tuple[float, ...], ...]
    dragged: bool
    sign: int
    apart: bool


class ClickMouse:
    """Takes the mouse and some keys while it is on, and gives them back.

    Parameters
    ----------
    made : callable
        Called with every gesture when the button is released.
    moved : callable
        Called with a drag that is under way.
    keys : dict of str to callable
        What keys do meanwhile.
    drawing : callable
        Called when the person presses the button with a brush in hand.
    """

    def __init__(
        self, viewer: ViewerModel, made: Callable[[Gesture], None], moved: Callable[[Gesture], None],
        keys: dict[str, Callable[[], None]], drawing: Callable[[], None],
    ) -> None:  # fmt: skip
        self._viewer, self._made, self._moved, self._drawing = viewer, made, moved, drawing
        self._keys: dict[str, Any] = {key: pressed(call) for key, call in keys.items()} | {"Space": self._pan}
        self._bound: list[tuple[Any, str]] = []
        self._zooming: list[Any] = []
        self._on = self._panning = False

    def take(self) -> None:
        """Begin to listen."""
        if self._on:
            return
        self._on = True
        self._viewer.mouse_drag_callbacks.append(self._on_drag)
        doubles = self._viewer.mouse_double_click_callbacks
        # A second click soon after the first is a click; napari would zoom.
        self._zooming = [call for call in doubles if str(getattr(call, "__module__", "")).startswith(NAPARIS)]
        for call in self._zooming:
            doubles.remove(call)
        doubles.append(self._on_double_click)
        self._bind(self._viewer)

    def take_keys(self, mask: Labels) -> None:
        """Take the keys of a mask layer too, whose own come before those of the viewer."""
        if all(owner is not mask for owner, _ in self._bound):
            self._bind(mask)

    def release(self) -> None:
        """Give mouse and keys back."""
        if not self._on:
            return
        self._on = self._panning = False
        for calls, call in (
            (self._viewer.mouse_drag_callbacks, self._on_drag),
            (self._viewer.mouse_double_click_callbacks, self._on_double_click),
        ):
            if call in calls:
                calls.remove(call)
        self._viewer.mouse_double_click_callbacks.extend(self._zooming)
        for owner, key in self._bound:
            owner.bind_key(key, None)
        self._bound, self._zooming = [], []

    def _bind(self, owner: Any) -> None:
        self._bound += [(owner, key) for key in bind_keys(owner, self._keys.items())]

    def _pan(self, owner: Any) -> Iterator[None]:
        """Let the mouse move the picture while the key is held."""
        self._panning = True
        yield
        self._panning = False

    def _on_drag(self, viewer: Any, event: Any) -> Iterator[None]:
        if self._panning or event.button not in (LEFT, RIGHT) or not self._on:
            return
        if drawn_on(viewer) is not None:
            self._drawing()
            return
        zooms = "Alt" in event.modifiers  # with Alt a drag is napari's zoom box
        event.handled = not zooms
        path, pressed, away = [tuple(event.position)], np.array(event.pos), 0.0
        sign, apart = _sign(event), "Shift" in event.modifiers
        yield
        while event.type == "mouse_move":
            event.handled = not zooms
            path.append(tuple(event.position))
            away = max(away, float(np.hypot(*(np.array(event.pos) - pressed))))
            if away > DRAGGED and not zooms:
                self._moved(Gesture(tuple(path), True, sign, apart))
            yield
        dragged = away > DRAGGED
        if self._on and not (dragged and zooms):
            self._made(Gesture(tuple(path) if dragged else (path[0],), dragged, sign, apart))

    def _on_double_click(self, viewer: Any, event: Any) -> None:
        if self._panning or event.button not in (LEFT, RIGHT) or drawn_on(viewer) is not None:
            return
        event.handled = True
        self._made(Gesture((tuple(event.position),), False, _sign(event), "Shift" in event.modifiers))


def _sign(event: Any) -> int:
    return -1 if event.button == RIGHT or "Alt" in event.modifiers else 1
