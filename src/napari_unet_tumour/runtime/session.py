"""A network in ONNX Runtime: one image after another, each on one thread, several at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from napari_unet_tumour.errors import DeviceError
from napari_unet_tumour.runtime.processor import threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_unet_tumour.runtime.graph import Graph

    Array = NDArray[np.float32]

# Share of the logits' spread by which they may differ from those of torch in float32, root mean square.
TOLERANCE = 1e-3
PIXELS = 8 * 256 * 256
INPUT = "image"


class Session:
    """A network that is ready to run.

    A thread a core, each with an image of its own, is quicker than all threads on one image: they never wait for each
    other, which on a busy machine costs most of the time.

    Parameters
    ----------
    graph : Graph
        The network.
    weights : mapping of str to numpy.ndarray
        By the names in the model file; raises KeyError where one is missing.

    Raises
    ------
    Exception
        What ONNX Runtime has against the graph; of many types.
    """

    def __init__(self, graph: Graph, weights: Mapping[str, NDArray[Any]]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Windows of many shapes would each leave a plan and its memory behind.
        options.enable_mem_pattern = False
        values = [weights[name].astype(np.float32) for name in graph.names]
        # They must live as long as the session is built.
        given = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in values]
        options.add_external_initializers(list(graph.names), given)
        self._session = onnxruntime.InferenceSession(graph.onnx, options, providers=["CPUExecutionProvider"])
        self.at_once = threads()
        self.pool = ThreadPoolExecutor(self.at_once, "napari-unet-tumour network")
        self._alone = threading.Lock()

    def logits(self, image: Array) -> Array:
        """Return (K, h, w) for an image (C, h, w); sides are multiples of 32; any thread.

        Raises
        ------
        DeviceError
            The memory is full, also when nothing else runs here.
        """
        given = {INPUT: np.ascontiguousarray(image[None])}
        try:
            return self._run(given)
        except Exception:  # noqa: BLE001 - ONNX Runtime has no type of its own for full memory
            with self._alone:
                try:
                    return self._run(given)
                except Exception as error:
                    raise DeviceError("the memory is full: close other programs or use a smaller scan") from error

    def agrees(self, graph: Graph) -> bool:
        """Tell whether it answers the graph's probe as torch did."""
        truth = graph.answer[0]
        error = self._run({INPUT: graph.probe})
        spread = float(np.sqrt(np.square(truth - truth.mean((1, 2), keepdims=True)).mean()))
        off = float(np.sqrt(np.square(error - truth).mean()))
        return error.shape == truth.shape and off <= TOLERANCE * spread + 1e-5

    def _run(self, given: dict[str, Array]) -> Array:
        answer: Array = self._session.run(None, given)[0][0]
        return answer
