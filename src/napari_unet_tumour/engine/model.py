"""A model: description and network, loaded from one .safetensors file. A pickle is never opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from napari_unet_tumour.base.atomic_write import write_bytes_atomic
from napari_unet_tumour.engine import networks
from napari_unet_tumour.engine.networks.click_net import ClickNet
from napari_unet_tumour.engine.normalisation import NORMALISATIONS
from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.models.spec import KEY, ModelSpec, hash_of, read_spec, spec_of
from napari_unet_tumour.version import __version__

State = Mapping[str, torch.Tensor]
# Prefix of the click network's tensors.
CLICKS = "clicks."


@dataclass(frozen=True, eq=False)
class Model:
    """A network that is ready to use, and its description.

    Parameters
    ----------
    spec : ModelSpec
        The description.
    net : torch.nn.Module
        In eval mode, float32: (N, in_channels, H, W) -> logits (N, out_channels, H, W). It is shared: copy it before
        changing it.
    hash : str
        First 12 hex digits of the SHA-256 of its file.
    clicks : torch.nn.Module or None
        The click network, in eval mode: pictures (N, 8, S, S) -> logits (N, 1, S, S), see `clicks.picture`. None if
        the model takes no clicks.
    """

    spec: ModelSpec
    net: nn.Module
    hash: str
    clicks: nn.Module | None = None

    @property
    def click_state(self) -> State:
        """The click network's state_dict; empty without one."""
        return {} if self.clicks is None else self.clicks.state_dict()


def load(source: str | Path | bytes) -> Model:
    """Load a model from a file or from the content of one; the last few are cached by content.

    Raises
    ------
    ModelError
        It is not a model file, truncated, of another format, or its weights do not match its network.
    """
    if isinstance(source, bytes):
        return _load(source, "the model")
    path = Path(source)
    try:
        stat = path.stat()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): check the path and permissions") from error
    return _load_file(path, stat.st_mtime_ns, stat.st_size)


def save(
    path: str | Path, spec: ModelSpec, state: State, dtype: torch.dtype = torch.float16, clicks: State | None = None
) -> None:
    """Write a model file whole or not at all.

    Parameters
    ----------
    path : str or Path
        The model file; an existing one is replaced.
    state : mapping of str to torch.Tensor
        The network's state_dict.
    dtype : torch.dtype
        Type of the stored weights; vectors (biases, normalisation statistics) stay float32.
    clicks : mapping of str to torch.Tensor, optional
        The state_dict of the click network that `spec.clicks` describes; without it the model takes no clicks.

    Raises
    ------
    ModelError
        The state does not belong to the network of `spec`.
    OutputError
        The file cannot be written.
    """
    path = Path(path)
    write_bytes_atomic(path, to_bytes(spec, state, dtype, clicks), "use another folder or free space")


def to_bytes(spec: ModelSpec, state: State, dtype: torch.dtype = torch.float16, clicks: State | None = None) -> bytes:
    """Return the content of a model file; see `save`."""
    spec = replace(spec, version=spec.version or __version__, clicks=spec.clicks if clicks else {})
    chosen = _own_tensors(_empty_net(spec, spec.name), state, spec.name)
    if clicks:
        own = _own_tensors(_empty_clicks(spec, spec.name), clicks, spec.name)
        chosen |= {CLICKS + name: tensor for name, tensor in own.items()}
    return safetensors.torch.save({name: _stored(t, dtype) for name, t in chosen.items()}, {KEY: spec.to_json()})


def from_state(spec: ModelSpec, state: State) -> Model:
    """Make a model from a network's state_dict, unchanged (float32), for tests."""
    return Model(spec, _filled(spec, state, spec.name), hash_of(to_bytes(spec, state, torch.float32)))


def _stored(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    small = tensor.is_floating_point() and tensor.ndim > 1
    return tensor.detach().cpu().to(dtype if small else tensor.dtype).contiguous()


@lru_cache(maxsize=4)
def _load_file(path: Path, changed: int, size: int) -> Model:
    read_spec(path)
    return _load(path.read_bytes(), path.name)


def _load(data: bytes, where: str) -> Model:
    digest = hash_of(data)
    if digest not in _built:
        spec = spec_of(data, where)
        try:
            state = safetensors.torch.load(data)
        except safetensors.SafetensorError as error:
            raise ModelError(f"{where} is cut or damaged: get the file again") from error
        while len(_built) >= MOST_CACHED:
            _built.pop(next(iter(_built)))
        clicks = {name.removeprefix(CLICKS): state.pop(name) for name in list(state) if name.startswith(CLICKS)}
        click_net = _with_weights(_empty_clicks(spec, where), clicks, where) if spec.clicks else None
        _built[digest] = Model(spec, _filled(spec, state, where), digest, click_net)
    return _built[digest]


MOST_CACHED = 4
_built: dict[str, Model] = {}


def _filled(spec: ModelSpec, state: State, where: str) -> nn.Module:
    return _with_weights(_empty_net(spec, where), state, where)


def _with_weights(net: nn.Module, state: State, where: str) -> nn.Module:
    tensors = {
        name: tensor.detach().clone().float() if tensor.is_floating_point() else tensor.detach().clone()
        for name, tensor in _own_tensors(net, state, where).items()
    }
    net.load_state_dict(tensors, strict=False, assign=True)
    return net.eval().requires_grad_(False)


def _empty_net(spec: ModelSpec, where: str) -> nn.Module:
    _check_spec(spec, where)
    try:
        # On the meta device: no time for random weights, and no memory for absurd arguments.
        with torch.device("meta"):
            return networks.build(spec.network, spec.in_channels, spec.out_channels, **spec.arguments)
    except Exception as error:
        raise ModelError(f"{where} asks for an impossible network ({_line(error)}): get the file again") from error


def _empty_clicks(spec: ModelSpec, where: str) -> nn.Module:
    try:
        with torch.device("meta"):
            return ClickNet(**spec.clicks)
    except Exception as error:
        raise ModelError(
            f"{where} asks for an impossible click network ({_line(error)}): update, or get it again"
        ) from error


def _check_spec(spec: ModelSpec, where: str) -> None:
    if spec.network not in networks.NETWORKS:
        raise ModelError(f"{where} needs the network {spec.network!r}, known: {', '.join(networks.NETWORKS)}")
    if spec.normalisation not in NORMALISATIONS:
        raise ModelError(f"{where} needs the normalisation {spec.normalisation!r}, which is not known: update")
    if not spec.channels or len(spec.labels) < 2 or spec.size not in range(32, 4097):
        raise ModelError(f"{where} has no channels, no labels or an impossible working size: get the file again")


def _own_names(net: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    # A module that is used in two places has two names in the state_dict; the first one is stored.
    persistent = net.state_dict().keys()
    yield from net.named_parameters()
    yield from ((name, buffer) for name, buffer in net.named_buffers() if name in persistent)


def _own_tensors(net: nn.Module, state: State, where: str) -> dict[str, torch.Tensor]:
    own = dict(_own_names(net))
    missing = [name for name in own if name not in state]
    known = net.state_dict().keys()
    foreign = [name for name in state if name not in known]
    wrong = [name for name in own if name in state and state[name].shape != own[name].shape]
    for what, names in (("lacks", missing), ("has unknown", foreign), ("has wrongly shaped", wrong)):
        if names:
            raise ModelError(f"{where} {what} weights ({names[0]} and {len(names) - 1} more): get a matching file")
    return {name: state[name] for name in own}


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
