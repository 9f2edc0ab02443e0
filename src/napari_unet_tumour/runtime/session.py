"""A network in ONNX Runtime: one image per thread, several at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import DeviceError
from napari_unet_tumour.runtime.processor import threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_unet_tumour.runtime.graph import Graph

    Array = NDArray[np.float32]

# Largest difference from torch in float32: root mean square, as a fraction of the logits' standard deviation.
TOLERANCE = 1e-3
PIXELS = 8 * 256 * 256
INPUT = "image"


class Session:
    """A network that is ready to run.

    One thread per core, each with its own image, is faster than all threads on one image: the threads do not wait for
    each other, which takes most of the time on a busy machine.

    Parameters
    ----------
    graph : Graph
        The network.
    weights : mapping of str to numpy.ndarray
        Weights by their names in the model file; raises KeyError if one is missing.

    Raises
    ------
    Exception
        An error of ONNX Runtime about the graph, of many types.
    """

    def __init__(self, graph: Graph, weights: Mapping[str, NDArray[Any]]) -> None:
        import onnxruntime  # 50 ms, which the opening of a panel has no need to wait for

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Otherwise ONNX Runtime keeps a memory plan for every shape of a window.
        options.enable_mem_pattern = False
        values = [weights[name].astype(np.float32) for name in graph.names]
        # The values must exist until the session is built.
        given = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in values]
        options.add_external_initializers(list(graph.names), given)
        self._session = onnxruntime.InferenceSession(graph.onnx, options, providers=["CPUExecutionProvider"])
        self.at_once = threads()
        self.pool = ThreadPoolExecutor(self.at_once, "napari-unet-tumour network")
        self._alone = threading.Lock()

    def logits(self, image: Array) -> Array:
        """Return (K, h, w) for an image (C, h, w) with sides that are multiples of 32; may be called on any thread.

        Raises
        ------
        DeviceError
            The memory is full even without other images at the same time.
        """
        given = {INPUT: np.ascontiguousarray(image[None])}
        try:
            return self._run(given)
        except Exception:  # noqa: BLE001 - ONNX Runtime has no error type for full memory
            with self._alone:
                try:
                    return self._run(given)
                except Exception as error:
                    raise DeviceError("the memory is full: close other programs or use a smaller scan") from error

    def agrees(self, graph: Graph) -> bool:
        """Tell whether the result for the graph's probe is that of torch."""
        truth, found = graph.answer[0], self._run({INPUT: graph.probe})
        spread = float(np.sqrt(np.square(truth - truth.mean((1, 2), keepdims=True)).mean()))
        error = float(np.sqrt(np.square(found - truth).mean()))
        return found.shape == truth.shape and error <= TOLERANCE * spread + 1e-5

    def _run(self, given: dict[str, Array]) -> Array:
        logits: Array = self._session.run(None, given)[0][0]
        return logits
