"""A network's graph for ONNX Runtime, without its weights, and what the network answers to a probe.

A graph is made where torch is (`engine.export`). That of the shipped model lies beside it, others in a cache folder
under their model's hash; the weights are always the model file's own.
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

# Part of a file's name: a version that makes other graphs counts on, and does not see the older ones.
FORMAT = 1
SHIPPED = Path(__file__).parents[1] / "models" / "weights"
HOME = "NAPARI_UNET_TUMOUR_HOME"
KEPT = 8


@dataclass(frozen=True, eq=False)
class Graph:
    """What ONNX Runtime needs beside a model file.

    Parameters
    ----------
    model : str
        Hash of the model file.
    onnx : bytes
        The network as an ONNX model; its weights are external.
    names : tuple of str
        Weights that it needs, by their names in the model file.
    probe : numpy.ndarray
        (1, C, h, w) float32: an input.
    answer : numpy.ndarray
        (1, K, h, w) float32: its logits by the network in torch, in float32. With a second network those without it,
        then those with it.
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
    """Return the graph of the model with that hash, None where there is none that can be read."""
    if model not in _kept:
        name = file_name(model)
        found = (_read(place / name, model) for place in (SHIPPED, folder()))
        graph = next((one for one in found if one is not None), None)
        if graph is not None:
            _remember(graph)
    return _kept.get(model)


def keep(graph: Graph) -> None:
    """Keep a graph for this process and, where the cache folder can be written, for the next ones."""
    _remember(graph)
    with suppress(OutputError), atomic(folder() / file_name(graph.model), "free some space") as beside:
        beside.write_bytes(graph.to_bytes())


def folder() -> Path:
    """Return the cache folder, which may not exist yet; it moves with NAPARI_UNET_TUMOUR_HOME."""
    moved = os.environ.get(HOME)
    return (
        Path(moved).expanduser() / "cache"
        if moved
        else platformdirs.user_cache_path("napari-unet-tumour", appauthor=False)
    )


def file_name(model: str) -> str:
    """Return the name of the file with the graph of the model that has this hash."""
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
