"""One scan, or many, -> masks: reading ahead, small scans together in one batch, the network here or elsewhere."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from napari_unet_tumour import scans, shelf
from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.layout import Layout, layout_of
from napari_unet_tumour.masks import keep_largest, mask_of
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.settings import Progress, SegmentSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.engine.segment import Segmentation
    from napari_unet_tumour.spec import ModelSpec

    OnTick = Callable[[Progress], None]
    Network = Callable[[NDArray[Any], OnTick], NDArray[np.uint8]]

Item = TypeVar("Item")

CLEARLY = 1.2
TOGETHER = 32
AHEAD = 16
AHEAD_BYTES = 32 << 20
COLOUR_SIDE = 30


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


def load_model(name: str | Path = "default") -> Model:
    """Load a model, ready to use.

    Parameters
    ----------
    name : str or pathlib.Path
        "default", a name or hash on the shelf ("napari-unet-tumour models list"), or a model file.

    Returns
    -------
    Model
        With `spec` (what it expects and answers), `net` (torch module) and `hash`.

    Raises
    ------
    ModelError
        No such model, or its file is broken.
    """
    from napari_unet_tumour.engine import model

    return model.load(shelf.find(name).path)


def segment(
    image: str | Path | Scan | NDArray[Any],
    model: str | Path | Model = "default",
    settings: SegmentSettings | None = None,
    *,
    axes: str | None = None,
    axis: int | None = None,
    on_tick: OnTick | None = None,
) -> Segmentation:
    """Outline the tumour in one scan.

    Parameters
    ----------
    image : path, Scan or numpy.ndarray
        A file that `scans.read` knows, a scan, or pixels of any integer, float or bool dtype.
    model : str, pathlib.Path or Model
        What `load_model` takes or returns.
    settings : SegmentSettings, optional
        Threshold and the like; the model's own defaults when None.
    axes : str, optional
        For a numpy array, a letter per axis: "z" "y" "x" space, "t" time, "c" channels or colours. By default
        "yx", "zyx" or "tzyx" by the number of axes; a last axis of 3 or 4 after two of at least 30 is "c" (colours).
    axis : int, optional
        The array axis to slice along; by default what `slice_axis` says.
    on_tick : callable, optional
        Called with a `Progress` after every batch; an exception from it stops the work.

    Returns
    -------
    Segmentation
        `mask` (the array's shape without channels) uint8, `probability` (planes, labels, H, W) uint8
        (0..255 for 0..1), `labels` (names by value).

    Raises
    ------
    ScanError, ModelError, DeviceError
        The scan cannot be read or used, the model does not fit it, the device is not there.

    Examples
    --------
    >>> from napari_unet_tumour import segment
    >>> from napari_unet_tumour.sample import phantom
    >>> scan, truth = phantom(shape=(3, 128, 128))
    >>> found = segment(scan)
    >>> found.mask.shape, found.mask.dtype.name, found.labels
    ((3, 128, 128), 'uint8', ('background', 'tumour'))
    """
    scan = image if isinstance(image, Scan) else _scan_of(image, axes)
    chosen = load_model(model) if isinstance(model, (str, Path)) else model
    settings = settings or default_settings(chosen.spec)
    work = Work(None, scan, layout_for(scan, axis))
    answer = network_here(chosen, settings)(work.planes(), on_tick or (lambda progress: None))
    return assemble(answer, work.layout, settings, chosen.spec.labels)


def default_settings(spec: ModelSpec) -> SegmentSettings:
    """Return the settings that a model was made for."""
    return SegmentSettings(threshold=spec.threshold, smallest=spec.smallest)


def slice_axis(scan: Scan) -> int | None:
    """Return the array axis that a volume is sliced along; None for a single plane.

    The spatial axis whose spacing is clearly (1.2 times) larger than the others', as scanners leave it
    between slices; else the first spatial axis.
    """
    space = scan.spatial
    if len(space) < 3:
        return None
    widest = int(np.argmax(scan.spacing))
    second = max(s for i, s in enumerate(scan.spacing) if i != widest)
    return space[widest] if scan.spacing[widest] >= CLEARLY * second else space[0]


def layout_for(scan: Scan, axis: int | None = None) -> Layout:
    """Choose the planes of a scan.

    Parameters
    ----------
    scan : Scan
        2 or 3 spatial axes, any others.
    axis : int, optional
        The array axis to slice along, a spatial one; `slice_axis` chooses when None.

    Raises
    ------
    ScanError
        `axis` is no axis of space, or the scan has none to spare.
    """
    along = slice_axis(scan) if axis is None else _checked(scan, axis)
    shown = [place for place in scan.spatial if place != along]
    if len(shown) != 2:
        return layout_of(scan.array.shape, scan.axes)
    return layout_of(scan.array.shape, scan.axes, rows=shown[0], columns=shown[1])


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


def network_there(entry: shelf.Entry, settings: SegmentSettings, scheduler: str, *, insecure: bool = False) -> Network:
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


def _checked(scan: Scan, axis: int) -> int:
    if len(scan.spatial) < 3:
        raise ScanError(f"{scan.name} is a single plane ({scan.axes}), it cannot be sliced: leave the axis out")
    if axis not in scan.spatial:
        raise ScanError(
            f"{scan.name} cannot be sliced along axis {axis} (axes {scan.axes}): "
            f"choose one of {', '.join(map(str, scan.spatial))}"
        )
    return axis


def _scan_of(image: str | Path | NDArray[Any], axes: str | None) -> Scan:
    if isinstance(image, (str, Path)):
        return scans.read(Path(image).expanduser())
    letters = axes or _axes_of(image.shape)
    if len(letters) != image.ndim:
        raise ScanError(f"the axes '{letters}' do not fit an array with {image.ndim} axes: give a letter for each")
    return Scan(image, letters, name="array")


def _axes_of(shape: tuple[int, ...]) -> str:
    colours = len(shape) > 2 and shape[-1] in (3, 4) and min(shape[-3:-1]) >= COLOUR_SIDE
    space = "tzyx"[-(len(shape) - colours) :]
    return space + "c" if colours else space
