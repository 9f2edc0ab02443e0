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

from napari_unet_tumour.corrections import ReviewedContext
from napari_unet_tumour.engine.checked import checked, has_classifier
from napari_unet_tumour.engine.inference.accelerate import accelerated, describe_device, pick_device
from napari_unet_tumour.engine.inference.fusion import AnswerFusion, fuse_single_plane
from napari_unet_tumour.engine.inference.memory import WORKING, BatchLimits, OomRetry
from napari_unet_tumour.engine.inference.preprocess import check_channels, to_working_planes, working_frame
from napari_unet_tumour.engine.inference.sliding_window import blend, block_probability
from napari_unet_tumour.engine.networks.gated_branch import has_gated_branch
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.postprocess.threshold import keep_largest_component
from napari_unet_tumour.settings import Progress, SegmentSettings
from napari_unet_tumour.tiling import streaming
from napari_unet_tumour.tiling.grid import RAW, needs_tiling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import Region, SliceLayout
    from napari_unet_tumour.engine.inference.preprocess import Answer
    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.models.training_match import ScanMatch
    from napari_unet_tumour.tiling.grid import Tile

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
        Pieces that were removed because one slice alone shows them (see `postprocess.isolated.remove_isolated_components`).
    match : ScanMatch, optional
        Whether the scan looks like what the model was trained on; None where that was not looked at.
    """

    mask: NDArray[np.uint8]
    probability: NDArray[np.uint8]
    labels: tuple[str, ...]
    isolated_removed: int = 0
    match: ScanMatch | None = None


def segment(model: Model, array: Any, layout: SliceLayout, settings: SegmentSettings | None = None) -> Segmentation:
    """Segment a whole scan; see `iter_segment`."""
    steps = iter_segment(model, array, layout, settings or SegmentSettings())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def iter_segment(
    model: Model, array: Any, layout: SliceLayout, settings: SegmentSettings, order: Sequence[int] | None = None
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
    layout: SliceLayout,
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
    read: Read = lambda planes, region: layout.read_planes(array, planes, region)  # noqa: E731
    for tick in _iter_parts(model, read, order, shape, settings, point):
        found, region = tick.values["probability"], tick.values["region"]
        part = streaming.PredictionChunk(tick.values["planes"], region, found, tick.done, tick.total)
        if probability is not None:
            for n, one in zip(part.planes, found, strict=True):
                probability[(n, slice(None), *(region or ()))] = one
        streaming.write_chunk(mask, layout, part, settings)
        yield tick
    streaming.finalise_mask(mask, layout, model.spec, settings, order)
    if settings.keep_largest:
        mask[...] = keep_largest_component(mask)


def iter_segment_planes(
    model: Model, planes: NDArray[Any], settings: SegmentSettings, corrected: ReviewedContext | None = None
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
    model: Model, raw: NDArray[Any], sample: NDArray[Any], block: Tile, settings: SegmentSettings
) -> Generator[Progress, None, NDArray[np.uint8]]:
    """Find the probability in one block of a large plane, see `sliding_window.block_probability`; ticks tell notices."""
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
    corrected: ReviewedContext | None = None,
) -> Generator[Progress, None, None]:
    if needs_tiling(shape, model.spec, settings):
        yield from _iter_blocks(model, read, order, shape, settings, point)
    elif has_gated_branch(model.net):
        yield from _iter_fused(_iter_batches(model, read, order, shape, settings), settings, corrected)
    else:
        yield from _iter_batches(model, read, order, shape, settings)


def _iter_fused(
    ticks: Iterator[Progress], settings: SegmentSettings, corrected: ReviewedContext | None
) -> Iterator[Progress]:
    """Hold the answers back until all slices are there, since each must hang together with what its neighbours show."""
    known = corrected or ReviewedContext()
    vouching = AnswerFusion(settings, known.masks)
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
    steady = OomRetry(BatchLimits(device, _planes_at_once(model, shape, device, settings)), note_on(model, settings))
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
    model: Model, read: Read, left: Sequence[int], settings: SegmentSettings, room: BatchLimits
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
    for part in streaming.iter_predict_tiles(find, read, order, shape, model.spec, settings, point):
        values = {"planes": part.planes, "region": part.region, "probability": part.probability}
        yield Progress(part.done, part.total, find.steady.notice, values)


class _Here:
    """Finds parts of large planes in this process."""

    def __init__(self, model: Model, settings: SegmentSettings) -> None:
        self._model, self._settings = model, settings
        room = BatchLimits(pick_device(settings.device), _windows_at_once(model, settings))
        self.steady = OomRetry(room, note_on(model, settings))

    def planes(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """Return (n, L, H, W) for whole planes."""
        model, settings = self._model, self._settings
        found = self.steady.run(lambda room: _probability(model, raw, room, settings), model.spec.size)()
        return np.stack([fuse_single_plane(one, settings) for one in found]) if has_gated_branch(model.net) else found

    def block(self, raw: NDArray[Any], sample: NDArray[Any], block: Tile) -> NDArray[np.uint8]:
        """Return (L, h, w) for the region of a block."""
        model, settings = self._model, self._settings
        return self.steady.run(lambda room: _block(model, raw, sample, block, room, settings), model.spec.size)


def _block(
    model: Model, raw: NDArray[Any], sample: NDArray[Any], block: Tile, room: BatchLimits, settings: SegmentSettings
) -> NDArray[np.uint8]:
    run = accelerated(model, room.device, settings.precision)
    return block_probability(run, model.spec, raw, sample, block, room, settings)


def note_on(model: Model, settings: SegmentSettings) -> str:
    """Return what a person should know about how a network runs, or ""."""
    return accelerated(model, pick_device(settings.device), settings.precision).note


def _windows_at_once(model: Model, settings: SegmentSettings) -> int:
    return max(1, WORKING[pick_device(settings.device).type] // model.spec.size**2)


def _planes_at_once(model: Model, shape: Sequence[int], device: torch.device, settings: SegmentSettings) -> int:
    channels, height, width = shape
    largest = max(model.spec.size, model.spec.flip_size if settings.flip_tta else 0)
    padded = working_frame(height, width, largest).padded
    raw = RAW * settings.memory // (channels * height * width)
    return max(1, min(WORKING[device.type] // math.prod(padded), raw))


@torch.inference_mode()
def _probability(model: Model, raw: NDArray[Any], room: BatchLimits, settings: SegmentSettings) -> Answer:
    """Begin to find (N, L, H, W) uint8 for raw planes (N, C, H, W), 0 for blank planes; calling it waits for that."""
    planes = to_working_planes(raw, model.spec, room.device)
    run = accelerated(model, room.device, settings.precision)
    if room.window and room.window < max(planes.frame.padded):
        sure = partial(run.probability, flip_tta=settings.flip_tta)
        working = torch.stack([blend(sure, one, room.window, room.batch) for one in planes.working])
    else:
        own, mirrored = run.answers(planes.working, settings.flip_tta, model.spec.flip_scale)
        working = own if mirrored is None else (own + mirrored) / 2
        if settings.check_components and has_classifier(model):
            return checked(planes, own, mirrored, model.spec)
    return planes.back(working)
