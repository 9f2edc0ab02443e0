"""The tasks that the worker runs by name; a model is passed as a path or as the content of its file."""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.engine.inference import loading
from napari_unet_tumour.engine.inference.segment import iter_segment_block, iter_segment_planes
from napari_unet_tumour.settings import Progress, SegmentSettings

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.clicks.answer import Click, Known
    from napari_unet_tumour.corrections import FineTuneOutcome, ReviewedSlice
    from napari_unet_tumour.settings import FinetuneSettings

__all__ = [
    "add_classes",
    "click",
    "describe",
    "iter_finetune",
    "iter_finetune_time",
    "iter_outline",
    "iter_preload",
    "iter_segment_block",
    "iter_segment_planes",
    "preload_torch",
]


def iter_preload(model: str | bytes | None = None, device: str = "auto") -> Generator[Progress, None, str]:
    """Load a model and run it once, so that the next prediction is fast; returns the device in words."""
    if model is not None:
        yield Progress(0, 2, "loading the model")
        settings = SegmentSettings(device=device)
        loaded = loading.load_for(model, settings)
        yield Progress(1, 2, "warming up")
        noise = np.random.default_rng(0).random((8, loaded.spec.in_channels, 256, 256), np.float32)
        for planes in (noise[:1], noise) if loading.needs_torch(loaded) else (noise[:1],):
            yield from iter_segment_planes(loaded, planes, settings)
    return describe(device)


_torch_loading: list[threading.Thread] = []


def preload_torch() -> None:
    """Import torch on a background thread, so that fine-tuning starts at once; other jobs can run meanwhile."""
    thread = threading.Thread(target=importlib.import_module, args=("torch",), daemon=True)
    _torch_loading[:] = [thread]
    thread.start()


def click(
    model: str | bytes, plane: NDArray[Any], clicks: Sequence[Click], known: Known | None = None
) -> NDArray[np.uint8]:
    """Outline the clicked lesion on a plane (C, H, W), see `runtime.clicks.answer_plane`; (H, W) uint8, 128: inside."""
    from napari_unet_tumour.engine.clicks.predict import load_clicks
    from napari_unet_tumour.runtime.clicks import answer_plane

    return answer_plane(load_clicks(model), plane, clicks, known)


def iter_outline(
    model: str | bytes,
    planes: NDArray[Any],
    start: int,
    clicks: Sequence[Click],
    base: NDArray[np.uint8] | None = None,
    known: Known | None = None,
    spacing: Sequence[float | None] = (None, None, None),
    corrected: Mapping[int, NDArray[np.bool_]] | None = None,
) -> Generator[Progress, None, dict[int, NDArray[np.uint8]]]:
    """Outline a lesion in a volume (N, C, H, W) from clicks on one slice, see `runtime.clicks.iter_outline_volume`."""
    from napari_unet_tumour.engine.clicks.predict import load_clicks
    from napari_unet_tumour.runtime.clicks import iter_outline_volume

    return (yield from iter_outline_volume(load_clicks(model), planes, start, clicks, base, known, spacing, corrected))


def iter_finetune(
    model: str | bytes,
    corrections: Sequence[ReviewedSlice],
    settings: FinetuneSettings,
    context: NDArray[Any] | None = None,
    replay: Sequence[ReviewedSlice] = (),
    watch: NDArray[Any] | None = None,
) -> Generator[Progress, None, FineTuneOutcome]:
    """Fine-tune a model, see `finetune.iter_finetune`; raises ModelError for an invalid model."""
    from napari_unet_tumour.engine.finetuning import finetune
    from napari_unet_tumour.engine.model import load

    return (yield from finetune.iter_finetune(load(model), corrections, settings, context, replay, watch))


def iter_finetune_time(model: str | bytes, settings: FinetuneSettings) -> Generator[Progress, None, float]:
    """Return about how many seconds a fine-tuning takes here, see `finetune.iter_time`; 0 while torch is being loaded.

    It does not wait for torch, since other jobs would have to wait for it.
    """
    if any(thread.is_alive() for thread in _torch_loading):
        return 0.0
    from napari_unet_tumour.engine.finetuning import finetune
    from napari_unet_tumour.engine.model import load

    return (yield from finetune.iter_time(load(model), settings))


def add_classes(model: str | bytes, names: Sequence[str]) -> bytes:
    """Return the file of a model with more classes, see `finetuning.add_classes.add_classes`."""
    from napari_unet_tumour.engine.finetuning import add_classes as classes
    from napari_unet_tumour.engine.model import load

    return classes.add_classes(load(model), names)


def describe(device: str = "auto") -> str:
    """Return a device in words; raises DeviceError if it does not exist."""
    return loading.describe_device(device)
