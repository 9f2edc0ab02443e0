"""Runs a model in torch over planes and blocks of planes, in as much memory as there is."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from napari_unet_tumour.engine.inference.accelerate import accelerated, pick_device
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
    """Finds probabilities on any device.

    Parameters
    ----------
    model : Model
        What runs.
    settings : SegmentSettings
        The device, numbers, whether the mirror image is predicted too, windows, memory.
    notice : str
        What a person should know beside what the network's runner says.
    """

    def __init__(self, model: Model, settings: SegmentSettings, notice: str = "") -> None:
        self._model, self._settings = model, settings
        self.twofold = has_gated_branch(model.net)
        device = pick_device(settings.device)
        note = accelerated(model, device, settings.precision).note or notice
        self._steady = OomRetry(BatchLimits(device, max(1, WORKING[device.type] // model.spec.size**2)), note)
        self._whole: OomRetry | None = None

    @property
    def notice(self) -> str:
        """What a person should know."""
        return (self._whole or self._steady).notice

    @property
    def ahead(self) -> int:
        """Batches that may be under way when another begins: a card works on one while the one before comes back."""
        return int((self._whole or self._steady).room.device.type == "cuda")

    def begin(
        self, read: Callable[[list[int]], NDArray[Any]], left: Sequence[int], shape: Sequence[int]
    ) -> tuple[list[int], Answer]:
        """Begin some of the planes that are left; calling the answer waits for it: (n, L, H, W) uint8."""
        if self._whole is None:
            room = BatchLimits(self._steady.room.device, self._planes_at_once(shape))
            self._whole = OomRetry(room, self._steady.notice)
        return self._whole.run(partial(self._send, read, left), self._model.spec.size)

    def planes(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """Return (n, L, H, W) for whole planes (n, C, H, W)."""
        return self._steady.run(lambda room: self._probability(raw, room), self._model.spec.size)()

    def block(self, raw: NDArray[Any], sample: NDArray[Any], block: Tile) -> NDArray[np.uint8]:
        """Return (L, H, W) uint8 for the region of a block, see `windows.block_probability`."""
        return self._steady.run(lambda room: self._block(raw, sample, block, room), self._model.spec.size)

    def close(self) -> None:
        """Nothing is left behind."""

    def _send(
        self, read: Callable[[list[int]], NDArray[Any]], left: Sequence[int], room: BatchLimits
    ) -> tuple[list[int], Answer]:
        """Begin as many of the planes that are left as there is room for."""
        chosen = list(left[: room.batch])
        return chosen, self._probability(read(chosen), room)

    def _planes_at_once(self, shape: Sequence[int]) -> int:
        (channels, height, width), spec, settings = shape, self._model.spec, self._settings
        padded = working_frame(height, width, max(spec.size, spec.flip_size if settings.flip_tta else 0)).padded
        raw = RAW * settings.memory // (channels * height * width)
        return max(1, min(WORKING[self._steady.room.device.type] // math.prod(padded), raw))

    def _block(self, raw: NDArray[Any], sample: NDArray[Any], block: Tile, room: BatchLimits) -> NDArray[np.uint8]:
        run = accelerated(self._model, room.device, self._settings.precision)
        return block_probability(run, self._model.spec, raw, sample, block, room, self._settings)

    @torch.inference_mode()
    def _probability(self, raw: NDArray[Any], room: BatchLimits) -> Answer:
        """Begin to find (N, L, H, W) uint8 for raw planes (N, C, H, W), 0 for blank planes; calling it waits."""
        model, flip_tta = self._model, self._settings.flip_tta
        planes = to_working_planes(raw, model.spec, room.device)
        run = accelerated(model, room.device, self._settings.precision)
        if room.window and room.window < max(planes.frame.padded):
            sure = partial(run.probability, flip_tta=flip_tta)
            working = torch.stack([blend(sure, one, room.window, room.batch) for one in planes.working])
        else:
            own, mirrored = run.answers(planes.working, flip_tta, model.spec.flip_scale)
            if self._settings.check_components and has_classifier(model.spec):
                return _checked(planes, own, mirrored, model.spec)
            working = _mean(own, mirrored)
        return planes.back(working)


def _mean(own: torch.Tensor, mirrored: torch.Tensor | None) -> torch.Tensor:
    return own if mirrored is None else (own + mirrored) / 2


def _checked(planes: WorkingPlanes, own: torch.Tensor, mirrored: torch.Tensor | None, spec: ModelSpec) -> Answer:
    """Begin to bring an answer back to the scan's grid, with components that are no tumour lowered."""
    answer = planes.back(_mean(own, mirrored))

    def wait() -> NDArray[np.uint8]:
        found = answer()
        for n, one in enumerate(found):
            if one[0].any():
                other = None if mirrored is None else _array(mirrored[n])
                lower_unlikely(one, _array(planes.working[n]), _array(own[n]), other, planes.frame, spec)
        return found

    return wait


def _array(values: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.float().cpu().numpy()
    return array
