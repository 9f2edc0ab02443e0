"""Run a model in torch on planes and tiles, in as much memory as there is."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from napari_unet_tumour.engine.inference.accelerate import accelerated, mean_of, pick_device
from napari_unet_tumour.engine.inference.memory import WORKING, BatchLimits, OomRetry
from napari_unet_tumour.engine.inference.preprocess import to_working_planes, working_frame
from napari_unet_tumour.engine.inference.sliding_window import blend, block_probability
from napari_unet_tumour.engine.networks.gated_branch import has_gated_branch
from napari_unet_tumour.postprocess.component_check import has_classifier, lower_unlikely
from napari_unet_tumour.tiling.grid import RAW

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_unet_tumour.engine.inference.preprocess import Answer, WorkingPlanes
    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import SegmentSettings
    from napari_unet_tumour.tiling.grid import Tile


class TorchPredictor:
    """Predicts in torch, on any device.

    Parameters
    ----------
    model : Model
        The model.
    settings : SegmentSettings
        Device, precision, test-time augmentation, windows and memory.
    notice : str
        A note for the user, unless the network's runner has one.
    """

    def __init__(self, model: Model, settings: SegmentSettings, notice: str = "") -> None:
        self._model, self._settings = model, settings
        self.twofold = has_gated_branch(model.net)
        device = pick_device(settings.device)
        note = accelerated(model, device, settings.precision).note or notice
        self._windows = OomRetry(BatchLimits(device, max(1, WORKING[device.type] // model.spec.size**2)), note)
        self._whole: OomRetry | None = None

    @property
    def notice(self) -> str:
        """A note for the user, or ""."""
        return (self._whole or self._windows).notice

    @property
    def ahead(self) -> int:
        """Unfinished batches when another one is started: a GPU computes one while the previous one is copied back."""
        return int((self._whole or self._windows).limits.device.type == "cuda")

    def begin(
        self, read: Callable[[list[int]], NDArray[Any]], left: Sequence[int], shape: Sequence[int]
    ) -> tuple[list[int], Answer]:
        """Start predicting some of the planes that are left; the returned function waits for (n, L, H, W) uint8."""
        if self._whole is None:
            limits = BatchLimits(self._windows.limits.device, self._planes_at_once(shape))
            self._whole = OomRetry(limits, self._windows.notice)
        return self._whole.run(partial(self._start, read, left), self._model.spec.size)

    def planes(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """Return (n, L, H, W) for whole planes (n, C, H, W)."""
        return self._windows.run(lambda limits: self._probability(raw, limits), self._model.spec.size)()

    def block(self, raw: NDArray[Any], sample: NDArray[Any], block: Tile) -> NDArray[np.uint8]:
        """Return (L, H, W) uint8 for the region of a tile, see `sliding_window.block_probability`."""
        return self._windows.run(lambda limits: self._block(raw, sample, block, limits), self._model.spec.size)

    def close(self) -> None:
        """Do nothing: a batch that was started cannot be cancelled."""

    def _start(
        self, read: Callable[[list[int]], NDArray[Any]], left: Sequence[int], limits: BatchLimits
    ) -> tuple[list[int], Answer]:
        """Start predicting as many of the planes that are left as fit into a batch."""
        chosen = list(left[: limits.batch])
        return chosen, self._probability(read(chosen), limits)

    def _planes_at_once(self, shape: Sequence[int]) -> int:
        (channels, height, width), spec, settings = shape, self._model.spec, self._settings
        padded = working_frame(height, width, max(spec.size, spec.flip_size if settings.flip_tta else 0)).padded
        raw = RAW * settings.memory // (channels * height * width)
        return max(1, min(WORKING[self._windows.limits.device.type] // math.prod(padded), raw))

    def _block(self, raw: NDArray[Any], sample: NDArray[Any], block: Tile, limits: BatchLimits) -> NDArray[np.uint8]:
        run = accelerated(self._model, limits.device, self._settings.precision)
        return block_probability(run, self._model.spec, raw, sample, block, limits, self._settings)

    @torch.inference_mode()
    def _probability(self, raw: NDArray[Any], limits: BatchLimits) -> Answer:
        """Start predicting raw planes (N, C, H, W); the returned function waits for (N, L, H, W), 0 if blank."""
        model, flip_tta = self._model, self._settings.flip_tta
        planes = to_working_planes(raw, model.spec, limits.device)
        run = accelerated(model, limits.device, self._settings.precision)
        if limits.window and limits.window < max(planes.frame.padded):
            predict = partial(run.probability, flip_tta=flip_tta)
            working = torch.stack([blend(predict, one, limits.window, limits.batch) for one in planes.working])
        else:
            own, mirrored = run.predictions(planes.working, flip_tta, model.spec.flip_scale)
            if self._settings.check_components and has_classifier(model.spec):
                return _checked(planes, own, mirrored, model.spec)
            working = mean_of(own, mirrored)
        return planes.back(working)


def _checked(planes: WorkingPlanes, own: torch.Tensor, mirrored: torch.Tensor | None, spec: ModelSpec) -> Answer:
    """Return a function that waits for the prediction on the scan's grid, with unlikely components lowered."""
    prediction = planes.back(mean_of(own, mirrored))

    def wait() -> NDArray[np.uint8]:
        found = prediction()
        for n, one in enumerate(found):
            if one[0].any():
                other = None if mirrored is None else _array(mirrored[n])
                lower_unlikely(one, _array(planes.working[n]), _array(own[n]), other, planes.frame, spec)
        return found

    return wait


def _array(values: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.float().cpu().numpy()
    return array
