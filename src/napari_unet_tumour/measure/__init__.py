"""Lesion report: size, position and brightness of every lesion of a mask, and the change since an earlier one.

Research use only: this is not a medical device.
"""

from __future__ import annotations

from napari_unet_tumour.measure.compare import Change, Comparison, compare
from napari_unet_tumour.measure.export import as_json, as_rows, as_text, write_csv, write_json
from napari_unet_tumour.measure.report import Report, iter_measure, measure
from napari_unet_tumour.measure.types import Brightness, MeasuredLesion, Total

__all__ = [
    "Brightness",
    "Change",
    "Comparison",
    "MeasuredLesion",
    "Report",
    "Total",
    "as_json",
    "as_rows",
    "as_text",
    "compare",
    "iter_measure",
    "measure",
    "write_csv",
    "write_json",
]
