"""The fastest way to run a model's network on a device with the same predictions."""

from __future__ import annotations

import copy
import os
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.fx import GraphModule, Node, Tracer
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_unet_tumour.base.text import plural
from napari_unet_tumour.engine.inference.cuda_graphs import Graphs
from napari_unet_tumour.engine.inference.preprocess import STEP, resize
from napari_unet_tumour.engine.networks.cast import CastTo
from napari_unet_tumour.engine.networks.gated_branch import WithAndWithoutBranch, has_gated_branch
from napari_unet_tumour.errors import DeviceError
from napari_unet_tumour.runtime import processor
from napari_unet_tumour.runtime.processor import THREADS

if TYPE_CHECKING:
    from napari_unet_tumour.engine.model import Model

# Largest difference of a faster copy from float32: root mean square, as a fraction of the logits' standard deviation.
TOLERANCE = 0.03


@dataclass(frozen=True, eq=False)
class Runner:
    """A network on a device.

    Parameters
    ----------
    net : torch.nn.Module
        (N, C, h, w) `dtype` -> logits (N, out_channels, h, w).
    device : torch.device
        Where the network is.
    dtype : torch.dtype
        Precision of the network, or of most of it (see `cast.CastTo`).
    note : str
        A note for the user about the precision, or "".
    graphs : Graphs, optional
        Recorded CUDA graphs, which save the launches of single kernels.
    twofold : bool
        Whether the logits are (N, 2 out_channels, h, w): without the gated branch, then with it.
    """

    net: nn.Module
    device: torch.device
    dtype: torch.dtype
    note: str = ""
    graphs: Graphs | None = None
    twofold: bool = False

    @property
    def feed(self) -> torch.dtype:
        """Type of the input."""
        first = next(self.net.parameters(), None)
        return self.dtype if first is None else first.dtype

    @torch.inference_mode()
    def logits(self, working: torch.Tensor) -> torch.Tensor:
        """Return logits (N, out_channels, h, w) float32 for working planes (N, C, h, w) float32."""
        # oneDNN rounds a batch of one float32 plane differently; a prediction must not depend on the batch.
        single = len(working) == 1 and self.feed == torch.float32 and self.device.type == "cpu"
        x = working.expand(2, -1, -1, -1) if single else working
        x = x.to(self.device, self.feed, memory_format=torch.channels_last)
        logits = self.net(x) if self.graphs is None else self.graphs.run(self.net, x)
        return logits[: len(working)].float()

    @torch.inference_mode()
    def probability(self, working: torch.Tensor, flip_tta: bool, scale: float = 1.0) -> torch.Tensor:
        """Return the labels' probability (N, L, h, w) float32, with `flip_tta` the mean over slice and mirror image.

        The mirror image is `scale` times as large. For the threshold of a mean see
        `postprocess.threshold.effective_threshold`. A twofold result is (N, 2 L, h, w).
        """
        return mean_of(*self.predictions(working, flip_tta, scale))

    def predictions(
        self, working: torch.Tensor, flip_tta: bool, scale: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the probability of the slices and, with `flip_tta`, that of their mirror images."""
        own = self._to_probability(self.logits(working))
        if not flip_tta:
            return own, None
        # Left-right only: heads are symmetric. An up-down mirror image lowers the scores (docs/model.md).
        return own, self._at_scale(working.flip(3), scale).flip(3)

    def _at_scale(self, working: torch.Tensor, scale: float) -> torch.Tensor:
        """Return the probability of planes that are predicted at another size, on their own grid."""
        shape = (working.shape[2], working.shape[3])
        if scale == 1.0:
            return self._to_probability(self.logits(working))
        height, width = (max(1, round(side * scale)) for side in shape)
        shown = F.pad(resize(working, (height, width)), (0, -width % STEP, 0, -height % STEP), mode="replicate")
        return resize(self._to_probability(self.logits(shown))[..., :height, :width], shape)

    def _to_probability(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.cat([to_probability(one) for one in logits.chunk(1 + self.twofold, 1)], 1)


def mean_of(own: torch.Tensor, mirrored: torch.Tensor | None) -> torch.Tensor:
    """Return the mean over slice and mirror image; the slice's own without one."""
    return own if mirrored is None else (own + mirrored) / 2


def to_probability(logits: torch.Tensor) -> torch.Tensor:
    """Return the labels' probability (N, L, h, w) for logits (N, out_channels, h, w)."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)[:, 1:]


def pick_device(name: str = "auto") -> torch.device:
    """Return the device for "auto", "cpu", "mps", "cuda" or "cuda:N"; raises DeviceError if it does not exist."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu")
    kind = name.partition(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"the device {name!r} is not known: choose auto, cpu, cuda or mps")
    if kind == "cuda":
        return _cuda(name)
    if kind == "mps" and not _has_mps():
        raise DeviceError("A GPU of an Apple computer (mps) was asked for but none is found: choose auto or cpu")
    return torch.device(kind)


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def _cuda(name: str) -> torch.device:
    if not torch.cuda.is_available():
        raise DeviceError("A GPU (cuda) was asked for but none is found: choose the device auto or cpu")
    try:
        device = torch.device(name)
        torch.cuda.get_device_properties(device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"there is no GPU {name!r}: choose the device auto or cuda") from error
    return device


def describe_device(name: str = "auto", precision: str = "auto") -> str:
    """Return device and precision in words, e.g. "CPU, 2 cores, bfloat16", or with the name of the GPU."""
    device = pick_device(name)
    dtype = _word(_types(device, precision)[0])
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {dtype}"
    if device.type == "mps":
        return f"Apple GPU, {dtype}"
    return f"CPU, {plural(processor.cores(), 'core')}, {dtype}"


def accelerated(model: Model, device: torch.device, precision: str = "auto") -> Runner:
    """Return the fastest copy of a model's network with the same predictions; cached for the last few models.

    Parameters
    ----------
    precision : str
        "float32", "bfloat16" or "float16", or "auto" for the fastest that agrees with float32.

    Raises
    ------
    DeviceError
        The chosen precision changes the predictions, or the device does not support it.
    """
    return _runner(model, device, precision)


@lru_cache(maxsize=4)
def _runner(model: Model, device: torch.device, precision: str) -> Runner:
    _use_threads()
    probe, twofold = probe_of(model.spec.in_channels), has_gated_branch(model.net)
    whole = WithAndWithoutBranch(model.net) if twofold else model.net
    truth = Runner(whole, torch.device("cpu"), torch.float32).logits(probe)
    wanted = _types(device, precision)
    for dtype in wanted:
        net = _with_types(_folded(whole), dtype).to(device)
        graphs = Graphs() if device.type == "cuda" else None
        note = "" if dtype == wanted[0] else f"{_word(wanted[0])} changes this network's answers: in {_word(dtype)}"
        fast = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        candidate = Runner(fast, device, dtype, note, graphs, twofold)
        if _agrees(candidate, probe, truth):
            return candidate
    if precision not in ("auto", "float32"):
        raise DeviceError(f"{precision} changes the answers of {model.spec.name} on this device: choose auto")
    return Runner(copy.deepcopy(whole).to(device), device, torch.float32, twofold=twofold)


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _use_threads() -> None:
    wanted = os.environ.get(THREADS, "")
    if wanted.isdigit() and int(wanted) > 0:
        torch.set_num_threads(int(wanted))


def _types(device: torch.device, precision: str) -> tuple[torch.dtype, ...]:
    """Return the types to try, the fastest first."""
    if precision != "auto":
        return (getattr(torch, precision),)
    if device.type == "cuda":
        return (torch.float16, torch.bfloat16, torch.float32)
    if device.type == "mps":
        return (torch.float16, torch.float32)
    return (torch.bfloat16, torch.float32) if has_fast_bfloat16() else (torch.float32,)


def has_fast_bfloat16() -> bool:
    """Tell whether this CPU multiplies bfloat16 (AVX-512 BF16, AMX), so that it is faster there than float32."""
    checks = (getattr(torch.cpu, name, bool) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks)


def _with_types(net: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Convert a network's weights to a type; for bfloat16 only the modules after each `CastTo`, if there is one."""
    parts = [part for part in net.modules() if isinstance(getattr(part, "narrow", None), CastTo)]
    if dtype != torch.bfloat16 or not parts:
        return net.to(dtype)
    for part in parts:
        narrow = part.get_submodule("narrow")
        assert isinstance(narrow, CastTo)
        narrow.dtype = dtype
        for name in narrow.behind:
            part.get_submodule(name).to(dtype)
    return net


def _folded(net: nn.Module) -> nn.Module:
    """Return a copy with normalisation and padding folded into the convolutions, if torch can trace the network."""
    try:
        whole = copy.deepcopy(net)
        traced = GraphModule(whole, _Tracer().trace(whole))
    except Exception:  # noqa: BLE001 - tracing can fail in many ways; the plain copy is always right
        return copy.deepcopy(net)
    calls = Counter(str(node.target) for node in traced.graph.nodes)
    for node in list(traced.graph.nodes):
        before = node.args[0] if node.args else None
        if not isinstance(before, Node) or not before.op == node.op == "call_module":
            continue
        if len(before.users) == calls[str(before.target)] == calls[str(node.target)] == 1:
            _fold(traced, before, node)
    traced.recompile()
    traced.delete_all_unused_submodules()
    return traced


class _Tracer(Tracer):
    """Treats every convolution as a leaf, subclasses of torch's too."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | CastTo) or super().is_leaf_module(m, module_qualified_name)


def _fold(traced: GraphModule, first: Node, second: Node) -> None:
    """Merge two consecutive modules into one, if possible."""
    one, two = (traced.get_submodule(str(node.target)) for node in (first, second))
    if isinstance(one, nn.Conv2d | nn.ConvTranspose2d) and isinstance(two, nn.BatchNorm2d):
        transposed = isinstance(one, nn.ConvTranspose2d)
        traced.set_submodule(str(first.target), fuse_conv_bn_eval(one, two, transpose=transposed))
        second.replace_all_uses_with(first)
        traced.graph.erase_node(second)
    elif isinstance(one, nn.ConstantPad2d) and isinstance(two, nn.Conv2d):
        padded = _padding_itself(one, two)
        if padded is not None:
            traced.set_submodule(str(second.target), padded)
            first.replace_all_uses_with(first.args[0])  # type: ignore[arg-type]
            traced.graph.erase_node(first)


def _padding_itself(pad: nn.ConstantPad2d, layer: nn.Conv2d) -> nn.Conv2d | None:
    """Return a convolution that does the padding itself, which saves a copy of the image.

    Padding that is wider after the image than before it, as for strided convolutions, becomes symmetric with a kernel
    that begins with zeros. Returns None if the convolution cannot pad like that.
    """
    left, right, top, bottom = pad.padding
    plain = not pad.value and tuple(layer.padding) == (0, 0) and tuple(layer.dilation) == (1, 1)
    if not plain or not 0 <= left <= right or not 0 <= top <= bottom:
        return None
    wider = copy.deepcopy(layer)
    wider.weight = nn.Parameter(F.pad(layer.weight, (right - left, 0, bottom - top, 0)), requires_grad=False)
    wider.kernel_size, wider.padding = (wider.weight.shape[2], wider.weight.shape[3]), (bottom, right)
    return wider


def probe_of(channels: int) -> torch.Tensor:
    """Return an image (1, channels, 64, 64) for comparing the predictions of two networks."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, channels, 8, 8, generator=rng)
    smooth = F.interpolate(coarse, size=(64, 64), mode="bicubic", align_corners=False)
    return smooth + 0.2 * torch.randn(smooth.shape, generator=rng)


def _agrees(candidate: Runner, probe: torch.Tensor, truth: torch.Tensor) -> bool:
    truth = _against_background(truth, candidate.twofold)
    try:
        error = _against_background(candidate.logits(probe).cpu(), candidate.twofold) - truth
    except (RuntimeError, TypeError):
        return False
    spread = (truth - truth.mean((0, 2, 3), keepdim=True)).square().mean().sqrt()
    return bool(error.square().mean().sqrt() <= TOLERANCE * spread + 1e-6)


def _against_background(logits: torch.Tensor, twofold: bool) -> torch.Tensor:
    """Return the logits of the labels relative to the background (N, L, H, W); a single channel is unchanged.

    The logits of a label that was never learnt are far below the background everywhere; that must not count as spread.
    """
    if twofold:
        return torch.cat([_against_background(one, False) for one in logits.chunk(2, 1)], 1)
    return logits if logits.shape[1] == 1 else logits[:, 1:] - logits[:, :1]
