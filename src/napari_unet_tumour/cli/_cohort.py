"""The scans of one run: which are left, the result of each, and the summary table."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.api import cohort, scan_job
from napari_unet_tumour.api.batch import ScanFailed, TooLarge
from napari_unet_tumour.base.atomic_write import remove_stale_temp
from napari_unet_tumour.base.text import shape_text
from napari_unet_tumour.cli._output import warn
from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.scans.streaming_masks import mask_on_disk
from napari_unet_tumour.tiling import streaming
from napari_unet_tumour.tiling.grid import is_tiled, tile_grid_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_unet_tumour.api.batch import LoadedScan, ScanPredictor, Segmented
    from napari_unet_tumour.api.result_index import ResultIndex
    from napari_unet_tumour.api.scan_job import Finished, Outputs, ScanJob
    from napari_unet_tumour.cli._output import ProgressMeter
    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.settings import SegmentSettings

STRIP = 1024


class Cohort:
    """The scans that are segmented into one folder; for a single scan there is no record and no table.

    Parameters
    ----------
    out : pathlib.Path
        The folder.
    scan_jobs : dict
        The job of every scan, by its path.
    written : ResultIndex
        The results in the folder.
    overwrite : bool
        Whether files that are not known as results of the same scan may be overwritten.
    **more
        What else the results depend on, e.g. the axis.
    """

    def __init__(
        self,
        out: Path,
        scan_jobs: dict[Path, ScanJob],
        entry: ModelEntry,
        settings: SegmentSettings,
        written: ResultIndex,
        *,
        overwrite: bool = False,
        **more: Any,
    ) -> None:
        self.scan_jobs, self.entry, self._settings = scan_jobs, entry, settings
        self.failed = 0
        self._written, self._overwrite = written, overwrite
        self._out, self._table = out, out / cohort.SUMMARY if len(scan_jobs) > 1 else None
        if self._table is not None:
            cohort.read_summary(self._table)
        more["probability"] = any(one.outputs.probability for one in scan_jobs.values())
        self._record = cohort.FinishedScans(out, cohort.made_with(entry, settings, **more)) if self._table else None
        self._rows: dict[Path, cohort.Row] = {}
        self._fingerprints: dict[Path, tuple[list[int], str]] = {}
        if self._record is not None:
            found = {
                path: self._record.row_of(path, one.outputs.mask, one.outputs.files())
                for path, one in scan_jobs.items()
            }
            self._rows = {path: row for path, row in found.items() if row is not None}
        self.left = [path for path in scan_jobs if path not in self._rows]

    def check_free(self, path: Path) -> None:
        """Check that a scan's results overwrite only its own earlier ones; raises OutputError."""
        for file in () if self._overwrite else self.scan_jobs[path].outputs.files():
            if file.exists() and not self._written.is_ours(file, path):
                raise OutputError(
                    f"{path}: {file} is there already and was changed since, or made by something else: move it away, "
                    "choose another --out, or give --overwrite"
                )

    def claim(self, path: Path) -> None:
        """Record that a scan's results are about to be written; raises OutputError."""
        self._written.claim(path, self.scan_jobs[path].outputs.files())

    def load(self, path: Path) -> LoadedScan[Path]:
        """Read a scan, after taking its fingerprint, by which a later run recognises it; raises ScanError."""
        self._fingerprints[path] = scan_job.fingerprint_of(self.scan_jobs[path])
        work = scan_job.load(self.scan_jobs[path], self.entry.spec)
        for note in scan_job.notes_of(work):
            warn(note)
        self.claim(path)
        return work

    def finish(
        self,
        one: Segmented[Path] | ScanFailed[Path] | TooLarge[Path] | Finished,
        network: ScanPredictor,
        shown: ProgressMeter,
    ) -> tuple[str, int]:
        """Write a scan's files, unless a worker has; return the line about it and its slices. Raises its error."""
        if isinstance(one, ScanFailed):
            raise one.error
        if isinstance(one, TooLarge):
            done = self._finish_large(one.work, network, shown)
        elif isinstance(one, scan_job.Finished):
            done = one
            for note in one.notes:
                warn(note)
        else:
            path = one.work.item
            done = scan_job.finish(one, self.scan_jobs[path], self._fingerprints[path])
        self._rows[done.item] = done.row
        self._written.add(done.item, self.scan_jobs[done.item].outputs.files())
        if self._record is not None:
            self._record.add(done.item, self.scan_jobs[done.item].outputs.mask, done.row, done.fingerprint)
        return done.line, done.planes

    def rows(self) -> list[cohort.Row]:
        """Return the row of every scan, in order."""
        return [self._rows.get(path) or cohort.undone_row(path) for path in self.scan_jobs]

    def fail(self, path: Path, reason: str) -> None:
        """Record that a scan failed."""
        self.failed += 1
        self._rows[path] = cohort.failed_row(path, reason)

    @contextmanager
    def summary(self) -> Iterator[None]:
        """Write the table at the end, whatever happens, and remove temporary files of killed processes."""
        try:
            yield
        finally:
            self._written.release()
            remove_stale_temp(self._out, [file for one in self.scan_jobs.values() for file in one.outputs.files()])
            if self._table is not None:
                cohort.write_summary(self._table, self.rows())

    def _finish_large(self, work: LoadedScan[Path], network: ScanPredictor, shown: ProgressMeter) -> Finished:
        path, outputs = work.item, self.scan_jobs[work.item].outputs
        pixels = self._write_large(work, outputs, network, shown)
        row, line = (
            cohort.large_row(path, outputs.mask, pixels, work.scan),
            scan_job.summary_line(work, outputs, None, pixels),
        )
        return scan_job.Finished(path, line, (), work.layout.planes, row, self._fingerprints[path])

    def _write_large(
        self, work: LoadedScan[Path], outputs: Outputs, network: ScanPredictor, shown: ProgressMeter
    ) -> int:
        """Segment in tiles into a file; return the number of foreground pixels."""
        layout, spec, settings = work.layout, self.entry.spec, self._settings
        if settings.keep_largest:
            raise ScanError(
                f"{work.item.name} is too large to keep only its largest component: leave --keep-largest out"
            )
        if outputs.probability:
            raise OutputError(f"{work.item.name} is too large for a probability file: leave --probability out")
        if is_tiled(layout.plane_shape, spec, settings):
            size, window = shape_text(layout.plane_shape), spec.size * settings.downsample
            warn(f"note: {work.item}: {size} pixels, so in windows of {window} (to resize it instead: --tiling whole)")
        side = tile_grid_of(layout.plane_shape, spec, settings).chunk
        with mask_on_disk(outputs.mask, work.scan, outputs.labels, side) as mask:
            for part in streaming.iter_predict(network, work.scan.array, layout, spec, settings):
                streaming.write_chunk(mask, layout, part, settings)
                shown.show(part.done / part.total)
            streaming.finalise_mask(mask, layout, spec, settings, range(layout.planes))
            return _marked(mask, work)


def _marked(mask: Any, work: LoadedScan[Path]) -> int:
    height, width = work.layout.plane_shape
    strips = [(slice(top, min(top + STRIP, height)), slice(0, width)) for top in range(0, height, STRIP)]
    planes = range(work.layout.planes)
    return sum(int((work.layout.read_plane_region(mask, n, strip) > 0).sum()) for n in planes for strip in strips)
