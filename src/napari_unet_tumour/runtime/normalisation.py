"""Intensity normalisation in numpy; the same as `engine.normalisation` in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    # low, high, mean and scale, (N, C, 1, 1) each.
    Range = tuple[Array, Array, Array, Array]

TAIL = 0.005


def robust_zscore(planes: Array) -> Array:
    """Scale planes by mean and variance of their brighter part; see `engine.normalisation.robust_zscore`."""
    return _apply(planes, *_range(planes))


def divide_by_255(planes: Array) -> Array:
    """Divide 8-bit grey values by 255; (N, C, H, W) float32."""
    return planes / np.float32(255)


NORMALISATIONS: dict[str, Callable[[Array], Array]] = {
    "robust-zscore": robust_zscore,
    "divide-by-255": divide_by_255,
}


def as_in(name: str, sample: Array) -> Callable[[Array], Array]:
    """Return the normalisation of a whole plane, to be applied to parts of it; see `engine.normalisation.as_in`."""
    if NORMALISATIONS[name] is not robust_zscore:
        return NORMALISATIONS[name]
    found = _range(sample)
    return lambda part: _apply(part, *found)


def _range(planes: Array) -> Range:
    thin = np.ascontiguousarray(planes[..., ::2, ::2]).reshape(*planes.shape[:2], -1)
    low, high = (_quantile(thin, share)[..., None, None] for share in (TAIL, 1 - TAIL))
    clipped = np.clip(planes, low, high)
    bright = clipped > clipped.mean((2, 3), keepdims=True)
    count = np.maximum(bright.sum((2, 3), keepdims=True), 1).astype(np.float32)
    mean = (clipped * bright).sum((2, 3), keepdims=True) / count
    spread = np.sqrt(np.square((clipped - mean) * bright).sum((2, 3), keepdims=True) / count)
    # Only a constant slice needs an epsilon. float32's smallest normal number leaves every intensity unit unchanged.
    least = np.finfo(np.float32).tiny
    return low, high, mean, np.maximum(np.maximum(spread, np.float32(1e-3) * (high - low)), least)


def _quantile(values: Array, share: float) -> Array:
    """Return what `torch.quantile(values, share, dim=2)` does: (N, C) of (N, C, n)."""
    rank = np.float32(share) * np.float32(values.shape[2] - 1)
    below, above = int(np.floor(rank)), int(np.ceil(rank))
    ordered = np.partition(values, (below, above), axis=2)
    first, second, part = ordered[..., below], ordered[..., above], np.float32(rank - np.floor(rank))
    # As torch.lerp, which uses one of two formulas: each is exact at one end.
    apart = second - first
    return np.asarray(first + part * apart if part < 0.5 else second - apart * (1 - part), np.float32)


def _apply(planes: Array, low: Array, high: Array, mean: Array, scale: Array) -> Array:
    with np.errstate(over="ignore"):  # in constant planes, which become 0 below
        normal = (np.clip(planes, low, high) - mean) / scale
    return np.where(high > low, normal, np.float32(0))
