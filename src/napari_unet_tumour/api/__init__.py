"""The product from Python: `segment`, `load_model`, `evaluate`; importing it loads no torch."""

from __future__ import annotations

from napari_unet_tumour.api.masking import layout_for, load_model, segment, slice_axis
from napari_unet_tumour.api.pairs import Pair, pair_folders, read_pairs
from napari_unet_tumour.api.scoring import evaluate
from napari_unet_tumour.api.tuning import finetune

__all__ = [
    "Pair",
    "evaluate",
    "finetune",
    "layout_for",
    "load_model",
    "pair_folders",
    "read_pairs",
    "segment",
    "slice_axis",
]
