"""Scores of a mask against a reference."""

from napari_unet_tumour.engine.metrics.overlap import METRICS, accuracy, dice, hd95, iou, precision, recall

__all__ = ["METRICS", "accuracy", "dice", "hd95", "iou", "precision", "recall"]
