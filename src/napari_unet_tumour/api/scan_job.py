"""Segment one file: read it, write the mask and measure it; in the command's process or in a local worker."""

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
    from napari_unet_tumour.engine.inference.segment import Segmentation
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.scans.scan import Scan
    from napari_unet_tumour.settings import Progress, SegmentSettings


@dataclass(frozen=True)
class Outputs:
    """The output files of one scan: its mask and, if wanted, one probability per label."""

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
    """The job of segmenting one scan.

    Parameters
    ----------
    path : pathlib.Path
        The scan's file or folder; for a scan in several files, the first one.
    outputs : Outputs
        The files to write.
    parts : dict
        The files by channel, for a scan in several files; else empty.
    axis, series : int or None
        The array axis to slice along, and the series of a DICOM folder, if given.
    row : bool
        Whether to measure the lesions for the summary.
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
        The scan's path.
    line : str
        The line shown to the user.
    notes : tuple of str
        Notes of the reader.
    planes : int
        Number of slices.
    row : dict
        The summary row, empty if not wanted.
    fingerprint : tuple
        `cohort.fingerprint` of the scan before it was read.
    """

    item: Path
    line: str
    notes: tuple[str, ...]
    planes: int
    row: cohort.Row
    fingerprint: tuple[list[int], str]


def load(job: ScanJob, spec: ModelSpec) -> LoadedScan[Path]:
    """Read a scan and check that its outputs can store its mask; raises ScanError."""
    scan, layout = _read(job, spec)
    mask = job.outputs.mask
    if mask.suffix == ".dcm" and "dicom" not in scan.extra:
        raise ScanError(f"{job.path.name} is no DICOM series, so it cannot have a DICOM-SEG: choose --format nifti")
    if mask.suffix == ".dcm" and job.outputs.probability:
        raise ScanError(f"{job.path.name}: a probability cannot be written as DICOM: leave --probability out")
    scans.check_mask(mask, scan, job.outputs.labels)
    if mask.suffix == ".png" and len(layout.mask_shape) > 2:
        raise ScanError(
            f"{job.path.name} has {plural(layout.planes, 'slice')}, a PNG holds one: choose --format nifti or tiff"
        )
    return LoadedScan(job.path, scan, layout, match=match_scan(scan, layout, spec))


def fingerprint_of(job: ScanJob) -> tuple[list[int], str]:
    """Return the fingerprint of a job's scan, to be taken before it is read."""
    return cohort.fingerprint(job.path, job.outputs.files()) if job.row and job.path.exists() else ([-1, 0], "")


def finish(one: Segmented[Path], job: ScanJob, fingerprint: tuple[list[int], str]) -> Finished:
    """Write a scan's files and measure it; raises OutputError."""
    work, outputs = one.work, job.outputs
    line = write(one, outputs)
    row = cohort.row_of(job.path, outputs.mask, one.found.mask, work.scan, outputs.labels) if job.row else {}
    row |= cohort.match_row(work.match) if job.row and work.match is not None else {}
    return Finished(job.path, line, notes_of(work), work.layout.planes, row, fingerprint)


def notes_of(work: LoadedScan[Path]) -> tuple[str, ...]:
    """Return the reader's notes on a scan, each with its path."""
    return tuple(f"note: {work.item}: {note}" for note in work.scan.extra.get("notes", ()))


def iter_segment_file(
    model: str, content: str, job: ScanJob, settings: SegmentSettings
) -> Generator[Progress, None, Finished | None]:
    """Read, segment, write and measure one scan, in a local worker.

    Parameters
    ----------
    model : str
        Path of the model's file.
    content : str
        Hash of that file when the command was started.

    Returns
    -------
    Finished or None
        None for a scan that does not fit into memory: nothing is written then.

    Raises
    ------
    ScanError, ModelError, OutputError, DeviceError
        The scan cannot be read, segmented or written.
    """
    from napari_unet_tumour.engine.inference import loading, segment

    chosen = loading.load_for(model, settings)
    if chosen.hash != content:
        raise ModelError(f"{model} was replaced in the meantime: run it again")
    fingerprint = fingerprint_of(job)
    work = load(job, chosen.spec)
    if work.is_large(chosen.spec, settings):
        return None
    found = yield from segment.iter_segment_planes(chosen, work.planes(), settings)
    segmented = Segmented(work, to_segmentation(found, work.layout, settings, chosen.spec))
    return finish(segmented, job, fingerprint)


def write(one: Segmented[Path], outputs: Outputs) -> str:
    """Write the mask, and the probability if wanted; return the line for the user."""
    work, mask = one.work, one.found.mask
    scans.write_mask(outputs.mask, mask, work.scan, outputs.labels)
    for number, path in enumerate(outputs.probabilities()):
        values = _volume(one, number)
        scans.write_mask(path, values if path.suffix == ".png" else values / np.float32(255), work.scan, ())
    on = sum(bool(mask[work.layout.index(n)].any()) for n in range(work.layout.planes))
    return summary_line(work, outputs, on, int((mask > 0).sum()), one.found)


def summary_line(
    work: LoadedScan[Path], outputs: Outputs, on: int | None, pixels: int, found: Segmentation | None = None
) -> str:
    """Return the line on a scan whose mask is written.

    Parameters
    ----------
    on : int, optional
        Number of slices with tumour, if counted.
    found : Segmentation, optional
        Says what was removed because of the neighbouring slices.
    """
    with_tumour = "" if on is None else f", {on} with tumour"
    isolated, unlikely = (0, 0) if found is None else (found.isolated_removed, found.unlikely_removed)
    left_out = f", {plural(isolated, 'component')} on a single slice removed" if isolated else ""
    left_out += f", {plural(unlikely, 'unlikely lesion')} removed" if unlikely else ""
    slices = f"{work.layout.planes} slices{with_tumour}, " if work.layout.planes > 1 else ""
    doubt = f"; {work.match.message}" if work.match is not None and work.match.is_doubtful else ""
    return f"{work.item} -> {outputs.mask}: {slices}{pixels} tumour pixels{left_out}{doubt}"


def _volume(one: Segmented[Path], number: int) -> NDArray[np.uint8]:
    """Return the probability of one label, 0..255, in the shape of the mask."""
    values = np.zeros(one.work.layout.mask_shape, np.uint8)
    for n, plane in enumerate(one.found.probability):
        one.work.layout.write_plane(values, n, plane[number])
    return values


def _read(job: ScanJob, spec: ModelSpec) -> tuple[Scan, SliceLayout]:
    """Read a scan, from one file or one per channel, and return it with its layout."""
    if not job.parts:
        scan = channels.as_channels(scans.read(job.path, job.series), spec)
        return scan, layout_for(scan, job.axis)
    return channels.stacked(channels.read(job.parts), spec, lambda scan: layout_for(scan, job.axis))
