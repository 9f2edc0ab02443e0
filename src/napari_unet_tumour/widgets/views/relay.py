"""Mouse and keys of a linked view: a click moves the crosshair, and what other code does on the main view works here.

Calls that this plugin or another one has added to the main view's mouse are made with the same place in the main view:
Click mode, window and level, the drawing hand. Keys go to the main view as they are.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QCoreApplication, QEvent, QObject

from napari_unet_tumour.widgets.layers.preview import drawn_on
from napari_unet_tumour.widgets.look.letters import camera_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from napari.components import ViewerModel
    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget

LEFT = 1
# So many pixels of the screen tell a drag from a click.
DRAGGED = 4.0
NAPARIS = "napari."
KEYS = (QEvent.Type.KeyPress, QEvent.Type.KeyRelease)


class MainViewEvent:
    """A mouse event of a linked view, as the main view would tell it.

    Parameters
    ----------
    event : napari mouse event
        Of the linked view.
    to_main : callable
        Turns a position of the linked view into one of the main view.
    still : bool
        Stay where the button was pressed: in another plane a drag has no meaning in the main view.
    """

    def __init__(self, event: Any, to_main: Callable[[Any], NDArray[np.float64]], still: bool) -> None:
        self._event, self._to_main = event, to_main
        self._still = (tuple(event.position), tuple(event.pos)) if still else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event, name)

    @property
    def position(self) -> tuple[float, ...]:
        """Position in the main view's world."""
        return tuple(float(at) for at in self._to_main(self._event.position if self._still is None else self._still[0]))

    @property
    def pos(self) -> Any:
        """Position in pixels of the canvas."""
        return self._event.pos if self._still is None else np.array(self._still[1])

    @property
    def handled(self) -> bool:
        """Whether nobody else is to act on it."""
        return bool(self._event.handled)

    @handled.setter
    def handled(self, value: bool) -> None:
        self._event.handled = value


class MouseRelay:
    """Takes the mouse of a linked view.

    Parameters
    ----------
    model : ViewerModel
        The linked view's.
    main : ViewerModel
        The main view's.
    to_main : callable
        Turns a position of the linked view into one of the main view.
    clicked : callable
        Called with a position of the linked view that was clicked, and whether the main view must follow at once.
    """

    def __init__(
        self, model: ViewerModel, main: ViewerModel, to_main: Callable[[Any], NDArray[np.float64]],
        clicked: Callable[..., None],
    ) -> None:  # fmt: skip
        self._model, self._main, self._to_main, self._clicked = model, main, to_main, clicked
        model.mouse_drag_callbacks.insert(0, self._on_drag)
        # napari would zoom; the second of two quick clicks is a click.
        model.mouse_double_click_callbacks[:] = [self._on_double_click]
        model.cursor.events.position.connect(self._on_cursor)
        model.events.mouse_over_canvas.connect(self._on_enter)

    def close(self) -> None:
        """Let go."""
        self._model.mouse_drag_callbacks.clear()
        self._model.mouse_double_click_callbacks.clear()
        self._model.cursor.events.position.disconnect(self._on_cursor)
        self._model.events.mouse_over_canvas.disconnect(self._on_enter)

    def _on_cursor(self, event: Any = None) -> None:
        """Let the main window tell what is under the pointer."""
        here = self._model.mouse_over_canvas  # napari moves it with the slice, too
        if here and self._model.layers and len(self._model.cursor.position) == self._main.dims.ndim:
            self._main.cursor.position = tuple(self._to_main(self._model.cursor.position))

    def _on_enter(self, event: Any = None) -> None:
        self._main.mouse_over_canvas = self._model.mouse_over_canvas

    def _on_double_click(self, model: Any, event: Any) -> None:
        told = MainViewEvent(event, self._to_main, False)
        if event.button == LEFT and drawn_on(self._model) is None:
            self._clicked(event.position, True)
        for call in _others(self._main.mouse_double_click_callbacks):
            call(self._main, told)

    def _on_drag(self, model: Any, event: Any) -> Iterator[None]:
        draws, shift = drawn_on(self._model) is not None, "Shift" in event.modifiers
        aims = event.button == LEFT and shift == draws
        if draws and aims:  # Shift moves the crosshair while a tool is chosen
            yield from self._aim(event)
            return
        camera, main = camera_of(self._model), camera_of(self._main)
        pans = main.mouse_pan
        told = MainViewEvent(event, self._to_main, event.button == LEFT and not self._is_same_plane())
        running = [call(self._main, told) for call in _others(self._main.mouse_drag_callbacks)]
        running = _advanced(running)
        taken, keeps_still = event.handled, pans and not main.mouse_pan
        if keeps_still:
            camera.mouse_pan = False
        begun, pressed, away = tuple(event.position), np.array(event.pos), 0.0
        yield
        while event.type == "mouse_move":
            away = max(away, float(np.hypot(*(np.array(event.pos) - pressed))))
            running = _advanced(running)
            yield
        if taken or (aims and away <= DRAGGED):
            self._clicked(begun, taken)  # whoever takes the click looks at the main view's slice
        _advanced(running)
        if keeps_still:
            camera.mouse_pan = True

    def _aim(self, event: Any) -> Iterator[None]:
        """Follow the pointer with the crosshair in place of drawing."""
        mask = drawn_on(self._model)
        mode, mask.mode = str(mask.mode), "pan_zoom"  # napari asks the layer after this, whatever is handled
        try:
            event.handled = True
            self._clicked(event.position)
            yield
            while event.type == "mouse_move":
                event.handled = True
                self._clicked(event.position)
                yield
        finally:
            mask.mode = mode

    def _is_same_plane(self) -> bool:
        shown = (set(one.dims.displayed) for one in (self._model, self._main))
        return self._main.dims.ndisplay == 2 and next(shown) == next(shown)


class KeyRelay(QObject):
    """Gives the keys that are pressed over a canvas to another one."""

    def __init__(self, canvas: QWidget, target: Callable[[], QWidget | None]) -> None:
        super().__init__(canvas)
        self._canvas, self._target = canvas, target
        canvas.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Pass keys on."""
        if event is None or event.type() not in KEYS:
            return False
        target = self._target()
        if target is None:
            return False
        QCoreApplication.sendEvent(target, event)
        return True

    def close(self) -> None:
        """Let go."""
        with suppress(RuntimeError):
            self._canvas.removeEventFilter(self)


def _others(calls: Iterable[Any]) -> list[Any]:
    """Return the calls that are not napari's own."""
    return [call for call in calls if not str(getattr(call, "__module__", "")).startswith(NAPARIS)]


def _advanced(running: list[Any]) -> list[Any]:
    """Go on with what is under way; return what has not ended."""
    done = object()
    return [one for one in running if one is not None and next(one, done) is not done]
