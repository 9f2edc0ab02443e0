"""Many scans -> masks: reading ahead, small scans together in one batch, the network here or elsewhere."""

from __future__ import annotations

from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.base.text import plural
from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.postprocess.isolated import remove_isolated_components
from napari_unet_tumour.postprocess.threshold import keep_largest_component, mask_from_probability
from napari_unet_tumour.tiling.grid import needs_tiling

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.engine.inference.segment import AnyModel, Segmentation
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

TOGETHER = 32
AHEAD = 16
AHEAD_BYTES = 32 << 20


@dataclass(frozen=True, eq=False)
class LoadedScan(Generic[Item]):
    """A scan that is read and waits for the network.

    `truth` and a `second` reader's mask, and how it matches the model's training slices, where they are known.
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
        """Tell whether the scan and its answer do not fit into the memory that the settings allow."""
        height, width = self.layout.plane_shape
        values = self.layout.planes * height * width * (self.layout.channels + len(spec.labels))
        return values > settings.memory << 20 or needs_tiling((self.layout.channels, height, width), spec, settings)

    def goes_with(self, other: LoadedScan[Item]) -> bool:
        """Tell whether the planes of two scans fit into one array."""
        mine, theirs = ((w.layout.channels, *w.layout.plane_shape, w.scan.array.dtype) for w in (self, other))
        return mine == theirs


@dataclass(frozen=True, eq=False)
class Segmented(Generic[Item]):
    """A scan that is done."""

    work: LoadedScan[Item]
    found: Segmentation


@dataclass(frozen=True, eq=False)
class TooLarge(Generic[Item]):
    """A scan that is too large for memory: it is segmented and written tile by tile, see `tiling.streaming`."""

    work: LoadedScan[Item]


@dataclass(frozen=True)
class ScanFailed(Generic[Item]):
    """A scan that could not be read, or used with this model."""

    item: Item
    error: UNetTumourError


class ScanPredictor:
    """Runs a model, here or elsewhere; all answers are uint8, 0..255 for 0..1.

    Parameters
    ----------
    run : callable
        (task, arguments, on_tick) -> its result; the tasks are those of `jobs.TASKS`.
    workers : int
        How many scans it takes at once; 0 for one in this process.
    where : str
        What it runs on, in words.
    crew : str
        The address of workers on this machine, which see the same files; empty for others.
    """

    def __init__(
        self,
        run: Callable[[str, tuple[Any, ...], OnTick], NDArray[np.uint8]],
        workers: int = 0,
        where: str = "",
        crew: str = "",
    ) -> None:
        self.run = run
        self.workers, self.where, self.crew = workers, where, crew

    def __call__(self, planes: NDArray[Any], on_tick: OnTick) -> NDArray[np.uint8]:
        """Return (n, L, H, W) for planes (n, C, H, W)."""
        return self.run("segment_planes", (planes,), on_tick)

    def planes(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """Return (n, L, H, W) for planes (n, C, H, W)."""
        return self(raw, _hear_nothing)

    def block(self, raw: NDArray[Any], sample: NDArray[Any], block: Tile) -> NDArray[np.uint8]:
        """Return (L, h, w) for the region of a block of a large plane."""
        return self.run("segment_block", (raw, sample, block), _hear_nothing)


def _hear_nothing(progress: Progress) -> None:
    pass


def local_predictor(model: AnyModel, settings: SegmentSettings) -> ScanPredictor:
    """Return what runs a model in this process."""
    from napari_unet_tumour.engine.inference import loading
    from napari_unet_tumour.engine.inference import segment as engine

    steps: dict[str, Callable[..., Generator[Progress, None, NDArray[np.uint8]]]]
    steps = {"segment_planes": engine.iter_segment_planes, "segment_block": engine.iter_segment_block}

    def run(task: str, arguments: tuple[Any, ...], on_tick: OnTick) -> NDArray[np.uint8]:
        return exhaust(steps[task](model, *arguments, settings), on_tick)

    return ScanPredictor(run, where=loading.describe_device(settings.device, settings.precision))


def worker_pool_predictor(entry: ModelEntry, settings: SegmentSettings, workers: int) -> ScanPredictor:
    """Start so many workers on this machine and return what runs a model on them; raises WorkerError."""
    from napari_unet_tumour import jobs

    crew = jobs.crew(workers)
    there = cluster_predictor(entry, settings, crew)
    with ThreadPoolExecutor(workers) as pool:
        # Each goes to a worker that is idle.
        list(pool.map(lambda _: jobs.run("warm", str(entry.path), settings.device, scheduler=crew), range(workers)))
    return ScanPredictor(there.run, workers, there.where, crew)


def cluster_predictor(
    entry: ModelEntry, settings: SegmentSettings, scheduler: str, *, insecure: bool = False
) -> ScanPredictor:
    """Return what runs a model on a dask cluster; raises WorkerError.

    A job whose worker is lost is done once more by another; the second loss is its failure.
    """
    from napari_unet_tumour import jobs

    content = entry.path.read_bytes()

    def run(task: str, arguments: tuple[Any, ...], on_tick: OnTick) -> NDArray[np.uint8]:
        answer: NDArray[np.uint8] = jobs.run(
            task, content, *arguments, settings, scheduler=scheduler, on_tick=on_tick, insecure=insecure, again=1
        )
        return answer

    workers = jobs.workers(scheduler, insecure)
    return ScanPredictor(run, workers, plural(workers, "worker"))


def to_segmentation(
    probability: NDArray[np.uint8], layout: SliceLayout, settings: SegmentSettings, labels: Sequence[str]
) -> Segmentation:
    """Put the planes' probabilities (n, L, H, W) uint8 together to a mask in the scan's own axes."""
    from napari_unet_tumour.engine.inference.segment import Segmentation

    mask = np.zeros(layout.mask_shape, np.uint8)
    for n, plane in enumerate(probability):
        layout.write_plane(mask, n, mask_from_probability(plane, settings))
    isolated = remove_isolated_components(mask, layout) if settings.remove_isolated else 0
    return Segmentation(
        keep_largest_component(mask) if settings.keep_largest else mask, probability, tuple(labels), isolated
    )


def iter_segment_many(
    works: Iterable[tuple[Item, Future[LoadedScan[Item]]]],
    network: AnyNetwork,
    settings: SegmentSettings,
    labels: Sequence[str],
    on_tick: OnTick,
    spec: ModelSpec | None = None,
) -> Iterator[Segmented[Item] | ScanFailed[Item] | TooLarge[Item]]:
    """Segment many scans; neighbours with planes of one kind go through the network together.

    Parameters
    ----------
    spec : ModelSpec, optional
        The model's; scans that are too large for memory then come back as `TooLarge`.

    Yields
    ------
    Segmented, Refused or Large
        One for every item, in order except that those not read come early.

    Raises
    ------
    DeviceError, WorkerError
        No further scan could be done either.
    """
    waiting: list[LoadedScan[Item]] = []
    for item, future in works:
        try:
            work = future.result()
        except (ScanError, ModelError) as error:
            yield ScanFailed(item, error)
            continue
        if spec is not None and work.is_large(spec, settings):
            yield TooLarge(work)
            continue
        full = sum(w.layout.planes for w in waiting) + work.layout.planes > TOGETHER
        if waiting and (full or not work.goes_with(waiting[0])):
            yield from _segment_together(waiting, network, settings, labels, on_tick)
            waiting = []
        waiting.append(work)
    yield from _segment_together(waiting, network, settings, labels, on_tick)


def iter_parallel(items: Sequence[Item], one: Callable[[Item], Made], workers: int) -> Iterator[Made]:
    """Do something with many items, on as many workers as there are; the results come as they are done.

    Parameters
    ----------
    one : callable
        Has a worker do an item and waits for it; called on threads. What it raises ends all.
    """
    # One more than there are workers: its scan is on the way while they work.
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
    settings: SegmentSettings,
    labels: Sequence[str],
    on_tick: OnTick,
) -> Iterator[Segmented[Item] | ScanFailed[Item]]:
    if not works:
        return
    try:
        planes = [work.planes() for work in works]
        answer = network(planes[0] if len(planes) == 1 else np.concatenate(planes), on_tick)
    except (ScanError, ModelError) as error:
        if len(works) == 1:
            yield ScanFailed(works[0].item, error)
            return
        for work in works:
            yield from _segment_together([work], network, settings, labels, on_tick)
        return
    start = 0
    for work in works:
        stop = start + work.layout.planes
        yield Segmented(work, to_segmentation(answer[start:stop], work.layout, settings, labels))
        start = stop


def read_ahead(
    items: Sequence[Item], load: Callable[[Item], LoadedScan[Item]], path: Callable[[Item], Path]
) -> Generator[tuple[Item, Future[LoadedScan[Item]]], None, None]:
    """Load items on two threads, in order, a bounded amount ahead of their use."""
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
