"""Export a network's graph for ONNX Runtime, in a process with torch; see `runtime.graph`."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import torch

from napari_unet_tumour.clicks.picture import CHANNELS
from napari_unet_tumour.clicks.window import SIDE
from napari_unet_tumour.engine.inference.accelerate import Runner, probe_of
from napari_unet_tumour.engine.model import CLICKS
from napari_unet_tumour.engine.networks.gated_branch import WithAndWithoutBranch, has_gated_branch
from napari_unet_tumour.runtime import graph as graphs
from napari_unet_tumour.runtime.clicks import graph_key
from napari_unet_tumour.runtime.graph import Graph
from napari_unet_tumour.runtime.session import INPUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from napari_unet_tumour.engine.model import Model

OPSET = 17
NESTED = "net."


def ensure(model: Model) -> bool:
    """Export and store the graph of a model, unless there is one; return whether there is one now."""
    return _ensure(model.hash, lambda: export(model))


def ensure_clicks(model: Model) -> bool:
    """Export and store the graph of a model's click network, unless there is one; return whether there is one now."""
    return _ensure(graph_key(model.hash), lambda: export_clicks(model))


def _ensure(key: str, make: Callable[[], Graph | None]) -> bool:
    if graphs.find(key) is None:
        graph = make()
        if graph is None:
            return False
        graphs.keep(graph)
    return True


def export(model: Model) -> Graph | None:
    """Return a model's graph, or None if the network cannot be exported."""
    twofold = has_gated_branch(model.net)
    whole = WithAndWithoutBranch(model.net) if twofold else model.net
    probe = probe_of(model.spec.in_channels)
    found = _exported(whole, probe, model.net, NESTED if twofold else "")
    if found is None:
        return None
    expected = Runner(whole, torch.device("cpu"), torch.float32, twofold=twofold).logits(probe)
    return Graph(model.hash, *found, probe.numpy(), expected.numpy())


def export_clicks(model: Model) -> Graph | None:
    """Return the graph of a model's click network; None if it has none or cannot be exported."""
    if model.clicks is None:
        return None
    probe = torch.rand(1, len(CHANNELS), SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    found = _exported(model.clicks, probe, model.clicks, "", CLICKS)
    if found is None:
        return None
    with torch.inference_mode():
        expected = model.clicks(probe)
    return Graph(graph_key(model.hash), *found, probe.numpy(), expected.numpy())


def _exported(
    whole: nn.Module, probe: torch.Tensor, net: nn.Module, prefix: str, stored: str = ""
) -> tuple[bytes, tuple[str, ...]] | None:
    """Return a network as an ONNX model without weights, and their names; None if it cannot be exported."""
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            return _without_weights(as_onnx(whole, probe), net, prefix, stored)
    except Exception:  # noqa: BLE001 - an export can fail in many ways; torch runs every network
        return None


def as_onnx(net: nn.Module, probe: torch.Tensor) -> bytes:
    """Return a network as an ONNX model with its weights; `probe` is an image (1, C, h, w) for it."""
    # Otherwise torch prints the whole graph of a network that it cannot export.
    getattr(torch._C, "_jit_set_onnx_log_enabled", bool)(False)
    file: Any = io.BytesIO()  # torch accepts one, contrary to its annotation
    torch.onnx.export(
        net, (probe,), file, dynamo=False, opset_version=OPSET, input_names=[INPUT], output_names=["logits"],
        dynamic_axes={INPUT: {2: "height", 3: "width"}, "logits": {2: "height", 3: "width"}},
        # The weights stay as they are in the model file; ONNX Runtime folds them itself.
        training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
    )  # fmt: skip
    data: bytes = file.getvalue()
    return data


def _without_weights(data: bytes, net: nn.Module, prefix: str, stored: str) -> tuple[bytes, tuple[str, ...]]:
    """Return an ONNX model whose weights are external, and their names; in the model file they begin with `stored`."""
    import onnx

    model: Any = onnx.load_from_string(data)
    known, names = net.state_dict(), []
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix(prefix)
        if name not in known or tuple(known[name].shape) != tuple(tensor.dims):
            continue
        names.append(stored + name)
        _make_external(tensor)
    renamed = {prefix + name.removeprefix(stored): name for name in names}
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    return model.SerializeToString(), tuple(names)


def _make_external(tensor: Any) -> None:
    """Remove the values from an ONNX tensor; they are supplied when the graph is loaded."""
    from onnx import TensorProto

    for field in ("raw_data", "float_data", "int64_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights"
