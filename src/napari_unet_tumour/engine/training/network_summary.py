"""A text summary of a network: its layers, their output shapes and their parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from napari_unet_tumour.base.text import shape_text

if TYPE_CHECKING:
    from torch import nn


def summary_of(net: nn.Module, in_channels: int, size: int = 256) -> str:
    """Return a table of the layers, with their output shapes for an image (in_channels, size, size)."""
    rows: list[tuple[str, str, str, int]] = []
    hooks = [
        layer.register_forward_hook(_noted(rows, name))
        for name, layer in net.named_modules()
        if not [*layer.children()]
    ]
    training = net.training
    device = next(net.parameters()).device
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, in_channels, size, size, device=device))
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    lines = [f"{name:48} {kind:20} {shape:>20} {count:>12,}" for name, kind, shape, count in rows]
    head = f"{'layer':48} {'kind':20} {'output':>20} {'parameters':>12}"
    return "\n".join([head, *lines, f"{parameters_of(net):,} trainable parameters", ""])


def parameters_of(net: nn.Module) -> int:
    """Return the number of parameters, frozen ones too."""
    return sum(p.numel() for p in net.parameters())


def _noted(rows: list[tuple[str, str, str, int]], name: str) -> Any:
    def note(layer: nn.Module, inputs: Any, output: Any) -> None:
        shape = shape_text(output.shape[1:]) if isinstance(output, torch.Tensor) else ""
        rows.append((name, type(layer).__name__, shape, sum(p.numel() for p in layer.parameters())))

    return note
