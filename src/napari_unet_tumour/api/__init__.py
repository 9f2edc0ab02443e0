"""The Python API: `segment`, `load_model`, `evaluate`, `finetune`; importing it loads no torch."""

from __future__ import annotations

from napari_unet_tumour.api.evaluate import evaluate
from napari_unet_tumour.api.finetune import finetune
from napari_unet_tumour.api.pairs import Pair, pair_folders, read_pairs
from napari_unet_tumour.api.segment import layout_for, load_model, segment, slice_axis

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
