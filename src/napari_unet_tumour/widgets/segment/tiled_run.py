"""A run over an image too large for memory: part by part into a mask on disk; knows no Qt."""

from __future__ import annotations

import atexit
import math
import os
import queue
import shutil
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil  # type: ignore[import-untyped]

from napari_unet_tumour import jobs
from napari_unet_tumour.errors import ScanError, UNetTumourError
from napari_unet_tumour.models import registry
from napari_unet_tumour.postprocess.isolated import remove_isolated_components
from napari_unet_tumour.scans.ome_zarr import chunks_of
from napari_unet_tumour.tiling import streaming
from napari_unet_tumour.tiling.grid import needs_tiling, tile_grid_of
from napari_unet_tumour.widgets.common.words import unreadable
from napari_unet_tumour.widgets.segment.run import RunEnded, model_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import Progress, SegmentSettings
    from napari_unet_tumour.tiling.grid import Tile
    from napari_unet_tumour.widgets.layers.image_source import ImageSource

# A plane with more pixels is not kept for undo and for the threshold slider.
PLANE = 1 << 24
# A plane with more pixels gets a pyramid, so that napari reads only what it shows; it cannot be painted on.
SHOWN = 1 << 26
COARSEST = 1024


def is_large(source: ImageSource, spec: ModelSpec, settings: SegmentSettings) -> bool:
    """Tell whether a source is segmented into a mask on disk: its planes, or the mask, are too large to hold."""
    if source.region is not None:
        return False
    height, width = source.layout.plane_shape
    in_blocks = needs_tiling((source.layout.channels, height, width), spec, settings)
    return (in_blocks and height * width > PLANE) or math.prod(source.layout.mask_shape) > settings.memory << 20


@dataclass(frozen=True)
class TileWritten:
    """A part of the mask is written: of which plane, how many parts of all, and whether it marks anything."""

    plane: int
    done: int
    total: int
    marked: bool


class TiledRun:
    """Segment planes of a source part by part into its mask; as `run.SegmentRun`.

    Parameters
    ----------
    source, entry, settings, planes, scheduler, tell
        As in `Run`; `tell` gets `TileWritten` in place of `Plane`.
    mask : Pyramid
        Where the result goes.
    point : (row, column)
        The middle of what is on screen: parts near to it come first.
    """

    def __init__(
        self, source: ImageSource, entry: ModelEntry, settings: SegmentSettings, planes: Iterable[int], scheduler: str,
        tell: Callable[[TiledRun, TileWritten | RunEnded], None], mask: Pyramid, point: tuple[int, int],
    ) -> None:  # fmt: skip
        self.source, self.entry, self.settings = source, entry, settings
        self.left = set(planes)
        self.total = len(self.left)
        self.focus = source.plane
        self.notice = ""
        self._scheduler = scheduler or None
        self._tell, self._mask, self._point = tell, mask, point
        self._stop = threading.Event()
        self._job: jobs.Job | None = None

    def start(self) -> None:
        """Begin, on a background thread."""
        threading.Thread(target=self._work, name="napari-unet-tumour large", daemon=True).start()

    def cancel(self) -> None:
        """Stop soon; `RunEnded(cancelled=True)` follows."""
        self._stop.set()
        if self._job is not None:
            self._job.cancel()

    def planes(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the probability (n, L, H, W) of whole planes."""
        return self._ask("segment_planes", raw)

    def block(self, raw: NDArray[Any], sample: NDArray[Any], block: Tile) -> NDArray[np.uint8]:
        """Return the probability (L, h, w) of a block."""
        return self._ask("segment_block", raw, sample, block)

    def _work(self) -> None:
        end = RunEnded()
        try:
            self._settings = self.settings
            self._model = model_for(self.entry, self._scheduler)
            self._write_all()
        except _Stopped:
            end = RunEnded(cancelled=True)
        except UNetTumourError as error:
            end = RunEnded(error=error)
        except Exception as error:  # noqa: BLE001 - a lazy layer may raise anything when it is read
            end = RunEnded(error=ScanError(unreadable(error, f"layer '{self.source.name}'")))
        self._tell(self, end)

    def _write_all(self) -> None:
        source, spec, settings = self.source, self.entry.spec, self._settings
        done, seen = 0, list[int]()
        while self.left:
            plane = min(self.left, key=lambda n: (abs(n - self.focus), n))
            self.left.discard(plane)
            for part in streaming.iter_predict(self, source.array, source.layout, spec, settings, [plane], self._point):
                marked = streaming.write_chunk(self._mask, source.layout, part, settings)
                self._tell(self, TileWritten(plane, done * part.total + part.done, self.total * part.total, marked > 0))
                if self._stop.is_set():
                    raise _Stopped
            streaming.finalise_mask(self._mask, source.layout, spec, settings, [plane])
            seen.append(plane)
            done += 1
        if settings.remove_isolated:
            remove_isolated_components(self._mask, source.layout, seen)

    def _ask(self, task: str, *args: Any) -> NDArray[np.uint8]:
        if self._stop.is_set():
            raise _Stopped
        events: queue.Queue[Any] = queue.Queue()
        send = (self._model, *args, self._settings)
        self._job = jobs.submit(task, *send, on_event=events.put, scheduler=self._scheduler, retries=1)
        if self._stop.is_set():
            self._job.cancel()
        while True:
            event = events.get()
            if isinstance(event, jobs.ProgressEvent):
                self._hear(event.progress)
            elif isinstance(event, jobs.Done):
                found: NDArray[np.uint8] = event.result
                return found
            elif isinstance(event, jobs.Failed):
                raise event.error
            else:
                raise _Stopped

    def _hear(self, progress: Progress) -> None:
        self.notice = progress.message or self.notice


class _Stopped(Exception):
    pass


# ---- the mask on disk ---------------------------------------------------------------------------------------------


class Pyramid:
    """Zarr arrays of one mask, the finest first; what is written goes into all of them.

    Parameters
    ----------
    levels : list of zarr.Array
        uint8, each coarser than the one before along some axes.
    """

    def __init__(self, levels: Sequence[Any]) -> None:
        self.levels = list(levels)

    def __getitem__(self, index: Any) -> Any:
        return self.levels[0][index]

    def __setitem__(self, index: tuple[int | slice, ...], values: NDArray[np.uint8]) -> None:
        self.levels[0][index] = values
        whole = self.levels[0].shape
        for level in self.levels[1:]:
            target: list[Any] = []
            source: list[NDArray[np.intp]] = []
            for at, fine, coarse in zip(index, whole, level.shape, strict=True):
                if isinstance(at, slice):
                    places, picked = _coarser(at, fine, coarse)
                    target.append(places)
                    source.append(picked)
                else:
                    target.append(min(int(at * coarse / fine), coarse - 1))
            if all(len(one) for one in source):
                level[tuple(target)] = values[np.ix_(*source)]


def _coarser(at: slice, fine: int, coarse: int) -> tuple[slice, NDArray[np.intp]]:
    """Return which pixels of a coarser axis lie in a part of a finer one, and which of its pixels they show."""
    start, stop = at.indices(fine)[:2]
    shown = np.minimum(((np.arange(coarse) + 0.5) * fine / coarse).astype(np.intp), fine - 1)
    first, last = np.searchsorted(shown, [start, stop])
    return slice(int(first), int(last)), shown[first:last] - start


def new_mask(
    source: ImageSource, spec: ModelSpec, settings: SegmentSettings, shapes: Sequence[Sequence[int]]
) -> Pyramid:
    """Make an empty mask on disk; it goes when the program ends.

    Parameters
    ----------
    shapes : sequence of shapes
        Of the image's own coarser levels, without channels; a plane too large to be shown at once gets some of ours.
    """
    import zarr

    layout = source.layout
    tiling = tile_grid_of(layout.plane_shape, spec, settings)
    shapes = [layout.mask_shape, *(shapes or _halves(layout.mask_shape, source))]
    folder = _folder()
    letters = _letters(layout.mask_shape, layout.index(0))
    make = [
        zarr.create_array(
            str(folder / str(n)), shape=tuple(shape), dtype=np.uint8,
            chunks=chunks_of(shape, letters, tiling.chunk if tiling.chunk <= 2048 else 768),
        )
        for n, shape in enumerate(shapes)
    ]  # fmt: skip
    return Pyramid(make)


def _letters(shape: Sequence[int], index: Sequence[int | slice]) -> str:
    return "".join("y" if isinstance(part, slice) else "z" for part in index)


def _halves(shape: Sequence[int], source: ImageSource) -> list[tuple[int, ...]]:
    height, width = source.layout.plane_shape
    if height * width <= SHOWN:
        return []
    in_plane = [isinstance(part, slice) for part in source.layout.index(0)]
    found, by = [], 2
    while max(height, width) // by >= COARSEST:
        found.append(tuple(-(-n // by) if plane else n for n, plane in zip(shape, in_plane, strict=True)))
        by *= 2
    return found


def _folder() -> Path:
    """Return a new folder that goes with this process; those of processes that are gone are removed."""
    home = registry.data_dir() / "large-masks"
    for old in home.glob("*-*") if home.is_dir() else ():
        pid = old.name.partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    folder = home / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class RefreshThrottle:
    """Says when the mask may be drawn again: drawing a large one takes long, so at most a tenth of the time."""

    def __init__(self) -> None:
        self._next = 0.0

    def draw(self, refresh: Callable[[], None], last: bool = False) -> None:
        """Call `refresh` if it is time."""
        start = time.monotonic()
        if start < self._next and not last:
            return
        refresh()
        self._next = time.monotonic() + max(0.2, 9 * (time.monotonic() - start))
