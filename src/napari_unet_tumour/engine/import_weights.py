"""Convert weights of other programs into a model file; a pickle is loaded as plain tensors only, so no code can run."""

from __future__ import annotations

import pickle
import warnings
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch

from napari_unet_tumour.engine.model import save
from napari_unet_tumour.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet_tumour.models.spec import ModelSpec

INSIDE = ("state_dict", "model_state_dict", "model", "net", "network_weights")
PREFIXES = ("module.", "_orig_mod.", "net.", "model.")


def import_weights(source: Path, spec: ModelSpec, target: Path) -> None:
    """Write the weights of a .pt or .safetensors file as a model file.

    Parameters
    ----------
    source : pathlib.Path
        A state_dict of plain tensors, possibly inside a dict (under "state_dict" etc.) and with the prefixes of
        torch's wrappers.
    spec : ModelSpec
        The description; its network must have exactly these tensors.
    target : pathlib.Path
        The new model file.

    Raises
    ------
    ModelError
        The file cannot be read, has more than plain tensors, or its tensors do not match the network.
    OutputError
        The target cannot be written.
    """
    state = _state_of(_opened(source), source.name)
    try:
        save(target, spec, state)
    except ModelError:
        if (plain := _without_prefix(state)) is None:
            raise
        save(target, spec, plain)


def _opened(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[8:] == b"{":
            return safetensors.torch.load(path.read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other torch versions
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read ({error.strerror}): check the path and permissions") from error
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path.name} is damaged, or holds more than plain tensors, which could run code: save only its state_dict"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise ModelError(f"{path.name} is cut or damaged: get the file again") from error


def _state_of(content: Any, name: str) -> dict[str, torch.Tensor]:
    for found in (content, *(content[key] for key in INSIDE if isinstance(content, dict) and key in content)):
        if isinstance(found, dict) and found and all(isinstance(one, torch.Tensor) for one in found.values()):
            return dict(found)
    raise ModelError(f"{name} holds no state_dict of plain tensors: save the network's state_dict alone")


def _without_prefix(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
    """Return the state without the prefix of a wrapper; None if the names have no common prefix."""
    prefix = next((one for one in PREFIXES if all(name.startswith(one) for name in state)), None)
    return None if prefix is None else {name.removeprefix(prefix): tensor for name, tensor in state.items()}
