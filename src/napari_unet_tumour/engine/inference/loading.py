"""Load a model for prediction: in ONNX Runtime on a CPU, without importing torch, else in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet_tumour.base.text import plural
from napari_unet_tumour.runtime import model as runtimes
from napari_unet_tumour.runtime import processor
from napari_unet_tumour.runtime.model import RuntimeModel, Trouble
from napari_unet_tumour.settings import SegmentSettings

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet_tumour.engine.model import Model

    AnyModel = Model | RuntimeModel


def load_for(source: str | Path | bytes, settings: SegmentSettings, export: bool = True) -> AnyModel:
    """Return a model ready for segmenting with these settings.

    Parameters
    ----------
    source : path or bytes
        A model file or its content.
    export : bool
        Whether to export a missing graph: it takes a few seconds once, and makes later predictions faster.

    Raises
    ------
    ModelError
        It is not a model file, truncated, of another format, or its weights do not match its network.
    """
    wanted = runtimes.applies(settings)
    found = runtimes.open_file(source) if wanted else None
    if isinstance(found, RuntimeModel):
        return found
    from napari_unet_tumour.engine.model import load

    model = load(source)
    if not (wanted and export) or isinstance(found, Trouble):
        return model
    from napari_unet_tumour.engine.inference.onnx_export import ensure

    found = runtimes.open_file(source) if ensure(model) else None
    return found if isinstance(found, RuntimeModel) else model


def needs_torch(model: AnyModel) -> bool:
    """Tell whether a model runs in torch."""
    return not isinstance(model, RuntimeModel)


def describe_device(name: str = "auto", precision: str = "auto") -> str:
    """Return device and precision in words, e.g. "CPU, 2 cores, float32", or with the name of the GPU.

    Raises
    ------
    DeviceError
        The device does not exist.
    """
    if runtimes.applies(SegmentSettings(device=name, precision=precision)) and runtimes.trouble() is None:
        return f"CPU, {plural(processor.cores(), 'core')}, float32"
    from napari_unet_tumour.engine.inference.accelerate import describe_device as describe

    return describe(name, precision)
