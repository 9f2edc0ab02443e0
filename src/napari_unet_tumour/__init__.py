"""Outline tumours in napari with a U-Net that learns from your corrections.

Research use only: this is not a medical device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet_tumour.base.old_names import find_old_modules
from napari_unet_tumour.version import __version__

if TYPE_CHECKING:
    from napari_unet_tumour.api.evaluate import evaluate
    from napari_unet_tumour.api.finetune import finetune
    from napari_unet_tumour.api.segment import load_model, segment

__all__ = ["__version__", "evaluate", "finetune", "load_model", "segment"]

find_old_modules()


def __getattr__(name: str) -> Any:
    # On first use: napari imports this package for every plugin it lists, and must stay quick.
    if name in __all__:
        from napari_unet_tumour import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
