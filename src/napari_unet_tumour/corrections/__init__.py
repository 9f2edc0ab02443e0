"""What a person has reviewed: slices, unsure pixels, hold-out, and their journal on disk; no torch, no GUI."""

from napari_unet_tumour.corrections.outcome import FineTuneOutcome
from napari_unet_tumour.corrections.record import Record
from napari_unet_tumour.corrections.reviewed import UNSURE, ReviewedContext, ReviewedSlice
from napari_unet_tumour.corrections.scan_id import scan_id
from napari_unet_tumour.corrections.store import Store

__all__ = ["UNSURE", "FineTuneOutcome", "Record", "ReviewedContext", "ReviewedSlice", "Store", "scan_id"]
