"""Lesion report: size, position and brightness of every lesion of a mask, and the change since an earlier one.

Research use only: this is not a medical device.
"""

from __future__ import annotations

from napari_unet_tumour.measure.agreement import Agreement, MaskComparison, compare_masks
from napari_unet_tumour.measure.agreement_export import difference_names, write_agreement
from napari_unet_tumour.measure.compare import Change, Comparison, compare
from napari_unet_tumour.measure.dicom_sr import check_dicom_sr, write_dicom_sr
from napari_unet_tumour.measure.export import as_json, as_rows, as_text, write_csv, write_json
from napari_unet_tumour.measure.html_report import html_report, write_html
from napari_unet_tumour.measure.report import Report, iter_measure, measure
from napari_unet_tumour.measure.types import Brightness, MeasuredLesion, Total

__all__ = [
    "Agreement",
    "Brightness",
    "Change",
    "Comparison",
    "MaskComparison",
    "MeasuredLesion",
    "Report",
    "Total",
    "as_json",
    "as_rows",
    "as_text",
    "check_dicom_sr",
    "compare",
    "compare_masks",
    "difference_names",
    "html_report",
    "iter_measure",
    "measure",
    "write_agreement",
    "write_csv",
    "write_dicom_sr",
    "write_html",
    "write_json",
]
