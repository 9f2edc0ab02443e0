"""Planes of any scan -> what the network sees, and the exact way back.

Pixel centres lie at half-integers, so a plane and its resized copy cover the same area and the way
back lands on the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_unet_tumour.engine.normalisation import NORMALISATIONS
from napari_unet_tumour.errors import ModelError, ScanError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_unet_tumour.models.spec import ModelSpec

    Answer = Callable[[], NDArray[np.uint8]]

STEP = 32
COLOURS = ("red", "green", "blue")
LUMINANCE = (0.299, 0.587, 0.114)
# Near the largest float32.
HUGE = 1e38
# Above this float32 no longer holds every integer.
EXACT = float(1 << 24)


@dataclass(frozen=True)
class WorkingFrame:
    """Where a plane lies within the network's working image; all lengths in pixels.

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

    def back(self, working: torch.Tensor) -> torch.Tensor:
        """Bring a working image (N, L, h, w) float back to the scan's grid (N, L, H, W)."""
        rows, columns = self.window
        return resize(working[..., rows, columns], self.native)


@dataclass(frozen=True, eq=False)
class WorkingPlanes:
    """Planes as the network sees them.

    Parameters
    ----------
    working : torch.Tensor
        (N, C, h, w) float32, normalised.
    frame : Frame
        The way back, the same for all.
    varied : torch.Tensor
        (N,) bool; the network's answer to a plane in which nothing varies means nothing.
    """

    working: torch.Tensor
    frame: WorkingFrame
    varied: torch.Tensor

    @property
    def blank(self) -> tuple[bool, ...]:
        """Planes in which nothing varies."""
        return tuple(not one for one in self.varied.tolist())

    def back(self, working: torch.Tensor) -> Answer:
        """Bring an answer (N, L, h, w) float to the scan's grid.

        Returns
        -------
        callable
            () -> (N, L, H, W) uint8, 0..255 for 0..1, 0 for blank planes; it waits for the card, if there is one.
        """
        if working.device.type != "cuda":
            found = np.zeros((*working.shape[:2], *self.frame.native), np.uint8)
            for n, blank in enumerate(self.blank):
                if not blank:
                    found[n] = _as_bytes(self.frame.back(working[n : n + 1])[0]).cpu().numpy()
            return lambda: found
        there = _as_bytes(self.frame.back(working) * self.varied[:, None, None, None])
        here = torch.empty(there.shape, dtype=torch.uint8, pin_memory=True)
        here.copy_(there, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record(torch.cuda.current_stream(there.device))

        def wait() -> NDArray[np.uint8]:
            arrived.synchronize()
            return here.numpy()

        return wait


def _as_bytes(probability: torch.Tensor) -> torch.Tensor:
    return (probability * 255).round_().clamp_(0, 255).byte()


def working_frame(height: int, width: int, size: int) -> WorkingFrame:
    """Fit a plane into a working image whose longest side is `size`, aspect kept, padded to multiples of 32."""
    scale = size / max(height, width)
    inner = (max(1, round(height * scale)), max(1, round(width * scale)))
    padded = (-(-inner[0] // STEP) * STEP, -(-inner[1] // STEP) * STEP)
    return WorkingFrame((height, width), inner, padded)


def to_working_planes(raw: NDArray[Any], spec: ModelSpec, device: torch.device | str = "cpu") -> WorkingPlanes:
    """Prepare raw planes for a model.

    NaN becomes the plane's finite minimum, infinities its finite extremes. Colours become luminance
    for a model of one channel; a grey plane is repeated for a colour model.

    Parameters
    ----------
    raw : numpy.ndarray
        (N, C, H, W) of any bool, integer or float type.

    Raises
    ------
    ScanError
        The values are not real numbers.
    ModelError
        The channels are not those that the model needs.
    """
    check_type(raw)
    values = coloured(_on_device(_without_alpha(raw, spec), torch.device(device)), spec)
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    frame = working_frame(raw.shape[2], raw.shape[3], spec.size)
    working = low.expand(*values.shape[:2], *frame.padded).clone()
    rows, columns = frame.window
    working[..., rows, columns] = resize(values, frame.inner)
    # One by one: sums over a batch are grouped differently, and a plane's answer must not depend on its company. A
    # card has none of these differences worth the launches.
    at_once = len(working) if working.device.type == "cuda" else 1
    for n in range(0, len(working), at_once):
        working[n : n + at_once] = NORMALISATIONS[spec.normalisation](working[n : n + at_once])
    varied = (high > low).flatten(1).any(1) & (working.amax((2, 3)) > working.amin((2, 3))).any(1)
    return WorkingPlanes(working, frame, varied)


def resize(values: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Bring (N, C, H, W) float to (N, C, *shape), antialiased; the same area is covered."""
    if tuple(values.shape[2:]) == shape:
        return values
    if 1 in (values.shape[3], shape[1]):
        # torch's antialiased resize down a single column reads only its first pixel, along a row it is right.
        across = _interpolate(values, (values.shape[2], shape[1]))
        return _interpolate(across.mT.contiguous(), (shape[1], shape[0])).mT
    return _interpolate(values, shape)


def _interpolate(values: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(values, size=shape, mode="bilinear", align_corners=False, antialias=True)


def check_type(raw: NDArray[Any]) -> None:
    """Raise ScanError for values that are no real numbers."""
    if raw.dtype.kind == "c":
        raise ScanError("the scan holds complex numbers: take their magnitude (numpy.abs) first")
    if raw.dtype.kind not in "biuf":
        raise ScanError(f"the scan holds {raw.dtype} values, not numbers: convert it to an integer or float type first")


def check_channels(given: int, spec: ModelSpec) -> None:
    """Raise ModelError unless a scan with so many channels fits the model."""
    _without_alpha(np.empty((1, given, 1, 1), np.uint8), spec)


def _without_alpha(raw: NDArray[Any], spec: ModelSpec) -> NDArray[Any]:
    given, wanted = raw.shape[1], spec.in_channels
    if given == wanted or (given in (3, 4) and (wanted == 1 or spec.channels == COLOURS)):
        return raw[:, :3] if given == 4 != wanted else raw
    if given == 1 and spec.channels == COLOURS:
        return raw
    raise ModelError(
        f"model {spec.name} needs {wanted} channel{'s' * (wanted > 1)} ({', '.join(spec.channels)}), "
        f"the scan has {given}: give a scan for each channel, or choose a model that fits"
    )


def bounded(raw: NDArray[Any], sample: NDArray[Any]) -> torch.Tensor:
    """Return a part of a plane as float32 values (N, C, h, w) as finite as the whole would be.

    Parameters
    ----------
    raw : numpy.ndarray
        (N, C, h, w) of any bool, integer or float type.
    sample : numpy.ndarray
        (1, C, a, b): pixels from all over the plane, which tell the extremes that replace NaN and infinities, and
        whether its values are beyond float32.
    """
    check_type(raw)
    if _is_small(raw):
        return torch.from_numpy(raw.astype(np.float32))
    with np.errstate(over="ignore", invalid="ignore"):
        wide = raw.astype(np.float64 if raw.dtype.itemsize > 4 or raw.dtype.kind in "iu" else np.float32)
        known = [one[np.isfinite(one)] for one in sample[0].astype(wide.dtype)]
        low, high = (np.array([float(f(k)) if k.size else 0.0 for k in known])[:, None, None] for f in (np.min, np.max))
        for channel in range(wide.shape[1]):
            lowest, highest = low[channel].item(), high[channel].item()
            np.nan_to_num(wide[:, channel], copy=False, nan=lowest, posinf=highest, neginf=lowest)
        return torch.from_numpy(_scaled(wide, low, high).astype(np.float32, copy=False))


def coloured(values: torch.Tensor, spec: ModelSpec) -> torch.Tensor:
    """Return values (N, C, h, w) with the model's channels: luminance of colours, or grey repeated."""
    if values.shape[1] == 4 != spec.in_channels:
        values = values[:, :3]
    given, wanted = values.shape[1], spec.in_channels
    if given == 3 and wanted == 1:
        return (values * values.new_tensor(LUMINANCE)[:, None, None]).sum(1, keepdim=True)
    return values.expand(-1, wanted, -1, -1)


def _on_device(raw: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return raw values as finite float32 on a device; small integers travel to a card as they are."""
    if device.type != "cuda" or not _is_small(raw):
        return _as_float32(raw).to(device)
    plain = torch.from_numpy(np.ascontiguousarray(raw.view(np.int16 if raw.dtype.itemsize == 2 else np.uint8)))
    there = plain.pin_memory().to(device, non_blocking=True)
    if raw.dtype == np.uint16:
        return (there.int() & 0xFFFF).float()
    return (there.view(torch.int8) if raw.dtype == np.int8 else there).float()


def _is_small(raw: NDArray[Any]) -> bool:
    return raw.dtype.kind in "biu" and raw.dtype.itemsize <= 2


def _as_float32(raw: NDArray[Any]) -> torch.Tensor:
    if _is_small(raw):
        return torch.from_numpy(raw.astype(np.float32))
    wide = raw.dtype.itemsize > 4 or raw.dtype.kind in "iu"
    with np.errstate(over="ignore", invalid="ignore"):
        values = raw.astype(np.float64 if wide else np.float32)
        _fill_gaps(values)
        return torch.from_numpy(_within_reach(values).astype(np.float32, copy=False))


def _fill_gaps(values: NDArray[Any]) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    for plane, known in zip(values.reshape(-1, *values.shape[2:]), finite.reshape(-1, *values.shape[2:]), strict=True):
        low, high = (plane[known].min(), plane[known].max()) if known.any() else (0, 0)
        np.nan_to_num(plane, copy=False, nan=low, posinf=high, neginf=low)


def _within_reach(values: NDArray[Any]) -> NDArray[Any]:
    """Bring planes to 0..1 whose values or differences float32 cannot hold; leave all others."""
    return _scaled(values, values.min((2, 3), keepdims=True), values.max((2, 3), keepdims=True))


def _scaled(values: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    peak, span = np.maximum(abs(low), abs(high)), high / 2 - low / 2
    beyond = (span > 0) & ((peak > EXACT) | (span < 1e-4 * peak) | (span < 1e-12))
    beyond |= peak > HUGE  # a constant plane that float32 would make infinite becomes 0
    if not beyond.any():
        return values
    return np.where(beyond, (values / 2 - low / 2) / np.where(beyond & (span > 0), span, 1), values)
