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

from napari_unet_tumour.engine.normalise import NORMALISATIONS
from napari_unet_tumour.errors import ModelError, ScanError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.spec import ModelSpec

STEP = 32
COLOURS = ("red", "green", "blue")
LUMINANCE = (0.299, 0.587, 0.114)
# Above this float32 no longer holds every integer.
EXACT = float(1 << 24)


@dataclass(frozen=True)
class Frame:
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
class Planes:
    """Planes as the network sees them.

    Parameters
    ----------
    working : torch.Tensor
        (N, C, h, w) float32, normalised.
    frame : Frame
        The way back, the same for all.
    blank : tuple of bool
        Planes in which nothing varies; the network's answer to them means nothing.
    """

    working: torch.Tensor
    frame: Frame
    blank: tuple[bool, ...]


def frame_of(height: int, width: int, size: int) -> Frame:
    """Fit a plane into a working image whose longest side is `size`, aspect kept, padded to multiples of 32."""
    scale = size / max(height, width)
    inner = (max(1, round(height * scale)), max(1, round(width * scale)))
    padded = (-(-inner[0] // STEP) * STEP, -(-inner[1] // STEP) * STEP)
    return Frame((height, width), inner, padded)


def as_planes(raw: NDArray[Any], spec: ModelSpec, device: torch.device | str = "cpu") -> Planes:
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
    _check_type(raw)
    values = _coloured(_as_float32(_without_alpha(raw, spec)), spec).to(device)
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    frame = frame_of(raw.shape[2], raw.shape[3], spec.size)
    working = low.expand(*values.shape[:2], *frame.padded).clone()
    rows, columns = frame.window
    working[..., rows, columns] = resize(values, frame.inner)
    # One by one: sums over a batch are grouped differently, and a plane's answer must not depend on its company.
    for n in range(len(working)):
        working[n : n + 1] = NORMALISATIONS[spec.normalisation](working[n : n + 1])
    varied = (high > low).flatten(1).any(1) & (working.amax((2, 3)) > working.amin((2, 3))).any(1)
    return Planes(working, frame, tuple(not one for one in varied.tolist()))


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


def _check_type(raw: NDArray[Any]) -> None:
    if raw.dtype.kind == "c":
        raise ScanError("the scan holds complex numbers: take their magnitude (numpy.abs) first")
    if raw.dtype.kind not in "biuf":
        raise ScanError(f"the scan holds {raw.dtype} values, not numbers: convert it to an integer or float type first")


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


def _coloured(values: torch.Tensor, spec: ModelSpec) -> torch.Tensor:
    given, wanted = values.shape[1], spec.in_channels
    if given == 3 and wanted == 1:
        return (values * values.new_tensor(LUMINANCE)[:, None, None]).sum(1, keepdim=True)
    return values.expand(-1, wanted, -1, -1)


def _as_float32(raw: NDArray[Any]) -> torch.Tensor:
    if raw.dtype.kind in "bu" and raw.dtype.itemsize <= 2:
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
    low, high = values.min((2, 3), keepdims=True), values.max((2, 3), keepdims=True)
    peak, span = np.maximum(abs(low), abs(high)), high / 2 - low / 2
    beyond = (span > 0) & ((peak > EXACT) | (span < 1e-4 * peak) | (span < 1e-12))
    if not beyond.any():
        return values
    return np.where(beyond, (values / 2 - low / 2) / np.where(beyond, span, 1), values)
