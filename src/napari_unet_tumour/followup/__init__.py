"""Two dates of a patient: the later scan aligned to the earlier one, and their lesions matched by overlap.

Research use only: this is not a medical device.
"""

from __future__ import annotations

from napari_unet_tumour.followup.alignment import Alignment, Cancelled, align, can_align
from napari_unet_tumour.followup.changes import (
    ChangeKind,
    FollowUp,
    LesionChange,
    Placing,
    follow_up,
    iter_follow_up,
    write_changes,
)

__all__ = [
    "Alignment",
    "Cancelled",
    "ChangeKind",
    "FollowUp",
    "LesionChange",
    "Placing",
    "align",
    "can_align",
    "follow_up",
    "iter_follow_up",
    "write_changes",
]
