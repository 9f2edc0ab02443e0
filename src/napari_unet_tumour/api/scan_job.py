"""One scan's file -> its mask's file: where the command runs, or whole in a local worker."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour import scans
from napari_unet_tumour.api import channels, cohort, layout_for
from napari_unet_tumour.api.batch import LoadedScan, Segmented, to_segmentation
from napari_unet_tumour.base.atomic_write import shortened
from napari_unet_tumour.base.text import plural
from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.scans.training_match import match_scan

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.scans.scan import Scan
    from napari_unet_tumour.settings import Progress, SegmentSettings


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
        words = [re.sub(r'[\\/:*?"<>|\x00-\x1f]', "-", name) for name in self.labels[1:]]
        words = [word if words.count(word) == 1 else f"{n}-{word}" for n, word in enumerate(words, 1)]
        endings = ["_probability"] if len(self.labels) == 2 else [f"_probability-{word}" for word in words]
        start, ending = self.mask.name.rsplit("_mask", 1)
        return [self.mask.with_name(shortened(start, f"{word}{ending}")) for word in endings]

    def files(self) -> list[Path]:
        """Return all paths."""
        return [self.mask, *self.probabilities()]


@dataclass(frozen=True)
class ScanJob:
    """What is to be made of one scan.

    Parameters
    ----------
    path : pathlib.Path
        The scan's file or folder; of several files the first one's.
    outputs : Outputs
        What is written.
    parts : dict
        The files by channel of a scan in several, else empty.
    axis, series : int or None
        The array axis to slice along, and the series of a DICOM folder, where they were given.
    row : bool
        Whether the lesions are measured for the summary.
    """

    path: Path
    outputs: Outputs
    parts: dict[str, Path]
    axis: int | None
    series: int | None
    row: bool


@dataclass(frozen=True)
class Finished:
    """A scan whose files are written.

    Parameters
    ----------
    item : pathlib.Path
        The scan's.
    line : str
        The line shown to the person.
    notes : tuple of str
        What the reader had to say.
    planes : int
        Slices.
    row : dict
        The summary's, empty where none was ordered.
    seen : tuple
        What `cohort.summarise_planes` returned before the scan was read.
    """

    item: Path
    line: str
    notes: tuple[str, ...]
    planes: int
    row: cohort.Row
    seen: tuple[list[int], str]


def load(order: ScanJob, spec: ModelSpec) -> LoadedScan[Path]:
    """Read a scan and see that its outputs can hold its mask; raises ScanError."""
    scan, layout = _read(order, spec)
    mask = order.outputs.mask
    if mask.suffix == ".dcm" and "dicom" not in scan.extra:
        raise ScanError(f"{order.path.name} is no DICOM series, so it cannot have a DICOM-SEG: choose --format nifti")
    if mask.suffix == ".dcm" and order.outputs.probability:
        raise ScanError(f"{order.path.name}: DICOM holds no probability here: leave --probability out")
    scans.check_mask(mask, scan, order.outputs.labels)
    if mask.suffix == ".png" and len(layout.mask_shape) > 2:
        raise ScanError(
            f"{order.path.name} has {plural(layout.planes, 'slice')}, a PNG holds one: choose --format nifti or tiff"
        )
    return LoadedScan(order.path, scan, layout, match=match_scan(scan, layout, spec))


def plan_job(order: ScanJob) -> tuple[list[int], str]:
    """Return what tells the scan from a changed one, to be noted before it is read."""
    return (
        cohort.summarise_planes(order.path, order.outputs.files())
        if order.row and order.path.exists()
        else ([-1, 0], "")
    )


def finish(one: Segmented[Path], order: ScanJob, seen: tuple[list[int], str]) -> Finished:
    """Write a scan's files and measure it; raises OutputError."""
    work, outputs = one.work, order.outputs
    line = write(one, outputs)
    row = cohort.row_of(order.path, outputs.mask, one.found.mask, work.scan, outputs.labels) if order.row else {}
    row |= cohort.match_row(work.match) if order.row and work.match is not None else {}
    return Finished(order.path, line, notes_of(work), work.layout.planes, row, seen)


def notes_of(work: LoadedScan[Path]) -> tuple[str, ...]:
    """Return what the reader of a scan had to say."""
    return tuple(f"note: {work.item}: {note}" for note in work.scan.extra.get("notes", ()))


def iter_segment_file(
    model: str, content: str, order: ScanJob, settings: SegmentSettings
) -> Generator[Progress, None, Finished | None]:
    """Read, segment, write and measure one scan; what a local worker does with an `Order`.

    Parameters
    ----------
    model : str
        Path of the model's file.
    content : str
        Hash of that file as it was when the command began.

    Returns
    -------
    Finished or None
        None for a scan that is too large for memory: nothing is done then.

    Raises
    ------
    ScanError, ModelError, OutputError, DeviceError
        What stood in the way.
    """
    from napari_unet_tumour.engine.inference import loading, segment

    chosen = loading.load_for(model, settings)
    if chosen.hash != content:
        raise ModelError(f"{model} was replaced in the meantime: run it again")
    seen = plan_job(order)
    work = load(order, chosen.spec)
    if work.is_large(chosen.spec, settings):
        return None
    found = yield from segment.iter_segment_planes(chosen, work.planes(), settings)
    return finish(Segmented(work, to_segmentation(found, work.layout, settings, chosen.spec.labels)), order, seen)


def write(one: Segmented[Path], outputs: Outputs) -> str:
    """Write the mask, and the probability if asked for; return the line that says so."""
    work, mask = one.work, one.found.mask
    scans.write_mask(outputs.mask, mask, work.scan, outputs.labels)
    for number, path in enumerate(outputs.probabilities()):
        values = _volume(one, number)
        scans.write_mask(path, values if path.suffix == ".png" else values / np.float32(255), work.scan, ())
    on = sum(bool(mask[work.layout.index(n)].any()) for n in range(work.layout.planes))
    return summary_line(work, outputs, on, int((mask > 0).sum()), one.found.isolated_removed)


def summary_line(work: LoadedScan[Path], outputs: Outputs, on: int | None, pixels: int, isolated: int = 0) -> str:
    """Return the line about a scan whose mask is written.

    Parameters
    ----------
    on : int, optional
        How many slices show tumour, where counted.
    isolated : int
        Components that were removed because only one slice shows them.
    """
    with_tumour = "" if on is None else f", {on} with tumour"
    left_out = f", {plural(isolated, 'piece')} of one slice alone left out" if isolated else ""
    slices = f"{work.layout.planes} slices{with_tumour}, " if work.layout.planes > 1 else ""
    doubt = f"; {work.match.message}" if work.match is not None and work.match.is_doubtful else ""
    return f"{work.item} -> {outputs.mask}: {slices}{pixels} tumour pixels{left_out}{doubt}"


def _volume(one: Segmented[Path], number: int) -> NDArray[np.uint8]:
    """Return the probability of one label, 0..255, in the shape of the mask."""
    values = np.zeros(one.work.layout.mask_shape, np.uint8)
    for n, plane in enumerate(one.found.probability):
        one.work.layout.write_plane(values, n, plane[number])
    return values


def _read(order: ScanJob, spec: ModelSpec) -> tuple[Scan, SliceLayout]:
    """Read a scan, of one file or of a file for each channel, and say how it is sliced."""
    if not order.parts:
        scan = channels.as_channels(scans.read(order.path, order.series), spec)
        return scan, layout_for(scan, order.axis)
    return channels.stacked(channels.read(order.parts), spec, lambda scan: layout_for(scan, order.axis))
