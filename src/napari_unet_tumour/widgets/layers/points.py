"""Points layers: all that belongs to new points set at once, and drawn once."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.layers import Points
    from numpy.typing import NDArray


def set_points(layer: Points, data: NDArray[Any], draw: bool = True, **looks: Any) -> None:
    """Give a layer other points.

    napari slices the layer, makes its thumbnail and fills the graphics card anew after each property that is set. Here
    it slices once and draws once; the thumbnail stays.

    Parameters
    ----------
    data : numpy.ndarray
        (N, D) positions.
    draw : bool
        Whether views show them now; else `draw_points` must follow.
    looks : dict
        Properties by name, e.g. size and face_color; not looked at where there are no points.
    """
    quiet = (layer.events, layer._border.events, layer._face.events)
    with ExitStack() as stack:
        for events in quiet:
            stack.enter_context(events.blocker_all())
        with layer._block_refresh():
            layer.data = data
            for name, value in looks.items() if len(data) else ():
                setattr(layer, name, value)
            layer.selected_data = set()
    with nullcontext() if draw else layer.events.set_data.blocker():
        layer.refresh(thumbnail=False, highlight=False)


def draw_points(layer: Points) -> None:
    """Show in all views what `set_points` has set."""
    layer.events.set_data()
