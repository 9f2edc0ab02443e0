"""From raw planes to the network's input, and the exact inverse for its output, in torch.

Pixel centres are at half-integers, so a plane and its resized copy cover the same area, and the inverse is exact.
`runtime.preprocess` does the same in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_unet_tumour.engine.normalisation import NORMALISATIONS
from napari_unet_tumour.runtime import preprocess as base
from napari_unet_tumour.runtime.preprocess import COLOURS, STEP, check_channels, check_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_unet_tumour.models.spec import ModelSpec

    Answer = Callable[[], NDArray[np.uint8]]

__all__ = [
    "COLOURS",
    "STEP",
    "WorkingFrame",
    "WorkingPlanes",
    "check_channels",
    "resize",
    "to_working_planes",
    "working_frame",
]


class WorkingFrame(base.Frame):
    """The position of a plane within the network's working image; see `runtime.preprocess.Frame`."""

    def back(self, working: torch.Tensor) -> torch.Tensor:
        """Resize a prediction (N, L, h, w) float to the scan's grid (N, L, H, W)."""
        rows, columns = self.window
        return resize(working[..., rows, columns], self.native)


@dataclass(frozen=True, eq=False)
class WorkingPlanes:
    """The network's input.

    Parameters
    ----------
    working : torch.Tensor
        (N, C, h, w) float32, normalised.
    frame : WorkingFrame
        The position of the planes within the working image.
    varied : torch.Tensor
        (N,) bool, False for blank planes, whose prediction is meaningless.
    """

    working: torch.Tensor
    frame: WorkingFrame
    varied: torch.Tensor

    @property
    def blank(self) -> tuple[bool, ...]:
        """Whether each plane has only one value."""
        return tuple(not one for one in self.varied.tolist())

    def back(self, working: torch.Tensor) -> Answer:
        """Resize a prediction (N, L, h, w) float to the scan's grid.

        Returns
        -------
        callable
            () -> (N, L, H, W) uint8, 0..255 for 0..1, 0 for blank planes; the call waits for the GPU, if there is one.
        """
        if working.device.type != "cuda":
            found = np.zeros((*working.shape[:2], *self.frame.native), np.uint8)
            for n, blank in enumerate(self.blank):
                if not blank:
                    found[n] = _as_bytes(self.frame.back(working[n : n + 1])[0]).cpu().numpy()
            return lambda: found
        on_gpu = _as_bytes(self.frame.back(working) * self.varied[:, None, None, None])
        here = torch.empty(on_gpu.shape, dtype=torch.uint8, pin_memory=True)
        here.copy_(on_gpu, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record(torch.cuda.current_stream(on_gpu.device))

        def wait() -> NDArray[np.uint8]:
            arrived.synchronize()
            return here.numpy()

        return wait


def _as_bytes(probability: torch.Tensor) -> torch.Tensor:
    return (probability * 255).round_().clamp_(0, 255).byte()


def working_frame(height: int, width: int, size: int) -> WorkingFrame:
    """Return the position of a plane in a working image: longest side `size`, padded to multiples of 32."""
    return WorkingFrame((height, width), *base.frame_lengths(height, width, size))


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
        The channels do not fit the model.
    """
    check_type(raw)
    values = coloured(_on_device(base.without_alpha(raw, spec), torch.device(device)), spec)
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    frame = working_frame(raw.shape[2], raw.shape[3], spec.size)
    working = low.expand(*values.shape[:2], *frame.padded).clone()
    rows, columns = frame.window
    working[..., rows, columns] = resize(values, frame.inner)
    # One by one on a CPU: sums over a batch round differently, and a prediction must not depend on the batch. On a GPU
    # the differences are too small to be worth the launches.
    at_once = len(working) if working.device.type == "cuda" else 1
    for n in range(0, len(working), at_once):
        working[n : n + at_once] = NORMALISATIONS[spec.normalisation](working[n : n + at_once])
    varied = (high > low).flatten(1).any(1) & (working.amax((2, 3)) > working.amin((2, 3))).any(1)
    return WorkingPlanes(working, frame, varied)


def resize(values: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Resize (N, C, H, W) float to (N, C, *shape), antialiased; both cover the same area."""
    if tuple(values.shape[2:]) == shape:
        return values
    if 1 in (values.shape[3], shape[1]):
        # torch's antialiased resize along a single column reads only its first pixel; along a row it is correct.
        across = _interpolate(values, (values.shape[2], shape[1]))
        return _interpolate(across.mT.contiguous(), (shape[1], shape[0])).mT
    return _interpolate(values, shape)


def _interpolate(values: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(values, size=shape, mode="bilinear", align_corners=False, antialias=True)


def coloured(values: torch.Tensor, spec: ModelSpec) -> torch.Tensor:
    """Return values (N, C, h, w) with the model's channels: luminance of colours, or grey repeated."""
    if values.shape[1] == 4 != spec.in_channels:
        values = values[:, :3]
    given, wanted = values.shape[1], spec.in_channels
    if given == 3 and wanted == 1:
        return (values * values.new_tensor(base.LUMINANCE)[:, None, None]).sum(1, keepdim=True)
    return values.expand(-1, wanted, -1, -1)


def _on_device(raw: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return raw values as finite float32 on a device; small integers are copied to a GPU before the conversion."""
    if device.type != "cuda" or not base.is_small(raw):
        return torch.from_numpy(base.as_float32(raw)).to(device)
    plain = torch.from_numpy(np.ascontiguousarray(raw.view(np.int16 if raw.dtype.itemsize == 2 else np.uint8)))
    there = plain.pin_memory().to(device, non_blocking=True)
    if raw.dtype == np.uint16:
        return (there.int() & 0xFFFF).float()
    return (there.view(torch.int8) if raw.dtype == np.int8 else there).float()
