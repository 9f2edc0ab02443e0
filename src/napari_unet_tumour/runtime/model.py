"""Models without torch: the description, and the network in ONNX Runtime."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.models.spec import hash_of, read_spec, spec_of
from napari_unet_tumour.runtime import graph as graphs
from napari_unet_tumour.runtime import processor
from napari_unet_tumour.runtime.normalisation import NORMALISATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.runtime.graph import Graph
    from napari_unet_tumour.runtime.session import Session
    from napari_unet_tumour.settings import SegmentSettings

CHOICE = "NAPARI_UNET_TUMOUR_RUNTIME"
KEPT = 4


@dataclass(frozen=True, eq=False)
class RuntimeModel:
    """A model that runs in ONNX Runtime.

    Parameters
    ----------
    spec : ModelSpec
        The description.
    session : Session
        The network.
    hash : str
        First 12 hex digits of the SHA-256 of its file.
    twofold : bool
        Whether there are two predictions: without the gated branch, then with it.
    """

    spec: ModelSpec
    session: Session
    hash: str
    twofold: bool


@dataclass(frozen=True)
class Trouble:
    """Why a model runs in torch instead of ONNX Runtime; `text` is for the user."""

    text: str


def applies(settings: SegmentSettings) -> bool:
    """Tell whether ONNX Runtime should run these settings on this computer: on the CPU, in float32.

    The environment variable NAPARI_UNET_TUMOUR_RUNTIME overrides it: "onnx" or "torch".
    """
    chosen = os.environ.get(CHOICE, "")
    if chosen == "torch" or settings.precision not in ("auto", "float32"):
        return False
    if settings.device != "cpu" and (settings.device != "auto" or processor.has_gpu()):
        return False
    return chosen == "onnx" or settings.precision == "float32" or not processor.has_bfloat16()


def trouble() -> Trouble | None:
    """Return why ONNX Runtime cannot run on this computer, or None if it can."""
    if importlib.util.find_spec("onnxruntime") is None:
        return Trouble("ONNX Runtime is not installed: working with torch, at half the speed")
    if processor.is_wanting():
        return Trouble("this processor has no AVX2: working with torch")
    return _import_trouble()


@lru_cache(maxsize=1)
def _import_trouble() -> Trouble | None:
    try:
        from napari_unet_tumour.runtime import session  # noqa: F401
    except Exception:  # noqa: BLE001 - a broken installation fails in any way
        return Trouble("ONNX Runtime cannot be loaded: working with torch, at half the speed")
    return None


def open_file(source: str | Path | bytes) -> RuntimeModel | Trouble | None:
    """Return a model that can run without torch.

    Parameters
    ----------
    source : path or bytes
        A model file or its content.

    Returns
    -------
    RuntimeModel, Trouble or None
        None if its graph does not exist yet: it must be exported from torch.

    Raises
    ------
    ModelError
        It is not a model file, or damaged.
    """
    data, spec, mark = read_source(source)
    return opened(spec, mark, lambda: weights_of(data))


def read_source(source: str | Path | bytes) -> tuple[bytes, ModelSpec, str]:
    """Return the content of a model file, its description and its hash; raises ModelError as `open_file` does."""
    if isinstance(source, bytes):
        return source, spec_of(source, "the model"), hash_of(source)
    path = Path(source)
    read_spec(path)
    data = path.read_bytes()
    return data, spec_of(data, path.name), hash_of(data)


def opened(
    spec: ModelSpec, mark: str, weights: Callable[[], Mapping[str, NDArray[Any]]]
) -> RuntimeModel | Trouble | None:
    """Return the model with that description, hash and weights, as `open_file` does; the last few are cached."""
    if (why := trouble()) is not None:
        return why
    if mark not in _opened:
        graph = graphs.find(mark)
        if graph is None:
            return None
        while len(_opened) >= KEPT:
            _opened.pop(next(iter(_opened)))
        _opened[mark] = _built(spec, mark, graph, weights)
    return _opened[mark]


_opened: dict[str, RuntimeModel | Trouble] = {}


def _built(
    spec: ModelSpec, mark: str, graph: Graph, weights: Callable[[], Mapping[str, NDArray[Any]]]
) -> RuntimeModel | Trouble:
    unlike = Trouble(f"ONNX Runtime answers {spec.name} in another way than torch: working with torch")
    session = checked_session(graph, weights) if spec.normalisation in NORMALISATIONS else None
    if session is None:
        return unlike
    return RuntimeModel(spec, session, mark, graph.answer.shape[1] == 2 * spec.out_channels)


def checked_session(graph: Graph, weights: Callable[[], Mapping[str, NDArray[Any]]]) -> Session | None:
    """Return a network that is ready to run; None where it cannot run here, or its result is not that of torch."""
    from napari_unet_tumour.runtime.session import Session

    try:
        session = Session(graph, weights())
        return session if session.agrees(graph) else None
    except Exception:  # noqa: BLE001 - ONNX Runtime raises errors of many types; torch runs the network then
        return None


def weights_of(data: bytes) -> Mapping[str, NDArray[Any]]:
    """Return the tensors of a model file by name."""
    from safetensors.numpy import load

    return load(data)
