"""What a person has reviewed: slices, unsure pixels, hold-out, and their journal on disk; no torch, no GUI."""

from napari_unet_tumour.corrections.correction import UNSURE, Corrected, Correction
from napari_unet_tumour.corrections.identity import scan_id
from napari_unet_tumour.corrections.record import Record
from napari_unet_tumour.corrections.store import Store
from napari_unet_tumour.corrections.tuned import Tuned

__all__ = ["UNSURE", "Corrected", "Correction", "Record", "Store", "Tuned", "scan_id"]
