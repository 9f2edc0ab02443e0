"""The controls of the brush in a panel."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from magicgui.widgets import FloatSpinBox, PushButton
from qtpy.QtWidgets import QAbstractSpinBox

from napari_unet_tumour.widgets.brush.brush import LEAST_WIDTH, MOST_WIDTH
from napari_unet_tumour.widgets.brush.limits import BrushKind
from napari_unet_tumour.widgets.brush.shared import return_brush, take_brush
from napari_unet_tumour.widgets.common.keys import BRUSH_KEY, LOCK_KEY
from napari_unet_tumour.widgets.common.style import picker, row

if TYPE_CHECKING:
    from collections.abc import Callable

    from magicgui.widgets import Container, Widget
    from qtpy.QtWidgets import QWidget

TELL_KIND = (
    f"What brush and eraser change of the pixels under them ({BRUSH_KEY}: next). Range: those as bright as where "
    "the stroke begins. Up to edges: those between the middle of the brush and the edges of the image."
)
TELL_WIDTH = (
    "Half the width of the grey range, in standard deviations of the pixels within 3 pixels of where the stroke begins."
)
TELL_LOCK = f"No stroke changes the selected label of the selected mask ({LOCK_KEY})."


class BrushControls:
    """Kind and width of the brush, and the lock of the selected label; one per panel, all in step."""

    def __init__(self) -> None:
        names = [kind.value for kind in BrushKind]
        self.kind = picker("Brush", TELL_KIND, choices=names, value=names[0])
        self.width = FloatSpinBox(value=LEAST_WIDTH, min=LEAST_WIDTH, max=MOST_WIDTH, step=0.5, tooltip=TELL_WIDTH)
        self.width.native.setDecimals(1)
        self.width.native.setPrefix("± ")
        self.width.native.setSuffix(" SD")
        # Wheel and arrow keys change it; its buttons would take the room of the names beside it.
        self.width.native.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
        self.width.native.setMaximumWidth(76)
        self.lock = PushButton(text="Lock", tooltip=TELL_LOCK)
        self.lock.native.setCheckable(True)
        self._setting = False

    def row(self) -> Container[Widget]:
        """Return kind and width side by side."""
        return row(self.kind, self.width)

    def begin(self, viewer: Any, panel: QWidget, refused: Callable[[str], None] | None = None) -> None:
        """Follow the brush of a viewer.

        Parameters
        ----------
        panel : QWidget
            The panel that the controls are in.
        refused : callable, optional
            Called with one line where a stroke has changed nothing.
        """
        self._panel, self._refused = panel, refused
        self._shared = take_brush(viewer, panel)
        brush = self._shared.brush
        self.kind.changed.connect(self._on_kind)
        self.width.changed.connect(self._on_width)
        self.lock.native.clicked.connect(self._on_lock)
        brush.changed.connect(self.look)
        if refused is not None:
            brush.refused.connect(refused)
        self.look()

    def look(self) -> None:
        """Show the brush as it is, on the canvas too."""
        brush = self._shared.brush
        self._setting = True
        with suppress(RuntimeError):  # the window is being closed
            self.kind.value = brush.kind.value
            self.width.value = brush.width
            self.width.visible = brush.kind is BrushKind.RANGE
            self.lock.enabled = brush.mask is not None and bool(brush.mask.selected_label)
            self.lock.native.setChecked(brush.locked)
        self._setting = False

    def look_again(self) -> None:
        """Have the canvas say what is locked, after review marks have changed."""
        if self._shared.note is not None:
            self._shared.note.look()

    def end(self) -> None:
        """Let go of the brush."""
        brush = self._shared.brush
        brush.changed.disconnect(self.look)
        if self._refused is not None:
            brush.refused.disconnect(self._refused)
        return_brush(self._shared, self._panel)

    def _on_kind(self, name: str) -> None:
        if not self._setting:
            self._shared.brush.kind = BrushKind(name)

    def _on_width(self, width: float) -> None:
        if not self._setting:
            self._shared.brush.width = float(width)

    def _on_lock(self, on: bool = False) -> None:
        self._shared.brush.lock(on)
