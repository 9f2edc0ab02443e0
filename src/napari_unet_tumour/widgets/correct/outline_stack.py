"""What *Outline in 3D* is given of a case, and what its answers change; knows no Qt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.compressed import CompressedArray
from napari_unet_tumour.clicks.answer import INSIDE, Known
from napari_unet_tumour.clicks.outline import meant
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.widgets.correct import carry_stack
from napari_unet_tumour.widgets.correct.click_known import ClickedSlice
from napari_unet_tumour.widgets.correct.click_marks import clicks_of
from napari_unet_tumour.widgets.correct.click_mode import as_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.settings import SegmentSettings
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections
    from napari_unet_tumour.widgets.correct.click_marks import Mark

    Plane = NDArray[np.uint8]
    Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Outlined:
    """What an outline has changed on a slice, for which clicked slice and label."""

    clicked: tuple[str, int, int]
    before: CompressedArray
    after: CompressedArray


class OutlinedSlices:
    """What was outlined in 3D: it may be outlined anew, unlike what a person drew."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], _Outlined] = {}

    def note(self, clicked: ClickedSlice, plane: int, before: Plane, after: Plane) -> None:
        """Remember what an outline has changed."""
        kept = _Outlined(clicked.key, CompressedArray(before), CompressedArray(after))
        self._known[clicked.part.scan, plane] = kept

    def before(self, of: ClickedSlice, clicked: ClickedSlice) -> Plane | None:
        """Return the mask to outline a slice on, None where the slice is a person's or another lesion's outline.

        Where the same lesion was outlined before, that is what the slice held before.
        """
        known, now = self._known.get((of.part.scan, of.plane)), of.now()
        if known is None or not np.array_equal(known.after.array(), now):
            return None
        return known.before.array() if known.clicked == clicked.key else now


@dataclass(frozen=True, eq=False)
class OutlineStack:
    """The neighbours of a clicked slice as they were when it was outlined.

    Parameters
    ----------
    planes : range
        Their numbers in the part.
    start : dict of int to numpy.ndarray
        By plane: the mask (H, W) that an answer changes; only of planes that may change.
    bases : numpy.ndarray
        (N, H, W) uint8, the masks as the engine takes them, inside from 128 on.
    corrected : dict of int to numpy.ndarray
        (H, W) bool, by number in the stack: the masks that stay, and the clicked lesion.
    known : Known
        What is known of the clicked slice.
    """

    of: ClickedSlice
    planes: range
    start: dict[int, Plane] = field(default_factory=dict)
    bases: Plane = field(default_factory=lambda: np.zeros((0, 0, 0), np.uint8))
    corrected: dict[int, Flags] = field(default_factory=dict)
    known: Known = field(default_factory=Known)

    @classmethod
    def freeze(
        cls, session: CaseCorrections, of: ClickedSlice, marks: Sequence[Mark], settings: SegmentSettings,
        outlined: OutlinedSlices,
    ) -> OutlineStack:  # fmt: skip
        """Return the stack around a clicked slice; ScanError where there is none, or no lesion."""
        planes = carry_stack.stack_of(of.part, of.plane)
        if not planes:
            raise ScanError("this slice has no neighbours in space: there is nothing to outline in 3D")
        now = of.now()
        lesion = meant(now == of.label, *clicks_of(marks, now.shape))
        if not lesion.any():
            raise ScanError("no lesion was clicked on this slice: click one, then outline it in 3D")
        start, corrected, bases = {}, {}, []
        for n in planes:
            one = ClickedSlice(of.part, n, of.label)
            free = carry_stack.is_free(session, of.part, n) if n != of.plane else False
            before = one.now() if free else None if n == of.plane else outlined.before(one, of)
            shown = one.now() if before is None else before
            if before is None:
                corrected[n - planes.start] = shown == of.label
            else:
                start[n] = before
            bases.append(as_values(shown == of.label, one.base(settings)))
        corrected[of.plane - planes.start] = lesion
        known = Known(base=of.base(settings), before=as_values(now == of.label, None))
        return cls(of, planes, start, np.stack(bases), corrected, known)

    def read(self) -> NDArray[Any]:
        """Return the slices (N, C, H, W); any thread."""
        return self.of.part.layout.read_planes(self.of.part.array, self.planes)

    def changed(self, number: int, answer: Plane) -> tuple[int, Plane] | None:
        """Return a plane and its new mask (H, W) for an answer to a slice of the stack; None where it stays."""
        plane = self.planes[number]
        if plane not in self.start:
            return None
        was, label = self.start[plane], self.of.label
        inside, before = answer >= INSIDE, self.bases[number] >= INSIDE
        new = was.copy()
        new[inside & ~before & (was == 0)] = label
        new[~inside & before & (was == label)] = 0
        return plane, new
