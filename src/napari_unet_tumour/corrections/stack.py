"""A stack of neighbouring slices, as far as corrections are carried in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.corrections.carry import carry, slices_in_reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.corrections.carry import CarryWeights

    Spacing = tuple[float | None, float | None, float | None]


@dataclass(frozen=True, eq=False)
class ScanStack:
    """Corrected slices of a stack and their neighbours.

    Parameters
    ----------
    scan : str
        Content id of the scan (see `scan_id`).
    first, count : int
        Number of the stack's first slice in the scan's layout, and how many slices it has in all.
    spacing : tuple of float or None
        Height and width of a pixel and distance of the slices in mm, as `carry` takes them.
    planes : dict of int to numpy.ndarray
        (C, H, W) raw grey values by number in the scan's layout; others count as blank.
    checksums : dict of int to str
        What tells the pixels of each of its slices from others, by number.
    """

    scan: str
    first: int
    count: int
    spacing: Spacing
    planes: dict[int, NDArray[Any]] = field(default_factory=dict)
    checksums: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> NDArray[Any]:
        """Return the grey values (C, H, W) of a slice, counted within the stack."""
        known = self.planes.get(self.first + place)
        return np.zeros_like(next(iter(self.planes.values()))) if known is None else known

    def carried(
        self,
        masks: Mapping[int, NDArray[np.uint8]],
        probability: Mapping[int, NDArray[np.uint8]],
        labels: int,
        weights: CarryWeights,
    ) -> dict[int, NDArray[np.uint8]]:
        """Return the new probability (L, H, W) of every slice that follows a correction; see `carry`.

        Slices are counted as in the scan's layout.
        """
        reviewed, known = ({n - self.first: one for n, one in some.items()} for some in (masks, probability))
        planes: Any = self
        found = carry(planes, reviewed, known, labels, self.spacing, weights).probability
        return {self.first + n: one for n, one in found.items()}


def stack_range(layout: SliceLayout, plane: int) -> range:
    """Return the planes of a layout that are neighbours of a plane in space; none where it has none."""
    axes = layout.slice_axes
    count = layout.shape[axes[-1]] if axes and layout.slice_distance else 1
    first = plane // count * count  # planes are numbered with the last axis running fastest
    return range(first, first + count) if count > 1 else range(0)


def stacks_of(
    scan: str,
    layout: SliceLayout,
    spacing: Spacing,
    reviewed: Iterable[int],
    read: Callable[[list[int]], NDArray[Any]],
    weights: CarryWeights | None = None,
) -> list[ScanStack]:
    """Return the stacks of a scan in which anything is reviewed, with the slices that carrying looks at.

    Parameters
    ----------
    scan : str
        Its content id.
    layout : SliceLayout
        How its planes are numbered, and whether they have neighbours.
    spacing : tuple of float or None
        Height and width of a pixel and distance of the slices in mm.
    reviewed : iterable of int
        Numbers of reviewed planes.
    read : callable
        Returns the raw planes (n, C, H, W) of some numbers.
    weights : CarryWeights, optional
        Those of the model.
    """
    by_stack: dict[range, list[int]] = {}
    for n in reviewed:
        by_stack.setdefault(stack_range(layout, n), []).append(n)
    found = []
    for stack, own in by_stack.items():
        reach = slices_in_reach(len(stack), layout.plane_shape, spacing, weights) if stack else 0
        needed = [n for n in stack if any(abs(n - k) <= reach for k in own)] if reach else []
        if needed:
            planes = dict(zip(needed, read(needed), strict=True))
            known = {n: checksum(planes[n] if n in planes else read([n])[0]) for n in stack}
            found.append(ScanStack(scan, stack.start, len(stack), spacing, planes, known))
    return found


def checksum(plane: NDArray[Any]) -> str:
    """Return what tells the pixels of a plane (C, H, W) from others; the same for both byte orders."""
    own = np.ascontiguousarray(plane, plane.dtype.newbyteorder("="))
    return blake2b(own.tobytes(), digest_size=8, person=own.dtype.str[1:].encode()).hexdigest()
