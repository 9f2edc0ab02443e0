"""What a fine-tuning gives back, as plain data: the viewer reads it without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, eq=False)
class FineTuneOutcome:
    """What a fine-tuning has made.

    Parameters
    ----------
    data : bytes
        Content of a model file: the tuned model; b"" where nothing better than the parent was found.
    blend : float
        Share of the tuned weights, 0..1; the rest is the parent's. 0 where data is empty.
    steps : int
        Steps that were taken.
    seconds : float
        Time that they took.
    held_out, reference : list of dict
        A row per slice with the keys scan, slice, before and after; these hold {"dice", "iou", "hd95"},
        None where undefined, and "by_label" with the same for every label of the truth where the model has
        several. Reference rows are of earlier scans and phantom slices: does it forget?
    note : str
        A line for the person, e.g. that nothing could be held out; may be empty.
    needed : float
        Seconds in which all would have been learnt, where the time was over before; else 0.
    """

    data: bytes
    blend: float
    steps: int
    seconds: float
    held_out: list[dict[str, Any]] = field(default_factory=list)
    reference: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""
    needed: float = 0.0
