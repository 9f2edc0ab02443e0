"""DICOMweb: search a server for studies and series, fetch a series into a folder, store results back."""

from __future__ import annotations

from napari_unet_tumour.dicomweb.server import Server
from napari_unet_tumour.dicomweb.transfer import (
    MOST_RESULTS,
    FoundSeries,
    FoundStudy,
    find_series,
    find_studies,
    iter_fetch,
    iter_store,
)

__all__ = [
    "MOST_RESULTS",
    "FoundSeries",
    "FoundStudy",
    "Server",
    "find_series",
    "find_studies",
    "iter_fetch",
    "iter_store",
]
