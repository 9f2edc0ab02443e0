"""The first weights of a class that a network has never learnt: logistic regression on its last features.

Moving all weights slowly, as fine-tuning does, would take thousands of steps to find a class from nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from napari_unet_tumour.engine.finetuning.add_classes import BEGIN, unlearnt_labels

if TYPE_CHECKING:
    from napari_unet_tumour.engine.finetuning.cases import FineTuneSlices

BATCH, ROUNDS, PULL = 8, 60, 1e-5

ExtraOutputs = dict[str, list[int]]


def fit_new_outputs(net: nn.Module, cases: FineTuneSlices) -> ExtraOutputs:
    """Give the classes that a network has never learnt weights of their own; its other weights stay.

    Parameters
    ----------
    net : torch.nn.Module
        Changed in place.
    cases : Cases
        Corrected slices.

    Returns
    -------
    dict of str to list of int
        The new answers of every last layer, by the layer's name.
    """
    fresh = {name: new for name, layer in net.named_modules() if (new := unlearnt_labels(layer))}
    for name, new in fresh.items():
        layer = net.get_submodule(name)
        bias = layer.get_parameter("bias")
        with torch.no_grad():
            bias[new] = bias[0] - BEGIN
        if isinstance(layer, nn.Conv2d):
            _fit(net, layer, new, cases)
    return fresh


def _fit(net: nn.Module, layer: nn.Conv2d, new: list[int], cases: FineTuneSlices) -> None:
    seen = _inputs(net, layer, cases.images)
    with torch.no_grad():
        before = layer(seen).float()
        weight, bias = layer.weight[new].clone(), layer.bias[new].clone()  # type: ignore[index]
    if before.shape[2:] != cases.truth.shape[2:]:
        return
    index = (torch.cat([torch.full_like(cases.known, 0.5), cases.truth], 1)).argmax(1)
    known = cases.known[:, 0] / cases.known.sum().clamp(min=1)
    begin = weight.clone()
    solver = torch.optim.LBFGS([weight.requires_grad_(), bias.requires_grad_()], max_iter=ROUNDS, history_size=20,
                               line_search_fn="strong_wolfe")  # fmt: skip
    places = torch.tensor(new, device=before.device)

    def loss() -> torch.Tensor:
        solver.zero_grad()
        answer = F.conv2d(seen, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        logits = before.index_copy(1, places, answer)
        wrong = (F.cross_entropy(logits, index, reduction="none") * known).sum()
        value = wrong + 0.5 * PULL * (weight - begin).square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        layer.weight[new], layer.bias[new] = weight.detach(), bias.detach()  # type: ignore[index]


@torch.no_grad()
def _inputs(net: nn.Module, layer: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return what the last layer gets (n, C, S, S) float32."""
    found: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda module, given, answer: found.append(given[0].float()))
    try:
        for n in range(0, len(images), BATCH):
            net(images[n : n + BATCH])
    finally:
        hook.remove()
    return torch.cat(found)
