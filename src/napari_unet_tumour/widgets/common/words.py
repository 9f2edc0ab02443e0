"""How panels name slices: a person counts from 1, arrays from 0."""

from __future__ import annotations


def slice_label(number: int) -> str:
    """Return the name of the slice at an index, e.g. "slice 1" for 0."""
    return f"slice {number + 1}"
