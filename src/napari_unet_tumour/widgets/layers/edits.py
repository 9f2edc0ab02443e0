"""Notices that layers come and go, and that pixels of masks have changed: strokes, tools, undo, other arrays.

A change of slice alone is no change of pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari.components import ViewerModel

EVENTS = ("paint", "labels_update", "set_data", "data")


def list_events(viewer: ViewerModel) -> tuple[Any, ...]:
    """Return the events of a viewer's layer list after which a picker of layers offers others, or other names."""
    events = viewer.layers.events
    return events.inserted, events.removed, events.renamed


class LayerEvents:
    """Calls back for some events of the layers that are followed.

    Parameters
    ----------
    call : callable
        Called with every event.
    names : sequence of str
        Names of the events.

    Attributes
    ----------
    layers : list of napari.layers.Layer
        The layers that are followed.
    """

    def __init__(self, call: Callable[[Any], None], names: Sequence[str] = EVENTS) -> None:
        self._call, self._names = call, names
        self.layers: list[Any] = []

    def follow(self, layers: Iterable[Any]) -> None:
        """Follow these layers and no others."""
        for layer in self.layers:
            for name in self._names:
                getattr(layer.events, name).disconnect(self._call)
        self.layers = list(layers)
        for layer in self.layers:
            for name in self._names:
                getattr(layer.events, name).connect(self._call)


class Edits:
    """Watches masks of a viewer.

    Parameters
    ----------
    edited : callable
        Called with a mask whose pixels have changed or are about to.
    """

    def __init__(self, viewer: ViewerModel, edited: Callable[[Any], None]) -> None:
        self._viewer, self._edited = viewer, edited
        self._events = LayerEvents(self._on_event)
        self._shown: dict[Any, Any] = {}

    def watch(self, masks: Iterable[Any]) -> None:
        """Watch these masks and no others."""
        self._events.follow(masks)
        self._shown = {mask: at for mask, at in self._shown.items() if mask in self._events.layers}

    def _on_event(self, event: Any) -> None:
        mask, dims = event.source, self._viewer.dims
        at = (tuple(dims.point), tuple(dims.order), dims.ndisplay)
        moved = event.type == "set_data" and self._shown.get(mask, at) != at
        self._shown[mask] = at
        if not moved:
            self._edited(mask)
