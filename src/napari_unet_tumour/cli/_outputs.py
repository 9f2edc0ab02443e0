"""The files that one segmented scan becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour import scans

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.api.many import Segmented, Work


@dataclass(frozen=True)
class Outputs:
    """The files of one scan: its mask and, if asked for, one probability a label."""

    mask: Path
    labels: tuple[str, ...]
    probability: bool

    def probabilities(self) -> list[Path]:
        """Return the paths, in the order of the labels without background."""
        if not self.probability:
            return []
        endings = ["_probability"] if len(self.labels) == 2 else [f"_probability-{name}" for name in self.labels[1:]]
        return [self.mask.with_name(ending.join(self.mask.name.rsplit("_mask", 1))) for ending in endings]


def write(one: Segmented[Path], outputs: Outputs) -> str:
    """Write the mask, and the probability if asked for; return the line that says so."""
    work, mask = one.work, one.found.mask
    scans.write_mask(outputs.mask, mask, work.scan, outputs.labels)
    for number, path in enumerate(outputs.probabilities()):
        values = _volume(one, number)
        scans.write_mask(path, values if path.suffix == ".png" else values / np.float32(255), work.scan, ())
    on = sum(bool(mask[work.layout.index(n)].any()) for n in range(work.layout.planes))
    return told(work, outputs, on, int((mask > 0).sum()))


def told(work: Work[Path], outputs: Outputs, on: int | None, pixels: int) -> str:
    """Return the line about a scan whose mask is written; `on` is how many slices show tumour, where counted."""
    with_tumour = "" if on is None else f", {on} with tumour"
    slices = f"{work.layout.planes} slices{with_tumour}, " if work.layout.planes > 1 else ""
    return f"{work.item} -> {outputs.mask}: {slices}{pixels} tumour pixels"


def _volume(one: Segmented[Path], number: int) -> NDArray[np.uint8]:
    """Return the probability of one label, 0..255, in the shape of the mask."""
    values = np.zeros(one.work.layout.mask_shape, np.uint8)
    for n, plane in enumerate(one.found.probability):
        one.work.layout.put(values, n, plane[number])
    return values
