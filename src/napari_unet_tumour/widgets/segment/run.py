"""One run: planes go to the worker in small chunks, masks come back one by one; knows no Qt and no napari."""

from __future__ import annotations

import os
import threading
import zlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour import jobs
from napari_unet_tumour.base.compressed import CompressedArray
from napari_unet_tumour.corrections import ReviewedContext
from napari_unet_tumour.errors import ModelError, ScanError, UNetTumourError
from napari_unet_tumour.models.spec import file_hash, read_spec
from napari_unet_tumour.postprocess.threshold import keep_largest_component, mask_from_probability
from napari_unet_tumour.tiling.streaming import checks_lesions
from napari_unet_tumour.widgets.common.words import unreadable
from napari_unet_tumour.widgets.layers.predictions import PlanePrediction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.settings import Progress, SegmentSettings
    from napari_unet_tumour.widgets.layers.image_source import ImageSource

CHUNK, TOGETHER, READ = 16, 32, 4
CHUNK_BYTES = 64 << 20
IN_FLIGHT = 2


@dataclass(frozen=True)
class RunEnded:
    """How a run ended: all planes done, cancelled, or failed with `error`."""

    cancelled: bool = False
    error: UNetTumourError | None = None


def check_model(entry: ModelEntry) -> None:
    """Raise ModelError when the file is gone, damaged, or not the one that the person chose."""
    read_spec(entry.path)
    if file_hash(entry.path) != entry.hash:
        raise ModelError(
            f"{entry.path.name} has changed since it was chosen: close and reopen this panel, then choose it"
        )


class SegmentRun:
    """Segment some planes of a source in the worker.

    Parameters
    ----------
    source : Source
        What to read.
    entry : Entry
        The model.
    settings : SegmentSettings
        The attribute may be replaced while it runs: later planes get the new threshold. `flips` stays.
    planes : iterable of int
        Which planes.
    scheduler : str, optional
        Address of a dask scheduler; this computer when empty.
    tell : callable
        Called on background threads with each `Plane` and, last and once, `RunEnded`.
    corrected : dict of int to numpy.ndarray, optional
        (H, W) uint8 of the planes that a person has reviewed; a model that has learnt from them asks for it.
    """

    def __init__(
        self,
        source: ImageSource,
        entry: ModelEntry,
        settings: SegmentSettings,
        planes: Iterable[int],
        scheduler: str,
        tell: Callable[[SegmentRun, PlanePrediction | RunEnded], None],
        corrected: dict[int, NDArray[np.uint8]] | None = None,
    ) -> None:
        self.source, self.entry, self.settings = source, entry, settings
        self.left = set(planes)
        self.total = len(self.left)
        self.focus = source.plane
        self.notice = ""
        # Its answer to a slice hangs together with the slices around.
        self._together = bool(entry.spec.arguments.get("gates") or entry.spec.corrected)
        self._corrected = corrected if corrected and self._together else {}
        self._limited = checks_lesions(entry.spec, settings, source.layout)
        self._scheduler = scheduler or None
        self._tell = tell
        self._stop = threading.Event()
        self._room = threading.Semaphore(IN_FLIGHT)
        self._jobs: list[jobs.Job] = []
        self._in_parts: set[int] = set()
        # The network's own answers where a habit has moved outlines, and planes that corrections were carried to.
        self._plain: dict[int, CompressedArray] = {}
        self._recalled: set[int] = set()
        self._sums: dict[int, int] = {}
        self._end = RunEnded()

    def start(self) -> None:
        """Begin, on a background thread: lazy layers may take long to read."""
        threading.Thread(target=self._feed, name="napari-unet-tumour feeder", daemon=True).start()

    def cancel(self) -> None:
        """Stop soon; `RunEnded(cancelled=True)` follows."""
        self._finish(RunEnded(cancelled=True))

    def _finish(self, end: RunEnded) -> None:
        if not self._stop.is_set():
            self._end = end
            self._stop.set()
        for job in list(self._jobs):
            job.cancel()

    def _feed(self) -> None:
        try:
            check_model(self.entry)
            while self.left and self._room.acquire() and not self._stop.is_set():
                self._send(self._nearest())
        except UNetTumourError as error:
            self._finish(RunEnded(error=error))
        except Exception as error:  # noqa: BLE001 - a lazy layer may raise anything when it is read
            self._finish(RunEnded(error=ScanError(unreadable(error, f"layer '{self.source.name}'"))))
        for _ in range(IN_FLIGHT if not self._stop.is_set() else 0):
            self._room.acquire()
        self._tell(self, self._end)

    def _nearest(self) -> list[int]:
        """Take the planes nearest to the one on screen: that one alone first, so that it shows soonest."""
        fits = max(1, CHUNK_BYTES // max(1, self.source.plane_bytes()))
        first = len(self.left) == self.total
        count = min(TOGETHER, fits) if self._together else 1 if first else min(CHUNK, fits)
        chunk = sorted(self.left, key=lambda plane: (abs(plane - self.focus), plane))[:count]
        self.left -= set(chunk)
        return chunk

    def _send(self, chunk: list[int]) -> None:
        parts = []
        for start in range(0, len(chunk), READ):  # a lazy layer may take long: a run that is stopped ends soon
            if self._stop.is_set():
                return
            parts.append(self.source.read_planes(chunk[start : start + READ]))
        planes = np.concatenate(parts)
        if self._stop.is_set():
            return
        if isinstance(self.source.array, np.ndarray):  # others are read from a file, or computed: once is enough
            self._sums |= {n: _checksum(plane) for n, plane in zip(chunk, planes, strict=True)}
        hear, model = partial(self._hear, chunk), model_for(self.entry, self._scheduler)
        context = ReviewedContext(chunk, self._near(chunk), recall=not self._corrected)
        asked = (model, planes, self.settings, context)
        job = jobs.submit("segment_planes", *asked, on_event=hear, scheduler=self._scheduler)
        self._jobs.append(job)
        if self._stop.is_set():
            job.cancel()

    def _near(self, chunk: list[int]) -> dict[int, NDArray[np.uint8]]:
        """Return the corrected planes among these and beside them, cut to the region."""
        near = {n: mask for n, mask in self._corrected.items() if min(chunk) - 1 <= n <= max(chunk) + 1}
        region = self.source.region
        return near if region is None else {n: mask[region] for n, mask in near.items()}

    def _hear(self, chunk: list[int], event: Any) -> None:
        """Pass planes on; a chunk that ends makes room for the next."""
        if isinstance(event, jobs.ProgressEvent):
            self._pass_on(chunk, event.progress)
            return
        if isinstance(event, jobs.Done):
            self._pass_late(chunk, event.result)
        elif isinstance(event, jobs.Failed):
            self._finish(RunEnded(error=event.error))
        elif isinstance(event, jobs.Cancelled):
            self._finish(RunEnded(cancelled=True))
        self._room.release()

    def _pass_on(self, chunk: list[int], progress: Progress) -> None:
        found = progress.values
        self.notice = progress.message or self.notice
        if found.get("region") is not None:  # a plane in windows: it is passed on when it is whole
            self._in_parts.update(chunk)
            return
        self._plain |= {chunk[place]: CompressedArray(plain) for place, plain in found.get("plain", {}).items()}
        self._recalled |= {chunk[place] for place in found.get("recalled", ())}
        for place, probability in zip(found.get("planes", ()), found.get("probability", ()), strict=True):
            self._pass(chunk[place], probability)

    def _pass_late(self, chunk: list[int], probability: NDArray[np.uint8]) -> None:
        for number, found in zip(chunk, probability, strict=True):
            if number in self._in_parts:
                self._pass(number, found)

    def _pass(self, number: int, probability: NDArray[np.uint8]) -> None:
        if self._stop.is_set():
            return
        if number in self._sums and _checksum(self.source.read_planes([number])[0]) != self._sums[number]:
            name = self.source.name
            self._finish(
                RunEnded(error=ScanError(f"layer '{name}' was changed while it was segmented: segment it again"))
            )
            return
        flip_tta = self.settings.flip_tta and number not in self._in_parts
        mask = mask_from_probability(probability, replace(self.settings, flip_tta=flip_tta))
        mask = keep_largest_component(mask) if self.settings.keep_largest else mask
        limited = self._limited and self.source.region is None and number not in self._in_parts
        kept = CompressedArray(probability), CompressedArray(mask)
        plain, derived = self._plain.pop(number, None), number in self._recalled
        plane = PlanePrediction(
            number, self.source.region, *kept, flip_tta, limited=limited, plain=plain, derived=derived
        )
        self._tell(self, plane)


def _checksum(plane: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(plane).view(np.uint8).data)


def model_for(entry: ModelEntry, scheduler: str | None) -> str | bytes:
    """Return what to send for a model: its path on this computer, its content to another one."""
    return os.fspath(entry.path) if scheduler is None else entry.path.read_bytes()
