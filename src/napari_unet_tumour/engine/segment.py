"""Scan -> mask: planes through the network in batches, large ones block by block; the answer on the scan's grid."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet_tumour import parts
from napari_unet_tumour.corrections import Corrected
from napari_unet_tumour.engine.fast import describe_device, pick_device, runner
from napari_unet_tumour.engine.planes import as_planes, check_channels, frame_of
from napari_unet_tumour.engine.room import WORKING, Room, Steady
from napari_unet_tumour.engine.second import has_second
from napari_unet_tumour.engine.vouch import Vouching, alone
from napari_unet_tumour.engine.windows import blend, block_probability
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.masks import keep_largest
from napari_unet_tumour.settings import Progress, SegmentSettings
from napari_unet_tumour.tiling import RAW, is_in_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.engine.planes import Answer
    from napari_unet_tumour.layout import Layout, Region
    from napari_unet_tumour.tiling import Block

__all__ = [
    "Segmentation",
    "describe_device",
    "iter_segment",
    "iter_segment_block",
    "iter_segment_into",
    "iter_segment_planes",
    "pick_device",
    "segment",
]

Read = Callable[[Sequence[int], "Region | None"], "NDArray[Any]"]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What the network found in a scan.

    Parameters
    ----------
    mask : numpy.ndarray
        uint8 in the scan's axes without the channel axis; 0 = background, then `labels` in order.
    probability : numpy.ndarray
        (planes, L, H, W) uint8, 0..255 for 0..1, one layer per label without the background.
    labels : tuple of str
        Names by pixel value, background first.
    lone : int
        Pieces that were removed because one slice alone shows them (see `lone.drop_lone`).
    """

    mask: NDArray[np.uint8]
    probability: NDArray[np.uint8]
    labels: tuple[str, ...]
    lone: int = 0


def segment(model: Model, array: Any, layout: Layout, settings: SegmentSettings | None = None) -> Segmentation:
    """Segment a whole scan; see `iter_segment`."""
    steps = iter_segment(model, array, layout, settings or SegmentSettings())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def iter_segment(
    model: Model, array: Any, layout: Layout, settings: SegmentSettings, order: Sequence[int] | None = None
) -> Generator[Progress, None, Segmentation]:
    """Segment a scan plane by plane; the answer is held in memory (`iter_segment_into` holds it anywhere).

    Parameters
    ----------
    array : array-like
        Of `layout.shape`, numpy or lazy; only the planes at work are read.
    order : sequence of int, optional
        The planes to segment, in the order of work; all by default.

    Yields
    ------
    Progress
        A tick per batch or block; values are "planes" (list of int), "region" (rows and columns, None for whole
        planes) and "probability" (k, L, H, W) uint8.

    Raises
    ------
    ScanError, ModelError, DeviceError
        The scan's values, its channels or the device do not fit.
    """
    probability = _zeros(model, layout.planes, layout.plane_shape)
    mask = np.zeros(layout.mask_shape, np.uint8)
    yield from iter_segment_into(mask, model, array, layout, settings, order, probability)
    return Segmentation(mask, probability, model.spec.labels)


def iter_segment_into(
    mask: Any,
    model: Model,
    array: Any,
    layout: Layout,
    settings: SegmentSettings,
    order: Sequence[int] | None = None,
    probability: Any = None,
    point: tuple[int, int] | None = None,
) -> Generator[Progress, None, None]:
    """Segment a scan of any size into an array that may lie on disk; ticks and errors as `iter_segment`.

    Parameters
    ----------
    mask : array-like
        uint8 of `layout.mask_shape`, numpy or zarr; written batch by batch, or block by block.
    probability : array-like, optional
        uint8 (planes, L, H, W), written likewise.
    point : (row, column), optional
        Of a plane that is worked on in blocks, those nearest to it come first.
    """
    order = range(layout.planes) if order is None else order
    if settings.keep_largest and not isinstance(mask, np.ndarray):
        raise ScanError("keeping the largest piece needs the whole mask in memory: switch it off for a scan this large")
    shape = (layout.channels, *layout.plane_shape)
    read: Read = lambda planes, region: layout.take(array, planes, region)  # noqa: E731
    for tick in _iter_parts(model, read, order, shape, settings, point):
        found, region = tick.values["probability"], tick.values["region"]
        part = parts.Part(tick.values["planes"], region, found, tick.done, tick.total)
        if probability is not None:
            for n, one in zip(part.planes, found, strict=True):
                probability[(n, slice(None), *(region or ()))] = one
        parts.put(mask, layout, part, settings)
        yield tick
    parts.tidy(mask, layout, model.spec, settings, order)
    if settings.keep_largest:
        mask[...] = keep_largest(mask)


def iter_segment_planes(
    model: Model, planes: NDArray[Any], settings: SegmentSettings, corrected: Corrected | None = None
) -> Generator[Progress, None, NDArray[np.uint8]]:
    """Find the probability (N, L, H, W) uint8 in raw planes (N, C, H, W); ticks as `iter_segment` gives them.

    Parameters
    ----------
    corrected : Corrected, optional
        Which planes of the scan these are, and what a person has corrected there; only a model that has learnt
        from corrections asks for it.
    """
    probability = _zeros(model, len(planes), planes.shape[2:])
    read: Read = lambda which, region: planes[(list(which), slice(None), *(region or ()))]  # noqa: E731
    for tick in _iter_parts(model, read, range(len(planes)), planes.shape[1:], settings, corrected=corrected):
        probability[(tick.values["planes"], slice(None), *(tick.values["region"] or ()))] = tick.values["probability"]
        yield tick
    return probability


def iter_segment_block(
    model: Model, raw: NDArray[Any], sample: NDArray[Any], block: Block, settings: SegmentSettings
) -> Generator[Progress, None, NDArray[np.uint8]]:
    """Find the probability in one block of a large plane, see `windows.block_probability`; ticks tell notices."""
    check_channels(len(raw), model.spec)
    find = _Here(model, settings)
    found = find.block(raw, sample, block)
    yield Progress(1, 1, find.steady.notice)
    return found


def _zeros(model: Model, planes: int, shape: Sequence[int]) -> NDArray[np.uint8]:
    return np.zeros((planes, len(model.spec.labels) - 1, *shape), np.uint8)


def _iter_parts(
    model: Model,
    read: Read,
    order: Sequence[int],
    shape: Sequence[int],
    settings: SegmentSettings,
    point: tuple[int, int] | None = None,
    corrected: Corrected | None = None,
) -> Generator[Progress, None, None]:
    if is_in_blocks(shape, model.spec, settings):
        yield from _iter_blocks(model, read, order, shape, settings, point)
    elif has_second(model.net):
        yield from _iter_vouched(_iter_batches(model, read, order, shape, settings), settings, corrected)
    else:
        yield from _iter_batches(model, read, order, shape, settings)


def _iter_vouched(
    ticks: Iterator[Progress], settings: SegmentSettings, corrected: Corrected | None
) -> Iterator[Progress]:
    """Hold the answers back until all slices are there, since each must hang together with what its neighbours show."""
    known = corrected or Corrected()
    vouching = Vouching(settings, known.masks)
    places: dict[int, int] = {}
    for tick in ticks:
        for n, both in zip(tick.values["planes"], tick.values["probability"], strict=True):
            place = known.numbers[n] if known.numbers else n
            places[place] = n
            vouching.add(place, both)
        if tick.done < tick.total:
            none = tick.values["probability"][:0, : len(tick.values["probability"][0]) // 2]
            yield replace(tick, values={**tick.values, "planes": [], "probability": none})
            continue
        numbers, found = zip(*vouching.iter_planes(), strict=True)
        values = {"planes": [places[number] for number in numbers], "region": None, "probability": np.stack(found)}
        yield replace(tick, values=values)


def _iter_batches(
    model: Model, read: Read, order: Sequence[int], shape: Sequence[int], settings: SegmentSettings
) -> Generator[Progress, None, None]:
    device = pick_device(settings.device)
    steady = Steady(Room(device, _planes_at_once(model, shape, device, settings)), note_on(model, settings))
    waiting: deque[tuple[list[int], Answer]] = deque()
    sent = done = 0
    while sent < len(order) or waiting:
        if sent < len(order):
            chosen, answer = steady.run(partial(_send, model, read, order[sent:], settings), model.spec.size)
            waiting.append((chosen, answer))
            sent += len(chosen)
        # A card works on one batch while the one before comes back.
        if len(waiting) > (steady.room.device.type == "cuda") or sent == len(order):
            chosen, answer = waiting.popleft()
            done += len(chosen)
            values = {"planes": chosen, "region": None, "probability": answer()}
            yield Progress(done, len(order), steady.notice, values)


def _send(
    model: Model, read: Read, left: Sequence[int], settings: SegmentSettings, room: Room
) -> tuple[list[int], Answer]:
    """Begin as many of the planes that are left as there is room for."""
    chosen = list(left[: room.batch])
    return chosen, _probability(model, read(chosen, None), room, settings)


def _iter_blocks(
    model: Model,
    read: Read,
    order: Sequence[int],
    shape: Sequence[int],
    settings: SegmentSettings,
    point: tuple[int, int] | None,
) -> Generator[Progress, None, None]:
    check_channels(shape[0], model.spec)
    find = _Here(model, settings)
    for part in parts.iter_blocks(find, read, order, shape, model.spec, settings, point):
        values = {"planes": part.planes, "region": part.region, "probability": part.probability}
        yield Progress(part.done, part.total, find.steady.notice, values)


class _Here:
    """Finds parts of large planes in this process."""

    def __init__(self, model: Model, settings: SegmentSettings) -> None:
        self._model, self._settings = model, settings
        room = Room(pick_device(settings.device), _windows_at_once(model, settings))
        self.steady = Steady(room, note_on(model, settings))

    def planes(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """Return (n, L, H, W) for whole planes."""
        model, settings = self._model, self._settings
        found = self.steady.run(lambda room: _probability(model, raw, room, settings), model.spec.size)()
        return np.stack([alone(one, settings) for one in found]) if has_second(model.net) else found

    def block(self, raw: NDArray[Any], sample: NDArray[Any], block: Block) -> NDArray[np.uint8]:
        """Return (L, h, w) for the region of a block."""
        model, settings = self._model, self._settings
        return self.steady.run(lambda room: _block(model, raw, sample, block, room, settings), model.spec.size)


def _block(
    model: Model, raw: NDArray[Any], sample: NDArray[Any], block: Block, room: Room, settings: SegmentSettings
) -> NDArray[np.uint8]:
    run = runner(model, room.device, settings.precision)
    return block_probability(run, model.spec, raw, sample, block, room, settings)


def note_on(model: Model, settings: SegmentSettings) -> str:
    """Return what a person should know about how a network runs, or ""."""
    return runner(model, pick_device(settings.device), settings.precision).note


def _windows_at_once(model: Model, settings: SegmentSettings) -> int:
    return max(1, WORKING[pick_device(settings.device).type] // model.spec.size**2)


def _planes_at_once(model: Model, shape: Sequence[int], device: torch.device, settings: SegmentSettings) -> int:
    channels, height, width = shape
    largest = max(model.spec.size, model.spec.flip_size if settings.flips else 0)
    padded = frame_of(height, width, largest).padded
    raw = RAW * settings.memory // (channels * height * width)
    return max(1, min(WORKING[device.type] // math.prod(padded), raw))


@torch.inference_mode()
def _probability(model: Model, raw: NDArray[Any], room: Room, settings: SegmentSettings) -> Answer:
    """Begin to find (N, L, H, W) uint8 for raw planes (N, C, H, W), 0 for blank planes; calling it waits for that."""
    planes = as_planes(raw, model.spec, room.device)
    run = runner(model, room.device, settings.precision)
    if room.window and room.window < max(planes.frame.padded):
        sure = partial(run.probability, flips=settings.flips)
        working = torch.stack([blend(sure, one, room.window, room.batch) for one in planes.working])
    else:
        working = run.probability(planes.working, settings.flips, model.spec.flip_scale)
    return planes.back(working)
