"""A network's graph for ONNX Runtime, without its weights, and the network's result for a probe image.

Graphs are exported in a process with torch (`engine.inference.onnx_export`). The graph of the shipped model lies beside
it, others in a cache folder under the model's hash. The weights always come from the model file.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import platformdirs
import safetensors
from safetensors.numpy import load, save

from napari_unet_tumour.base.atomic_write import atomic
from napari_unet_tumour.errors import OutputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Part of the file's name. Increase it when the export changes; older files are then ignored.
FORMAT = 1
SHIPPED = Path(__file__).parents[1] / "models" / "weights"
HOME = "NAPARI_UNET_TUMOUR_HOME"
KEPT = 8


@dataclass(frozen=True, eq=False)
class Graph:
    """What ONNX Runtime needs in addition to a model file.

    Parameters
    ----------
    model : str
        Hash of the model file.
    onnx : bytes
        The network as an ONNX model; its weights are external.
    names : tuple of str
        Names of its weights in the model file.
    probe : numpy.ndarray
        (1, C, h, w) float32, an image.
    answer : numpy.ndarray
        (1, K, h, w) float32, the logits of torch in float32 for the probe. With a gated branch those without it, then
        those with it.
    """

    model: str
    onnx: bytes
    names: tuple[str, ...]
    probe: NDArray[np.float32]
    answer: NDArray[np.float32]

    def to_bytes(self) -> bytes:
        """Return the content of a graph's file."""
        onnx, names = (np.frombuffer(data, np.uint8) for data in (self.onnx, "\n".join(self.names).encode()))
        return save({"onnx": onnx, "names": names, "probe": self.probe, "answer": self.answer})


def find(model: str) -> Graph | None:
    """Return the graph of the model with that hash, None if there is no readable one."""
    if model not in _kept:
        name = file_name(model)
        found = (_read(place / name, model) for place in (SHIPPED, folder()))
        graph = next((one for one in found if one is not None), None)
        if graph is not None:
            _remember(graph)
    return _kept.get(model)


def keep(graph: Graph) -> None:
    """Cache a graph in this process and, if the cache folder is writable, on disk."""
    _remember(graph)
    with suppress(OutputError), atomic(folder() / file_name(graph.model), "free some space") as part:
        part.write_bytes(graph.to_bytes())


def folder() -> Path:
    """Return the cache folder, which may not exist yet; NAPARI_UNET_TUMOUR_HOME overrides it."""
    moved = os.environ.get(HOME)
    return (
        Path(moved).expanduser() / "cache"
        if moved
        else platformdirs.user_cache_path("napari-unet-tumour", appauthor=False)
    )


def file_name(model: str) -> str:
    """Return the file name of the graph of the model with this hash."""
    return f"{model}-v{FORMAT}.graph"


_kept: dict[str, Graph] = {}


def _remember(graph: Graph) -> None:
    while len(_kept) >= KEPT:
        _kept.pop(next(iter(_kept)))
    _kept[graph.model] = graph


def _read(path: Path, model: str) -> Graph | None:
    try:
        found = load(path.read_bytes())
        names = tuple(found["names"].tobytes().decode().split("\n"))
        return Graph(model, found["onnx"].tobytes(), names, found["probe"], found["answer"])
    except (OSError, KeyError, ValueError, safetensors.SafetensorError):
        return None
