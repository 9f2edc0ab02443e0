"""The Segment panel."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # On first use, so that a part of the panel is imported without all of it.
    if name == "SegmentWidget":
        from napari_unet_tumour.widgets.segment.widget import SegmentWidget

        return SegmentWidget
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
