"""Segment many scans: read ahead, batch small scans, and run the network in this process or on workers."""

from __future__ import annotations

from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.base.text import plural
from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.postprocess.enhancing_part import label_names
from napari_unet_tumour.postprocess.isolated import remove_isolated_components
from napari_unet_tumour.postprocess.lesion_check import remove_unlikely_lesions
from napari_unet_tumour.postprocess.threshold import keep_largest_component, mask_from_probability
from napari_unet_tumour.tiling.grid import needs_tiling
from napari_unet_tumour.tiling.streaming import checks_lesions

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.engine.inference.loading import AnyModel
    from napari_unet_tumour.engine.inference.segment import Segmentation
    from napari_unet_tumour.errors import UNetTumourError
    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.scans.scan import Scan
    from napari_unet_tumour.scans.training_match import ScanMatch
    from napari_unet_tumour.settings import Progress, SegmentSettings
    from napari_unet_tumour.tiling.grid import Tile

    OnTick = Callable[[Progress], None]
    AnyNetwork = Callable[[NDArray[Any], OnTick], NDArray[np.uint8]]

Item = TypeVar("Item")
Made = TypeVar("Made")

# Most planes in one batch of small scans.
TOGETHER = 32
# Most scans, and bytes of their files, that are read ahead.
AHEAD = 16
AHEAD_BYTES = 32 << 20


@dataclass(frozen=True, eq=False)
class LoadedScan(Generic[Item]):
    """A scan that has been read.

    Parameters
    ----------
    item
        What the scan was read for, e.g. its path.
    scan, layout
        The scan and its planes.
    truth, second : numpy.ndarray, optional
        The true mask, and a second reader's.
    match : ScanMatch, optional
        How similar the scan is to the model's training slices.
    """

    item: Item
    scan: Scan
    layout: SliceLayout
    truth: NDArray[np.uint8] | None = None
    second: NDArray[np.uint8] | None = None
    match: ScanMatch | None = None

    def planes(self) -> NDArray[Any]:
        """Return all planes, (n, C, H, W)."""
        return self.layout.read_planes(self.scan.array, range(self.layout.planes))

    def is_large(self, spec: ModelSpec, settings: SegmentSettings) -> bool:
        """Tell whether the scan and its prediction exceed the memory that the settings allow."""
        height, width = self.layout.plane_shape
        values = self.layout.planes * height * width * (self.layout.channels + len(spec.labels))
        return values > settings.memory << 20 or needs_tiling((self.layout.channels, height, width), spec, settings)

    def goes_with(self, other: LoadedScan[Item]) -> bool:
        """Tell whether the planes of two scans fit into one array."""
        mine, theirs = ((w.layout.channels, *w.layout.plane_shape, w.scan.array.dtype) for w in (self, other))
        return mine == theirs


@dataclass(frozen=True, eq=False)
class Segmented(Generic[Item]):
    """A scan that has been segmented."""

    work: LoadedScan[Item]
    found: Segmentation


@dataclass(frozen=True, eq=False)
class TooLarge(Generic[Item]):
    """A scan that does not fit into memory: it must be segmented and written in tiles, see `tiling.streaming`."""

    work: LoadedScan[Item]


@dataclass(frozen=True)
class ScanFailed(Generic[Item]):
    """A scan that could not be read, or used with this model."""

    item: Item
    error: UNetTumourError


class ScanPredictor:
    """Runs a model in this process or on workers; predictions are uint8, 0..255 for 0..1.

    Parameters
    ----------
    run : callable
        (task, arguments, on_tick) -> result; the tasks are those of `jobs.TASKS`.
    workers : int
        How many scans it takes at once; 0 if it runs in this process.
    where : str
        The device or workers, in words.
    local_workers : str
        Address of the workers on this machine, which can read the same files; else empty.
    """

    def __init__(
        self,
        run: Callable[[str, tuple[Any, ...], OnTick], NDArray[np.uint8]],
        workers: int = 0,
        where: str = "",
        local_workers: str = "",
    ) -> None:
        self.run = run
        self.workers, self.where, self.local_workers = workers, where, local_workers

    def __call__(self, planes: NDArray[Any], on_tick: OnTick) -> NDArray[np.uint8]:
        """Return (n, L, H, W) for planes (n, C, H, W)."""
        return self.run("segment_planes", (planes,), on_tick)

    def planes(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """Return (n, L, H, W) for planes (n, C, H, W)."""
        return self(raw, _ignore)

    def block(self, raw: NDArray[Any], sample: NDArray[Any], block: Tile) -> NDArray[np.uint8]:
        """Return (L, h, w) for the region of a tile of a large plane."""
        return self.run("segment_block", (raw, sample, block), _ignore)


def _ignore(progress: Progress) -> None:
    """Do nothing with progress."""


def local_predictor(model: AnyModel, settings: SegmentSettings) -> ScanPredictor:
    """Return a predictor in this process."""
    from napari_unet_tumour.engine.inference import loading
    from napari_unet_tumour.engine.inference import segment as engine

    steps: dict[str, Callable[..., Generator[Progress, None, NDArray[np.uint8]]]]
    steps = {"segment_planes": engine.iter_segment_planes, "segment_block": engine.iter_segment_block}

    def run(task: str, arguments: tuple[Any, ...], on_tick: OnTick) -> NDArray[np.uint8]:
        return exhaust(steps[task](model, *arguments, settings), on_tick)

    return ScanPredictor(run, where=loading.describe_device(settings.device, settings.precision))


def worker_pool_predictor(entry: ModelEntry, settings: SegmentSettings, workers: int) -> ScanPredictor:
    """Start workers on this machine and return a predictor that uses them; raises WorkerError."""
    from napari_unet_tumour import jobs

    address = jobs.local_workers(workers)
    pool_predictor = cluster_predictor(entry, settings, address)

    def preload(_: int) -> None:
        jobs.run("preload", str(entry.path), settings.device, scheduler=address)

    with ThreadPoolExecutor(workers) as pool:
        # At the same time, so that each job goes to another worker.
        list(pool.map(preload, range(workers)))
    return ScanPredictor(pool_predictor.run, workers, pool_predictor.where, address)


def cluster_predictor(
    entry: ModelEntry, settings: SegmentSettings, scheduler: str, *, insecure: bool = False
) -> ScanPredictor:
    """Return a predictor on a dask cluster; raises WorkerError.

    A job whose worker is lost is retried once, on another worker.
    """
    from napari_unet_tumour import jobs

    content = entry.path.read_bytes()

    def run(task: str, arguments: tuple[Any, ...], on_tick: OnTick) -> NDArray[np.uint8]:
        answer: NDArray[np.uint8] = jobs.run(
            task, content, *arguments, settings, scheduler=scheduler, on_tick=on_tick, insecure=insecure, retries=1
        )
        return answer

    workers = jobs.workers(scheduler, insecure)
    return ScanPredictor(run, workers, plural(workers, "worker"))


def to_segmentation(
    probability: NDArray[np.uint8],
    layout: SliceLayout,
    settings: SegmentSettings,
    spec: ModelSpec,
) -> Segmentation:
    """Return the segmentation of a scan, in its own axes, from the probability of its planes (n, L, H, W) uint8."""
    from napari_unet_tumour.engine.inference.segment import Segmentation

    mask = np.zeros(layout.mask_shape, np.uint8)
    for n, plane in enumerate(probability):
        layout.write_plane(mask, n, mask_from_probability(plane, settings))
    unlikely = isolated = 0
    if checks_lesions(spec, settings, layout):
        unlikely = remove_unlikely_lesions(mask, layout, lambda n: probability[n], settings)
    if settings.remove_isolated:
        isolated = remove_isolated_components(mask, layout)
    mask = keep_largest_component(mask) if settings.keep_largest else mask
    return Segmentation(mask, probability, label_names(spec, settings.part), isolated, unlikely_removed=unlikely)


def iter_segment_many(
    works: Iterable[tuple[Item, Future[LoadedScan[Item]]]],
    network: AnyNetwork,
    settings: SegmentSettings,
    spec: ModelSpec,
    on_tick: OnTick,
    leave_large: bool = False,
) -> Iterator[Segmented[Item] | ScanFailed[Item] | TooLarge[Item]]:
    """Segment many scans; consecutive scans with planes of equal shape and type share a batch.

    Parameters
    ----------
    spec : ModelSpec
        The model's description.
    leave_large : bool
        Whether scans that exceed the memory are yielded as `TooLarge`.

    Yields
    ------
    Segmented, ScanFailed or TooLarge
        One for every item, in order, except that scans that cannot be read come early.

    Raises
    ------
    DeviceError, WorkerError
        No scan can be segmented any more.
    """
    make = partial(to_segmentation, settings=settings, spec=spec)
    waiting: list[LoadedScan[Item]] = []
    for item, future in works:
        try:
            work = future.result()
        except (ScanError, ModelError) as error:
            yield ScanFailed(item, error)
            continue
        if leave_large and work.is_large(spec, settings):
            yield TooLarge(work)
            continue
        full = sum(w.layout.planes for w in waiting) + work.layout.planes > TOGETHER
        if waiting and (full or not work.goes_with(waiting[0])):
            yield from _segment_together(waiting, network, make, on_tick)
            waiting = []
        waiting.append(work)
    yield from _segment_together(waiting, network, make, on_tick)


def iter_parallel(items: Sequence[Item], one: Callable[[Item], Made], workers: int) -> Iterator[Made]:
    """Process items on several workers; yields the results as they are finished.

    Parameters
    ----------
    one : callable
        Processes one item on a worker and waits for the result; called on threads. An exception ends everything.
    """
    # One more than there are workers, so that the next scan is sent while they compute.
    pool = ThreadPoolExecutor(workers + 1, "scan")
    left, going = deque(items), set[Future[Made]]()
    try:
        while left or going:
            while left and len(going) <= workers:
                going.add(pool.submit(one, left.popleft()))
            done, going = wait(going, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        if going:
            from napari_unet_tumour import jobs

            jobs.shutdown()
        pool.shutdown(wait=False, cancel_futures=True)


def _segment_together(
    works: list[LoadedScan[Item]],
    network: AnyNetwork,
    make: Callable[[NDArray[np.uint8], SliceLayout], Segmentation],
    on_tick: OnTick,
) -> Iterator[Segmented[Item] | ScanFailed[Item]]:
    if not works:
        return
    try:
        planes = [work.planes() for work in works]
        probability = network(planes[0] if len(planes) == 1 else np.concatenate(planes), on_tick)
    except (ScanError, ModelError) as error:
        if len(works) == 1:
            yield ScanFailed(works[0].item, error)
            return
        for work in works:
            yield from _segment_together([work], network, make, on_tick)
        return
    start = 0
    for work in works:
        stop = start + work.layout.planes
        yield Segmented(work, make(probability[start:stop], work.layout))
        start = stop


def read_ahead(
    items: Sequence[Item], load: Callable[[Item], LoadedScan[Item]], path: Callable[[Item], Path]
) -> Generator[tuple[Item, Future[LoadedScan[Item]]], None, None]:
    """Load items on two threads, in order; at most `AHEAD` scans and `AHEAD_BYTES` bytes ahead of their use."""
    ahead: deque[tuple[Item, Future[LoadedScan[Item]], int]] = deque()
    pool = ThreadPoolExecutor(2, "read")
    try:
        for item in items:
            size = _bytes(path(item))
            while ahead and (len(ahead) >= AHEAD or sum(s for *_, s in ahead) + size > AHEAD_BYTES):
                yield ahead.popleft()[:2]
            ahead.append((item, pool.submit(load, item), size))
        while ahead:
            yield ahead.popleft()[:2]
    finally:
        pool.shutdown(cancel_futures=True)


def _bytes(path: Path) -> int:
    try:
        return AHEAD_BYTES if path.is_dir() else path.stat().st_size
    except OSError:
        return 0
