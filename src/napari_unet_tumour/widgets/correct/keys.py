"""The keys of the Correct widget."""

from __future__ import annotations

from napari_unet_tumour.widgets.common.keys import TICK_KEY, pressed

__all__ = ["CLICK_KEY", "NEXT_KEY", "OUTLINE_KEY", "TICK_KEY", "pressed"]

NEXT_KEY, CLICK_KEY, OUTLINE_KEY = "N", "C", "Shift-C"
