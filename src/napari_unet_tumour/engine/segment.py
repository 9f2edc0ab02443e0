"""Scan -> mask: batches of planes through the network, their probability back on the scan's grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet_tumour.engine.fast import describe_device, pick_device, runner
from napari_unet_tumour.engine.planes import as_planes, frame_of
from napari_unet_tumour.errors import DeviceError
from napari_unet_tumour.masks import keep_largest, mask_of
from napari_unet_tumour.settings import Progress, SegmentSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.layout import Layout

__all__ = ["Segmentation", "describe_device", "iter_segment", "iter_segment_planes", "pick_device", "segment"]

# A batch holds at most so many pixels: working ones by kind of device, and raw values of the scan.
WORKING = {"cpu": 8 * 256 * 256, "cuda": 128 * 256 * 256}
RAW = 1 << 25

Read = Callable[[Sequence[int]], "NDArray[Any]"]


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
    """

    mask: NDArray[np.uint8]
    probability: NDArray[np.uint8]
    labels: tuple[str, ...]


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
    """Segment a scan plane by plane.

    Parameters
    ----------
    array : array-like
        Of `layout.shape`, numpy or lazy; only the planes at work are read.
    order : sequence of int, optional
        The planes to segment, in the order of work; all by default.

    Yields
    ------
    Progress
        A tick per batch; values are "planes" (list of int) and "probability" (k, L, H, W) uint8.

    Raises
    ------
    ScanError, ModelError, DeviceError
        The scan's values, its channels or the device do not fit.
    """
    order = range(layout.planes) if order is None else order
    probability = _zeros(model, layout.planes, layout.plane_shape)
    mask = np.zeros(layout.mask_shape, np.uint8)
    shape = (layout.channels, *layout.plane_shape)
    for tick in _iter_batches(model, lambda planes: layout.take(array, planes), order, shape, settings):
        for n, found in zip(tick.values["planes"], tick.values["probability"], strict=True):
            probability[n] = found
            layout.put(mask, n, mask_of(found, settings))
        yield tick
    return Segmentation(keep_largest(mask) if settings.keep_largest else mask, probability, model.spec.labels)


def iter_segment_planes(
    model: Model, planes: NDArray[Any], settings: SegmentSettings
) -> Generator[Progress, None, NDArray[np.uint8]]:
    """Find the probability (N, L, H, W) uint8 in raw planes (N, C, H, W); ticks as `iter_segment` gives them."""
    probability = _zeros(model, len(planes), planes.shape[2:])
    read: Read = lambda which: planes[list(which)]  # noqa: E731
    for tick in _iter_batches(model, read, range(len(planes)), planes.shape[1:], settings):
        probability[tick.values["planes"]] = tick.values["probability"]
        yield tick
    return probability


def _zeros(model: Model, planes: int, shape: Sequence[int]) -> NDArray[np.uint8]:
    return np.zeros((planes, len(model.spec.labels) - 1, *shape), np.uint8)


def _iter_batches(
    model: Model, read: Read, order: Sequence[int], shape: Sequence[int], settings: SegmentSettings
) -> Generator[Progress, None, None]:
    device, done, notice = pick_device(settings.device), 0, ""
    step = _planes_at_once(model, shape, device)
    while done < len(order):
        chosen = list(order[done : done + step])
        try:
            found = _probability(model, read(chosen), device, settings.flips)
        except torch.OutOfMemoryError as error:
            device, step, notice = _with_less_memory(device, step, error)
            continue
        done += len(chosen)
        yield Progress(done, len(order), notice, {"planes": chosen, "probability": found})


def _planes_at_once(model: Model, shape: Sequence[int], device: torch.device) -> int:
    channels, height, width = shape
    padded = frame_of(height, width, model.spec.size).padded
    return max(1, min(WORKING[device.type] // math.prod(padded), RAW // (channels * height * width)))


def _with_less_memory(device: torch.device, step: int, error: Exception) -> tuple[torch.device, int, str]:
    if device.type == "cpu":
        raise DeviceError("the memory is full: close other programs or use a smaller scan") from error
    torch.cuda.empty_cache()
    if step > 1:
        return device, step // 2, "the GPU's memory is full: working in smaller batches"
    return torch.device("cpu"), 1, "the GPU's memory is full: working on the CPU"


@torch.inference_mode()
def _probability(model: Model, raw: NDArray[Any], device: torch.device, flips: bool) -> NDArray[np.uint8]:
    """Return (N, L, H, W) uint8 for raw planes (N, C, H, W); 0 for blank planes."""
    planes = as_planes(raw, model.spec, device)
    working = runner(model, device).probability(planes.working, flips)
    found = np.zeros((*working.shape[:2], *planes.frame.native), np.uint8)
    for n, blank in enumerate(planes.blank):
        if not blank:
            native = planes.frame.back(working[n : n + 1])[0]
            found[n] = (native * 255).round_().clamp_(0, 255).byte().cpu().numpy()
    return found
