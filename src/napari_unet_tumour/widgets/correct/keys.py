"""The keys of the Correct widget."""

from napari_unet_tumour.widgets.common.keys import (
    CLICK_KEY,
    NEXT_KEY,
    OUTLINE_KEY,
    REVIEWED_NEXT_KEY,
    TICK_KEY,
    pressed,
)

__all__ = ["CLICK_KEY", "NEXT_KEY", "OUTLINE_KEY", "REVIEWED_NEXT_KEY", "TICK_KEY", "pressed"]
