"""Notices that layers come and go, and that pixels of masks have changed: strokes, tools, undo, other arrays.

A change of slice alone is no change of pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari.components import ViewerModel

EVENTS = ("paint", "labels_update", "set_data", "data")


def list_events(viewer: ViewerModel) -> tuple[Any, ...]:
    """Return the events of a viewer's layer list after which a picker of layers offers others, or other names."""
    events = viewer.layers.events
    return events.inserted, events.removed, events.renamed


class Edits:
    """Watches masks of a viewer.

    Parameters
    ----------
    edited : callable
        Called with a mask whose pixels have changed or are about to.
    """

    def __init__(self, viewer: ViewerModel, edited: Callable[[Any], None]) -> None:
        self._viewer, self._edited = viewer, edited
        self._masks: list[Any] = []
        self._shown: dict[Any, Any] = {}

    def watch(self, masks: Iterable[Any]) -> None:
        """Watch these masks and no others."""
        for mask in self._masks:
            for name in EVENTS:
                getattr(mask.events, name).disconnect(self._on_event)
        self._masks = list(masks)
        self._shown = {mask: at for mask, at in self._shown.items() if mask in self._masks}
        for mask in self._masks:
            for name in EVENTS:
                getattr(mask.events, name).connect(self._on_event)

    def _on_event(self, event: Any) -> None:
        mask, dims = event.source, self._viewer.dims
        at = (tuple(dims.point), tuple(dims.order), dims.ndisplay)
        moved = event.type == "set_data" and self._shown.get(mask, at) != at
        self._shown[mask] = at
        if not moved:
            self._edited(mask)
