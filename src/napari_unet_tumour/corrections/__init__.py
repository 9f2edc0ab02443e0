"""What a person has reviewed: slices, unsure pixels, hold-out, and their journal on disk; no torch, no GUI."""

from __future__ import annotations

from typing import Any

from napari_unet_tumour.base.labels import UNSURE
from napari_unet_tumour.base.old_names import old_name
from napari_unet_tumour.corrections.outcome import FineTuneOutcome
from napari_unet_tumour.corrections.record import Record
from napari_unet_tumour.corrections.reviewed import ReviewedContext, ReviewedSlice
from napari_unet_tumour.corrections.scan_id import scan_id
from napari_unet_tumour.corrections.store import Store

__all__ = ["UNSURE", "FineTuneOutcome", "Record", "ReviewedContext", "ReviewedSlice", "Store", "scan_id"]


def __getattr__(name: str) -> Any:
    return old_name(__name__, name)
