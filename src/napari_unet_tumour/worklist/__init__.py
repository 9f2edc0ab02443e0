"""A folder of scans as a list to work through: which cases there are, how far each one is, and where its mask is kept.

Nothing is written into the folder of the scans: states and masks lie in the person's data folder.
"""

from __future__ import annotations

from napari_unet_tumour.worklist.folder import FoundCase, find_cases
from napari_unet_tumour.worklist.store import ACCEPTED, CORRECTED, NEW, SEGMENTED, STATES, Case, Worklist

__all__ = [
    "ACCEPTED",
    "CORRECTED",
    "NEW",
    "SEGMENTED",
    "STATES",
    "Case",
    "FoundCase",
    "Worklist",
    "find_cases",
]
