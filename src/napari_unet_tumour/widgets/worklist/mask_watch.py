"""Hearing of changes of the open scan's mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS = ("paint", "data", "labels_update")


class MaskWatch:
    """Calls `on_change` when the mask that it follows has changed."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._mask: Any = None

    def _on_event(self, event: Any = None) -> None:
        self._on_change()

    def follow(self, mask: Any) -> None:
        """Follow another mask, or none."""
        if mask == self._mask:
            return
        for layer, change in ((self._mask, "disconnect"), (mask, "connect")):
            for name in EVENTS if layer is not None else ():
                getattr(getattr(layer.events, name), change)(self._on_event)
        self._mask = mask
