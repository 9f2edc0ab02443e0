"""Which slices of a person's scans show the same place, so that none is both learnt from and scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_unet_tumour.corrections.holdout import HELD_OUT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_unet_tumour.corrections.reviewed import ReviewedSlice

# Cosine from which two stacks run the same way (within 18 degrees).
ALONG = 0.95


class Stack(Protocol):
    """What must be known of a scan to match its slices; `record.Record` is one, and explains the fields."""

    scan: str
    shape: list[int]
    planes: int
    person: str
    place: list[float]
    roles: dict[int, str]


def matching_slices(record: Stack, plane: int, other: Stack) -> list[int]:
    """Return the planes of another scan of the same person that show what a plane of this one shows.

    Where both places are known: parallel planes that are at most half a slice apart (of the thicker slices).
    Otherwise the plane with the same number, where both stacks have the same shape.
    """
    if not record.person or record.person != other.person or record.scan == other.scan:
        return []
    if not (record.place and other.place):
        return [plane] if record.shape == other.shape and record.planes > 1 else []
    here, step = np.array(record.place).reshape(2, 3)
    there, pace = np.array(other.place).reshape(2, 3)
    own, others = float(np.linalg.norm(step)), float(np.linalg.norm(pace))
    if abs(step @ pace) < ALONG * own * others:
        return []
    at = (here + plane * step - there) @ pace / others**2
    reach = max(own / others, 1.0) / 2 + 1e-6
    return [n for n in range(other.planes) if abs(n - at) <= reach]


def matching_roles(record: Stack, plane: int, others: Iterable[Stack]) -> list[str]:
    """Return the roles of the slices in other scans that match a slice."""
    return [other.roles[n] for other in others for n in matching_slices(record, plane, other) if n in other.roles]


def exclude_leaks(corrections: Iterable[ReviewedSlice], records: Iterable[Stack]) -> list[ReviewedSlice]:
    """Return corrections without those to learn from that match a held-out slice of another scan."""
    known = {one.scan: one for one in records}

    def leaks(one: ReviewedSlice) -> bool:
        record = known.get(one.scan)
        return record is not None and HELD_OUT in matching_roles(record, one.slice, known.values())

    return [one for one in corrections if one.held_out or not leaks(one)]
