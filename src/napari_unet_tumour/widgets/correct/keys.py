"""The keys of the Correct widget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

NEXT_KEY, TICK_KEY, CLICK_KEY, OUTLINE_KEY = "N", "R", "C", "Shift-C"
# What R and N do, in one press.
REVIEWED_NEXT_KEY = "Shift-R"


def pressed(call: Callable[[], None]) -> Callable[[Any], None]:
    """Return what a key is bound to; napari hands a layer or a viewer over, and wants a function with a name."""

    def on_key(owner: Any) -> None:
        call()

    return on_key
