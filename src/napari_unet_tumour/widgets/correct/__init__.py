"""The Correct panel."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # On first use, so that a part of the panel is imported without all of it.
    if name == "CorrectWidget":
        from napari_unet_tumour.widgets.correct.widget import CorrectWidget

        return CorrectWidget
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
