"""A model with more classes than its parent, and the same answers for the old ones until it has learnt the new.

The logits of a new class are those of the background minus `NEVER`, wherever the network looks: its share of a pixel
is below float32's rounding, and fine-tuning has a starting point. A network with one label has one logit z and says
sigmoid(z); with (0, z) softmax says the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_unet_tumour.engine import model as models
from napari_unet_tumour.engine import networks
from napari_unet_tumour.engine.inference.accelerate import to_probability
from napari_unet_tumour.engine.networks.experts import ExpertHead
from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.models.spec import with_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_unet_tumour.engine.model import Model, State

# exp(-16) is 1.1e-7; probabilities that may differ by more than this show a network that cannot be widened.
NEVER, ROUNDING = 16.0, 1e-4
# Logit below the background from which learning a new class begins; what counts, of 1, that nobody has painted it on
# slices which were not looked through for it.
BEGIN, SILENCE = 4.0, 0.25
# The axis of a tensor that counts the network's answers, by the layer that holds it.
ANSWERS: dict[type[nn.Module], dict[str, int]] = {
    nn.Conv2d: {"weight": 0, "bias": 0},
    nn.ConvTranspose2d: {"weight": 1, "bias": 0},
    ExpertHead: {"weight": 1, "bias": 1},
}


def add_classes(model: Model, names: Sequence[str]) -> bytes:
    """Return the file of a model that knows more classes than its parent.

    Parameters
    ----------
    model : Model
        The parent; stays as it is.
    names : sequence of str
        Names of the pixel values that follow the parent's.

    Returns
    -------
    bytes
        A model file. The probabilities of the parent's labels are the parent's, to within rounding, and so is every
        decision at every threshold; those of the new labels are 0 to within rounding.

    Raises
    ------
    ModelError
        A name is empty or taken, or the network's last layer cannot be widened.
    """
    spec = with_labels(model.spec, names, model.hash)
    with torch.device("meta"):  # shapes only
        wide = networks.build(spec.network, spec.in_channels, spec.out_channels, **spec.arguments)
    state = {name: tensor.cpu() for name, tensor in model.net.state_dict().items()}
    for name, layer in model.net.named_modules():
        state |= _widened(name, layer, wide.get_submodule(name), model.spec.network)
    data = models.to_bytes(spec, state, _type_of(state), model.click_state)
    _check(model, models.load(data))
    return data


def unlearnt_labels(layer: nn.Module) -> list[int]:
    """Return the answers of a network's last layer that were added and not learnt by the layer itself."""
    if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) or layer.bias is None:
        return []
    weight, bias = added_class_logits(layer)
    return [
        n for n in range(1, len(bias)) if torch.equal(bias[n], bias[0] - NEVER) and torch.equal(weight[n], weight[0])
    ]


def added_class_logits(layer: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Return views of a last layer's weight and bias, the answers first."""
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    return weight.transpose(0, ANSWERS[_kind(layer)]["weight"]), bias


def _widened(name: str, old: nn.Module, new: nn.Module, network: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a layer that have another shape with more classes, by their names in the network."""
    found = {}
    tensors = {**dict(old.named_parameters(recurse=False)), **dict(old.named_buffers(recurse=False))}
    for key, tensor in tensors.items():
        wanted = getattr(new, key).shape
        if tensor.shape == wanted:
            continue
        axis = ANSWERS.get(_kind(old), {}).get(key)
        elsewhere = [n for n in range(tensor.ndim) if tensor.shape[n] != wanted[n] and n != axis]
        if axis is None or elsewhere or getattr(old, "bias", None) is None:
            raise ModelError(
                f"no class can be added to the network '{network}', whose layers after the last answer depend on their "
                "number: train a model with one more label (napari-unet-tumour train)"
            )
        last = key == "bias" and not isinstance(old, ExpertHead)
        found[f"{name}.{key}"] = _with_more(tensor.detach().cpu(), axis, wanted[axis], NEVER if last else 0.0)
    return found


def _with_more(tensor: torch.Tensor, axis: int, count: int, lower: float) -> torch.Tensor:
    """Return a tensor with so many answers: the old ones behind a background, then that one less `lower`."""
    one = torch.zeros_like(tensor) if tensor.shape[axis] == 1 else tensor.narrow(axis, 0, 1)
    known = torch.cat([one, tensor], axis) if tensor.shape[axis] == 1 else tensor
    return torch.cat([known, *[one - lower] * (count - known.shape[axis])], axis)


def _kind(layer: nn.Module) -> type[nn.Module]:
    return next((kind for kind in ANSWERS if isinstance(layer, kind)), nn.Module)


def _type_of(state: State) -> torch.dtype:
    """Return the smallest type of a model file that changes no weight."""
    matrices = [tensor for tensor in state.values() if tensor.is_floating_point() and tensor.ndim > 1]
    return torch.float16 if all(torch.equal(one.half().float(), one) for one in matrices) else torch.float32


@torch.inference_mode()
def _check(model: Model, made: Model) -> None:
    seen = torch.randn(2, model.spec.in_channels, 64, 64, generator=torch.Generator().manual_seed(0))
    before, after = (to_probability(one.net(seen)) for one in (model, made))
    before = torch.cat([before, torch.zeros_like(after[:, before.shape[1] :])], 1)
    if not bool(((after - before).abs() <= ROUNDING).all()):
        raise ModelError(
            f"with one more class the network '{model.spec.network}' answers otherwise than before: "
            "train a model with one more label (napari-unet-tumour train)"
        )
