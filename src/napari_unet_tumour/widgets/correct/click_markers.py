"""The clicks on screen: a Points layer that Click mode adds and takes away; it is never a person's layer."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.widgets.correct.click_marks import MarkKind
from napari_unet_tumour.widgets.layers.points import draw_points, set_points
from napari_unet_tumour.widgets.layers.world import PLACE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Labels, Points

    from napari_unet_tumour.widgets.correct.click_known import ClickedSlice
    from napari_unet_tumour.widgets.correct.click_marks import Mark

NAME = "clicks"
ADD, REMOVE = "#00e676", "#ff9100"
# Size in pixels of the mask, and the least and the most that it takes on screen.
SIZE, ON_SCREEN = 3.0, (8, 12)
COPIED = (*PLACE, "units", "axis_labels")
# Of a scribble every so many pixels are shown.
EVERY = 4


class ClickMarkers:
    """Shows marks on the slice where they were made: green discs where they add, orange diamonds where they remove."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Points | None = None
        self._of: Labels | None = None
        self._places: list[tuple[tuple[float, ...], int]] = []
        self._drawn = True

    def show(self, shown: Sequence[tuple[ClickedSlice, Mark]], mask: Labels, draw: bool = True) -> None:
        """Show marks of slices of one mask layer, and no others; without `draw` the picture stays until `draw()`."""
        places = [(tuple(of.index(*pixel)), mark.sign) for of, mark in shown for pixel in _shown(mark)]
        layer = self._layer_on(mask)
        if places == self._places:
            if draw:
                self.draw()
            return
        self._places = places
        colours = [ADD if sign > 0 else REMOVE for _, sign in places]
        set_points(
            layer, np.array([place for place, _ in places], float).reshape(-1, mask.ndim), draw,
            # The border too: of so small a marker napari shows little else.
            face_color=colours, border_color=colours, size=SIZE,
            symbol=["disc" if sign > 0 else "diamond" for _, sign in places],
        )  # fmt: skip
        self._drawn = draw

    def draw(self) -> None:
        """Draw what `show` was told not to draw yet."""
        if not self._drawn and self._layer is not None:
            draw_points(self._layer)
        self._drawn = True

    def close(self) -> None:
        """Take the layer away."""
        layer, self._layer, self._of, self._places = self._layer, None, None, []
        if layer is not None and layer in self._viewer.layers:
            with suppress(ValueError):
                self._viewer.layers.remove(layer)

    def _layer_on(self, mask: Labels) -> Points:
        """Return the layer where the mask lies; made anew where it is another mask's, or gone."""
        if self._layer is not None and self._of is mask and self._layer in self._viewer.layers:
            return self._layer
        self.close()
        from napari.layers import Points

        place = {name: getattr(mask, name) for name in COPIED}
        layer = Points(
            np.zeros((0, mask.ndim)), name=NAME, size=SIZE, face_color=ADD,
            canvas_size_limits=ON_SCREEN, **place,
        )  # fmt: skip
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(layer)
        layer.editable = False
        self._viewer.layers.selection.active = active or mask
        self._layer, self._of = layer, mask
        return layer


def _shown(mark: Mark) -> list[tuple[float, float]]:
    """Return the pixels of a mark that are shown: of a box its corners and the middles of its sides."""
    if mark.kind is not MarkKind.BOX:
        return [(float(r), float(c)) for r, c in mark.pixels[::EVERY]]
    (top, bottom), (left, right) = ((part.start, part.stop - 1) for part in mark.box)
    middle = ((top + bottom) / 2, (left + right) / 2)
    found = [(float(r), float(c)) for r in (top, middle[0], bottom) for c in (left, middle[1], right)]
    return [place for place in found if place != middle]
