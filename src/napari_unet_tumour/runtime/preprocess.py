"""From raw planes to the network's input, and the exact inverse for its output, in numpy.

Pixel centres are at half-integers, so a plane and its resized copy cover the same area, and the inverse is exact.
`engine.inference.preprocess` does the same in torch, for GPUs, and uses the functions here that need no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.text import plural
from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.runtime.normalisation import NORMALISATIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.models.spec import ModelSpec

    Array = NDArray[np.float32]

STEP = 32
COLOURS = ("red", "green", "blue")
LUMINANCE = (0.299, 0.587, 0.114)
# Near the largest float32.
HUGE = 1e38
# Above this float32 no longer holds every integer.
EXACT = float(1 << 24)


@dataclass(frozen=True)
class Frame:
    """The position of a plane within the network's working image; all lengths in pixels.

    Parameters
    ----------
    native : tuple of int
        (H, W) of the scan's plane.
    inner : tuple of int
        (h, w) of the resized plane.
    padded : tuple of int
        (h, w) of the working image, multiples of 32.
    """

    native: tuple[int, int]
    inner: tuple[int, int]
    padded: tuple[int, int]

    @property
    def window(self) -> tuple[slice, slice]:
        """The resized plane's place in the working image: the middle."""
        top, left = ((whole - part) // 2 for whole, part in zip(self.padded, self.inner, strict=True))
        return slice(top, top + self.inner[0]), slice(left, left + self.inner[1])


@dataclass(frozen=True, eq=False)
class Planes:
    """The network's input.

    Parameters
    ----------
    working : numpy.ndarray
        (N, C, h, w) float32, normalised.
    frame : Frame
        The position of the planes within the working image.
    varied : numpy.ndarray
        (N,) bool, False for blank planes, whose prediction is meaningless.
    """

    working: Array
    frame: Frame
    varied: NDArray[np.bool_]

    def back(self, answer: Array) -> NDArray[np.uint8]:
        """Resize a prediction (L, h, w) float to the scan's grid: (L, H, W) uint8, 0..255 for 0..1."""
        rows, columns = self.frame.window
        return as_bytes(resize(answer[None, :, rows, columns], self.frame.native)[0])


def as_bytes(probability: Array) -> NDArray[np.uint8]:
    """Return 0..255 for 0..1."""
    found: NDArray[np.uint8] = np.clip(np.rint(probability * np.float32(255)), 0, 255).astype(np.uint8)
    return found


def frame_lengths(height: int, width: int, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the sides of a plane resized to a longest side of `size`, and the same rounded up to multiples of 32."""
    scale = size / max(height, width)
    inner = (max(1, round(height * scale)), max(1, round(width * scale)))
    return inner, (-(-inner[0] // STEP) * STEP, -(-inner[1] // STEP) * STEP)


def as_planes(raw: NDArray[Any], spec: ModelSpec) -> Planes:
    """Prepare raw planes for a model; see `engine.inference.preprocess.to_working_planes`.

    Parameters
    ----------
    raw : numpy.ndarray
        (N, C, H, W) of any bool, integer or float type.

    Raises
    ------
    ScanError
        The values are not real numbers.
    ModelError
        The channels do not fit the model.
    """
    check_type(raw)
    values = coloured(as_float32(without_alpha(raw, spec)), spec)
    low, high = values.min((2, 3), keepdims=True), values.max((2, 3), keepdims=True)
    frame = Frame(raw.shape[2:], *frame_lengths(raw.shape[2], raw.shape[3], spec.size))
    rows, columns = frame.window
    if frame.padded == frame.native:
        working = values
    else:
        working = np.broadcast_to(low, (*values.shape[:2], *frame.padded)).copy()
        working[..., rows, columns] = resize(values, frame.inner)
    normal = NORMALISATIONS[spec.normalisation](working)
    varied = (high > low).any((1, 2, 3)) & (normal.max((2, 3)) > normal.min((2, 3))).any(1)
    return Planes(normal, frame, varied)


def resize(values: Array, shape: tuple[int, int]) -> Array:
    """Resize (N, C, H, W) float to (N, C, *shape), bilinear, antialiased when downsampling."""
    for axis, length in ((2, shape[0]), (3, shape[1])):
        if values.shape[axis] != length:
            values = _resized(values, axis, length)
    return values


def _resized(values: Array, axis: int, length: int) -> Array:
    places, weights = _taps(values.shape[axis], length)
    wide = [1] * values.ndim
    wide[axis] = length
    total: Array = values.take(places[0], axis) * weights[0].reshape(wide)
    for place, weight in zip(places[1:], weights[1:], strict=True):
        total += values.take(place, axis) * weight.reshape(wide)
    return total


@lru_cache(maxsize=64)
def _taps(old: int, new: int) -> tuple[NDArray[np.intp], Array]:
    """Return the pixels along an axis that contribute to each new one, and their weights: (taps, new) each.

    The filter is a triangle, as wide as two new pixels when downsampling, as two old ones when upsampling.
    """
    scale = old / new
    reach = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    first = np.maximum(np.floor(centres - reach + 0.5).astype(np.intp), 0)
    places = first + np.arange(math.ceil(2 * reach) + 1)[:, None]
    weights = np.maximum(1 - abs((places + 0.5 - centres) / reach), 0) * (places < old)
    weights /= weights.sum(0)
    used = weights.any(1)
    return np.minimum(places, old - 1)[used], weights[used].astype(np.float32)


def check_type(raw: NDArray[Any]) -> None:
    """Raise ScanError if the values are not real numbers."""
    if raw.dtype.kind == "c":
        raise ScanError("the scan holds complex numbers: take their magnitude (numpy.abs) first")
    if raw.dtype.kind not in "biuf":
        raise ScanError(f"the scan holds {raw.dtype} values, not numbers: convert it to an integer or float type first")


def check_channels(given: int, spec: ModelSpec) -> None:
    """Raise ModelError unless a scan with `given` channels fits the model."""
    without_alpha(np.empty((1, given, 1, 1), np.uint8), spec)


def without_alpha(raw: NDArray[Any], spec: ModelSpec) -> NDArray[Any]:
    """Return the channels that a model uses, without an alpha channel; raises ModelError if they do not fit."""
    given, wanted = raw.shape[1], spec.in_channels
    if given == wanted or (given in (3, 4) and (wanted == 1 or spec.channels == COLOURS)):
        return raw[:, :3] if given == 4 != wanted else raw
    if given == 1 and spec.channels == COLOURS:
        return raw
    raise ModelError(
        f"model {spec.name} needs {plural(wanted, 'channel')} ({', '.join(spec.channels)}), "
        f"the scan has {given}: give a scan for each channel, or choose a model that fits"
    )


def coloured(values: Array, spec: ModelSpec) -> Array:
    """Return values (N, C, h, w) with the model's channels: luminance of colours, or grey repeated."""
    if values.shape[1] == 4 != spec.in_channels:
        values = values[:, :3]
    given, wanted = values.shape[1], spec.in_channels
    if given == 3 and wanted == 1:
        return np.asarray((values * np.array(LUMINANCE, np.float32)[:, None, None]).sum(1, keepdims=True))
    return np.broadcast_to(values, (len(values), wanted, *values.shape[2:]))


def bounded(raw: NDArray[Any], sample: NDArray[Any]) -> Array:
    """Return a part of a plane as finite float32 values (N, C, h, w), as in the whole plane.

    Parameters
    ----------
    raw : numpy.ndarray
        (N, C, h, w) of any bool, integer or float type.
    sample : numpy.ndarray
        (1, C, a, b): pixels from all over the plane; their extremes replace NaN and infinities, and show whether the
        values exceed float32.
    """
    check_type(raw)
    if is_small(raw):
        return raw.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        wide = raw.astype(np.float64 if raw.dtype.itemsize > 4 or raw.dtype.kind in "iu" else np.float32)
        known = [one[np.isfinite(one)] for one in sample[0].astype(wide.dtype)]
        low, high = (np.array([float(f(k)) if k.size else 0.0 for k in known])[:, None, None] for f in (np.min, np.max))
        for channel in range(wide.shape[1]):
            lowest, highest = low[channel].item(), high[channel].item()
            np.nan_to_num(wide[:, channel], copy=False, nan=lowest, posinf=highest, neginf=lowest)
        return _scaled(wide, low, high).astype(np.float32, copy=False)


def is_small(raw: NDArray[Any]) -> bool:
    """Tell whether float32 holds every value of the type."""
    return raw.dtype.kind in "biu" and raw.dtype.itemsize <= 2


def as_float32(raw: NDArray[Any]) -> Array:
    """Return planes as finite float32: NaN and infinities become extremes; values beyond float32 are scaled to 0..1."""
    if is_small(raw):
        return raw.astype(np.float32)
    wide = raw.dtype.itemsize > 4 or raw.dtype.kind in "iu"
    with np.errstate(over="ignore", invalid="ignore"):
        values = raw.astype(np.float64 if wide else np.float32)
        _fill_gaps(values)
        return _within_reach(values).astype(np.float32, copy=False)


def _fill_gaps(values: NDArray[Any]) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    for plane, known in zip(values.reshape(-1, *values.shape[2:]), finite.reshape(-1, *values.shape[2:]), strict=True):
        low, high = (plane[known].min(), plane[known].max()) if known.any() else (0, 0)
        np.nan_to_num(plane, copy=False, nan=low, posinf=high, neginf=low)


def _within_reach(values: NDArray[Any]) -> NDArray[Any]:
    """Scale planes to 0..1 if float32 cannot represent their values or differences."""
    return _scaled(values, values.min((2, 3), keepdims=True), values.max((2, 3), keepdims=True))


def _scaled(values: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    peak, span = np.maximum(abs(low), abs(high)), high / 2 - low / 2
    beyond = (span > 0) & ((peak > EXACT) | (span < 1e-4 * peak) | (span < 1e-12))
    beyond |= peak > HUGE  # a constant plane that float32 would make infinite becomes 0
    if not beyond.any():
        return values
    return np.where(beyond, (values / 2 - low / 2) / np.where(beyond & (span > 0), span, 1), values)
