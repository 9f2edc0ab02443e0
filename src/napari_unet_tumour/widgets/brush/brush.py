"""The brush of a viewer: what it may paint, for all mask layers, while a panel that shows it is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from napari_unet_tumour.widgets.brush.image_values import image_under
from napari_unet_tumour.widgets.brush.limits import BrushKind, StrokeLimit
from napari_unet_tumour.widgets.brush.stroke_filter import StrokeFilter
from napari_unet_tumour.widgets.common.keys import BRUSH_KEY, LOCK_KEY, bind_keys, pressed
from napari_unet_tumour.widgets.common.settings_form import remember, remembered
from napari_unet_tumour.widgets.layers import locks
from napari_unet_tumour.widgets.layers.preview import POLYGON_MODE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_unet_tumour.widgets.brush.image_values import Box

PART = "brush"
LEAST_WIDTH, MOST_WIDTH, WIDTH = 0.5, 10.0, 2.0


class Brush:
    """What strokes may change in the masks of one viewer.

    Attributes
    ----------
    changed : Signal
        Kind, width or locked labels have changed, or another mask or label is selected.
    refused : Signal
        A stroke has changed nothing; says why and how to go on. Once per stroke.
    """

    changed = Signal()
    refused = Signal(str)

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self._kind = BrushKind.ALL
        self._width = _kept_width()
        self._filters: dict[int, StrokeFilter] = {}
        self._limit: StrokeLimit | None = None
        self._mask: Labels | None = None
        self._begun = self._down = self._told = False
        viewer.mouse_drag_callbacks.append(self._on_drag)
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)
        viewer.layers.selection.events.active.connect(self._on_active)
        keys = ((BRUSH_KEY, self.next_kind), (LOCK_KEY, lambda: self.lock(not self.locked)))
        self._bound = bind_keys(viewer, ((key, pressed(call)) for key, call in keys))
        self._on_layers()
        self._on_active()

    @property
    def kind(self) -> BrushKind:
        """What the brush paints of the pixels under it."""
        return self._kind

    @kind.setter
    def kind(self, kind: BrushKind) -> None:
        if kind is not self._kind:
            self._kind = kind
            self.changed.emit()

    @property
    def width(self) -> float:
        """Half the width of a range of grey values, in standard deviations; remembered for the next session."""
        return self._width

    @width.setter
    def width(self, width: float) -> None:
        width = float(np.clip(width, LEAST_WIDTH, MOST_WIDTH))
        if width != self._width:
            self._width = width
            remember(PART, {"width": width})
            self.changed.emit()

    @property
    def mask(self) -> Labels | None:
        """The selected mask layer."""
        return self._mask

    @property
    def locked(self) -> bool:
        """Whether the selected label of the selected mask is locked."""
        return self._mask is not None and int(self._mask.selected_label) in locks.locked_labels(self._mask)

    def next_kind(self) -> None:
        """Take up the next kind of brush."""
        kinds = list(BrushKind)
        self.kind = kinds[(kinds.index(self._kind) + 1) % len(kinds)]

    def lock(self, on: bool) -> None:
        """Lock or unlock the selected label of the selected mask."""
        if self._mask is not None and on != self.locked:
            locks.lock_label(self._mask, int(self._mask.selected_label), on)
        self.changed.emit()

    def close(self) -> None:
        """Let go of the viewer and its layers; locked labels stay known."""
        if self._on_drag in self.viewer.mouse_drag_callbacks:
            self.viewer.mouse_drag_callbacks.remove(self._on_drag)
        self.viewer.layers.events.inserted.disconnect(self._on_layers)
        self.viewer.layers.events.removed.disconnect(self._on_layers)
        self.viewer.layers.selection.events.active.disconnect(self._on_active)
        for key in self._bound:
            self.viewer.bind_key(key, None)
        self._follow(None)
        for one in self._filters.values():
            one.remove()
        self._filters.clear()

    # ---- which layers are meant ----------------------------------------------------------------------

    def _on_layers(self, event: Any = None) -> None:
        masks = {id(layer): layer for layer in self.viewer.layers if isinstance(layer, Labels)}
        for key in self._filters.keys() - masks.keys():
            self._filters.pop(key).remove()
        for key in masks.keys() - self._filters.keys():
            self._filters[key] = StrokeFilter(masks[key], self._allowed)

    def _on_active(self, event: Any = None) -> None:
        active = self.viewer.layers.selection.active
        self._follow(active if isinstance(active, Labels) else None)
        self.changed.emit()

    def _follow(self, mask: Labels | None) -> None:
        if self._mask is not None:
            self._mask.events.selected_label.disconnect(self._on_label)
        self._mask = mask
        if mask is not None:
            mask.events.selected_label.connect(self._on_label)

    def _on_label(self, event: Any = None) -> None:
        self.changed.emit()

    # ---- a stroke ------------------------------------------------------------------------------------

    def _on_drag(self, viewer: Any, event: Any) -> Iterator[None]:
        # napari tells the viewer before the layer, so nothing is drawn yet.
        self._begun, self._down, self._told = False, True, False
        try:
            yield
            while event.type == "mouse_move":
                yield
        finally:
            self._down = False

    def _allowed(
        self, mask: Labels, box: Box, marked: NDArray[np.bool_], now: NDArray[Any], label: int,
        centre: Sequence[int] | None,
    ) -> NDArray[np.bool_]:  # fmt: skip
        changes = marked & (now != label)
        # A program that calls the methods of the layer may change what its author has reviewed.
        by_hand = bool(mask._block_history) or str(mask.mode) == POLYGON_MODE
        free = locks.may_change(mask, box, now, label, reviewed=by_hand)
        if free is not None:
            if changes.any() and not (changes & free).any():
                self._refuse(self._why_locked(mask, label, now, changes))
            marked = marked & free
        if centre is None or self._kind is BrushKind.ALL or not marked.any():
            return marked
        limit = self._limit_of(mask, centre)
        return marked if limit is None else limit.under(box, marked, centre)

    def _limit_of(self, mask: Labels, centre: Sequence[int]) -> StrokeLimit | None:
        """Return the limit of the stroke that is under way; None where no image lies under its first point."""
        # A stroke round a region (right button) goes on after the release; napari holds its undo step open.
        if not (self._begun and (self._down or mask._staged_history)):
            self._begun = True
            values = image_under(self.viewer, mask, centre)
            shape = tuple(int(n) for n in mask.data.shape)
            self._limit = None
            if values is not None:
                painted = [int(axis) for axis in mask._get_dims_to_paint()]
                self._limit = StrokeLimit(values, shape, painted, self._kind, self._width)
            else:
                self._refuse(f"No image is shown under '{mask.name}': the brush paints all pixels.")
        return self._limit

    def _why_locked(self, mask: Labels, label: int, now: NDArray[Any], changes: NDArray[np.bool_]) -> str:
        locked = locks.locked_labels(mask)
        names = [label] if label in locked else sorted(set(np.unique(now[changes]).tolist()) & locked)
        return locks.label_refusal(names[0]) if names else locks.REVIEWED_REFUSAL

    def _refuse(self, why: str) -> None:
        if not self._told:
            self._told = self._down
            self.refused.emit(why)


def _kept_width() -> float:
    found = remembered(PART).get("width", WIDTH)
    return float(np.clip(found, LEAST_WIDTH, MOST_WIDTH)) if isinstance(found, int | float) else WIDTH
