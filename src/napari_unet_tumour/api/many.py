"""Many scans -> masks: reading ahead, small scans together in one batch, the network here or elsewhere."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.masks import keep_largest, mask_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.engine.segment import Segmentation
    from napari_unet_tumour.layout import Layout
    from napari_unet_tumour.scans.scan import Scan
    from napari_unet_tumour.settings import Progress, SegmentSettings
    from napari_unet_tumour.shelf import Entry

    OnTick = Callable[[Progress], None]
    Network = Callable[[NDArray[Any], OnTick], NDArray[np.uint8]]

Item = TypeVar("Item")

TOGETHER = 32
AHEAD = 16
AHEAD_BYTES = 32 << 20


@dataclass(frozen=True, eq=False)
class Work(Generic[Item]):
    """A scan that is read and waits for the network; `truth` is its true mask where one is known."""

    item: Item
    scan: Scan
    layout: Layout
    truth: NDArray[np.uint8] | None = None

    def planes(self) -> NDArray[Any]:
        """Return all planes, (n, C, H, W)."""
        return self.layout.take(self.scan.array, range(self.layout.planes))

    def goes_with(self, other: Work[Item]) -> bool:
        """Tell whether the planes of two scans fit into one array."""
        mine, theirs = ((w.layout.channels, *w.layout.plane_shape, w.scan.array.dtype) for w in (self, other))
        return mine == theirs


@dataclass(frozen=True, eq=False)
class Segmented(Generic[Item]):
    """A scan that is done."""

    work: Work[Item]
    found: Segmentation


@dataclass(frozen=True)
class Refused(Generic[Item]):
    """A scan that could not be read, or used with this model."""

    item: Item
    error: ScanError | ModelError


def network_here(model: Model, settings: SegmentSettings) -> Network:
    """Return the function that runs a model in this process: planes (n, C, H, W) -> (n, L, H, W) uint8."""
    from napari_unet_tumour.engine import segment as engine

    def run(planes: NDArray[Any], on_tick: OnTick) -> NDArray[np.uint8]:
        ticks = engine.iter_segment_planes(model, planes, settings)
        while True:
            try:
                on_tick(next(ticks))
            except StopIteration as end:
                answer: NDArray[np.uint8] = end.value
                return answer

    return run


def network_there(entry: Entry, settings: SegmentSettings, scheduler: str, *, insecure: bool = False) -> Network:
    """Return the function that runs a model on a dask cluster; as `network_here`."""
    from napari_unet_tumour import jobs

    content = entry.path.read_bytes()

    def run(planes: NDArray[Any], on_tick: OnTick) -> NDArray[np.uint8]:
        answer: NDArray[np.uint8] = jobs.run(
            "segment_planes", content, planes, settings, scheduler=scheduler, on_tick=on_tick, insecure=insecure
        )
        return answer

    return run


def assemble(
    probability: NDArray[np.uint8], layout: Layout, settings: SegmentSettings, labels: Sequence[str]
) -> Segmentation:
    """Put the planes' probabilities (n, L, H, W) uint8 together to a mask in the scan's own axes."""
    from napari_unet_tumour.engine.segment import Segmentation

    mask = np.zeros(layout.mask_shape, np.uint8)
    for n, plane in enumerate(probability):
        layout.put(mask, n, mask_of(plane, settings))
    return Segmentation(keep_largest(mask) if settings.keep_largest else mask, probability, tuple(labels))


def iter_segment_many(
    works: Iterable[tuple[Item, Future[Work[Item]]]],
    network: Network,
    settings: SegmentSettings,
    labels: Sequence[str],
    on_tick: OnTick,
) -> Iterator[Segmented[Item] | Refused[Item]]:
    """Segment many scans; neighbours with planes of one kind go through the network together.

    Yields
    ------
    Segmented or Refused
        One for every item, in order except that those not read come early.

    Raises
    ------
    DeviceError, WorkerError
        No further scan could be done either.
    """
    waiting: list[Work[Item]] = []
    for item, future in works:
        try:
            work = future.result()
        except (ScanError, ModelError) as error:
            yield Refused(item, error)
            continue
        full = sum(w.layout.planes for w in waiting) + work.layout.planes > TOGETHER
        if waiting and (full or not work.goes_with(waiting[0])):
            yield from _segment_together(waiting, network, settings, labels, on_tick)
            waiting = []
        waiting.append(work)
    yield from _segment_together(waiting, network, settings, labels, on_tick)


def _segment_together(
    works: list[Work[Item]], network: Network, settings: SegmentSettings, labels: Sequence[str], on_tick: OnTick
) -> Iterator[Segmented[Item] | Refused[Item]]:
    if not works:
        return
    try:
        planes = [work.planes() for work in works]
        answer = network(planes[0] if len(planes) == 1 else np.concatenate(planes), on_tick)
    except (ScanError, ModelError) as error:
        if len(works) == 1:
            yield Refused(works[0].item, error)
            return
        for work in works:
            yield from _segment_together([work], network, settings, labels, on_tick)
        return
    start = 0
    for work in works:
        stop = start + work.layout.planes
        yield Segmented(work, assemble(answer[start:stop], work.layout, settings, labels))
        start = stop


def read_ahead(
    items: Sequence[Item], load: Callable[[Item], Work[Item]], path: Callable[[Item], Path]
) -> Generator[tuple[Item, Future[Work[Item]]], None, None]:
    """Load items on two threads, in order, a bounded amount ahead of their use."""
    ahead: deque[tuple[Item, Future[Work[Item]], int]] = deque()
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
