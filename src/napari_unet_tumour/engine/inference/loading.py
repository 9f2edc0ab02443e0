"""A model file -> what runs it: ONNX Runtime on a CPU, where torch is not imported then, else torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet_tumour.base.text import plural
from napari_unet_tumour.runtime import model as runtimes
from napari_unet_tumour.runtime import processor
from napari_unet_tumour.runtime.model import RuntimeModel, Trouble
from napari_unet_tumour.settings import SegmentSettings

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet_tumour.engine.inference.segment import AnyModel


def load_for(source: str | Path | bytes, settings: SegmentSettings, export: bool = True) -> AnyModel:
    """Return a model ready for segmenting with these settings.

    Parameters
    ----------
    source : path or bytes
        A model file or its content.
    export : bool
        Whether a graph that is not there yet is made: that takes some seconds once, and makes every later use quicker.

    Raises
    ------
    ModelError
        Not a model file, cut, of another format, or its weights do not fit its network.
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
    """Tell whether torch runs a model."""
    return not isinstance(model, RuntimeModel)


def describe_device(name: str = "auto", precision: str = "auto") -> str:
    """Return a device and the numbers it computes in, e.g. "CPU, 2 cores, float32" or the GPU's name, in words.

    Raises
    ------
    DeviceError
        It is not there.
    """
    if runtimes.applies(SegmentSettings(device=name, precision=precision)) and runtimes.trouble() is None:
        return f"CPU, {plural(processor.cores(), 'core')}, float32"
    from napari_unet_tumour.engine.inference.accelerate import describe_device as describe

    return describe(name, precision)
