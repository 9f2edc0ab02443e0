"""Opens what answers clicks: in ONNX Runtime where its graph is known (`runtime.clicks`), else in torch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_unet_tumour.clicks.grey_values import guess
from napari_unet_tumour.runtime import clicks as in_runtime
from napari_unet_tumour.runtime.clicks import ClickModel

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from napari_unet_tumour.engine.model import Model


def load_clicks(source: str | Path | bytes) -> ClickModel:
    """Return what answers the clicks of a model; a missing graph is exported, which takes a second or two once.

    Parameters
    ----------
    source : path or bytes
        A model file or its content.

    Raises
    ------
    ModelError
        It is not a model file, truncated, of another format, or its weights do not match its network.
    """
    found = in_runtime.open_file(source)
    if found is not None:
        return found
    from napari_unet_tumour.engine.inference.onnx_export import ensure_clicks
    from napari_unet_tumour.engine.model import load

    model = load(source)
    found = in_runtime.open_file(source) if ensure_clicks(model) else None
    return in_torch(model) if found is None else found


def in_torch(model: Model) -> ClickModel:
    """Return what answers the clicks of a model that is loaded in torch; without a click network grey values do."""
    return ClickModel(model.spec, guess if model.clicks is None else partial(_run, model.clicks))


def _run(net: nn.Module, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    import torch

    # oneDNN rounds a lone picture differently: an answer must not depend on its company.
    x = torch.from_numpy(pictures)
    x = x.expand(2, -1, -1, -1) if len(pictures) == 1 else x
    with torch.inference_mode():
        logits = net(x.contiguous(memory_format=torch.channels_last))
    found: NDArray[np.float32] = logits.sigmoid()[: len(pictures), 0].numpy()
    return found
