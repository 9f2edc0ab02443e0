"""Keys that more than one panel speaks of, and how a key is bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TICK_KEY, BRUSH_KEY, LOCK_KEY = "R", "Shift-B", "Shift-L"


def pressed(call: Callable[[], None]) -> Callable[[Any], None]:
    """Return what a key is bound to; napari hands a layer or a viewer over, and wants a function with a name."""

    def on_key(owner: Any) -> None:
        call()

    return on_key
