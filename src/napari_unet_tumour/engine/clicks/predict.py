"""Answers clicks with a model's click network, or by grey values where the model has none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from napari_unet_tumour.clicks.answer import Known, answer
from napari_unet_tumour.clicks.grey_values import guess
from napari_unet_tumour.clicks.outline import Stack, iter_outline
from napari_unet_tumour.clicks.picture import grey_of
from napari_unet_tumour.corrections.carry import CarryWeights
from napari_unet_tumour.runtime.preprocess import COLOURS, check_channels, check_type
from napari_unet_tumour.settings import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from napari_unet_tumour.clicks.answer import Click, Net
    from napari_unet_tumour.engine.model import Model


def answer_plane(
    model: Model, plane: NDArray[Any], clicks: Sequence[Click], known: Known | None = None
) -> NDArray[np.uint8]:
    """Outline what was clicked on a plane.

    Parameters
    ----------
    model : Model
        One without a click network answers by grey values and distances.
    plane : numpy.ndarray
        (C, H, W) of any real type, as `base.slicing.SliceLayout.take` gives it.
    clicks : sequence of Click
        In the order in which they were made.
    known : Known, optional
        The automatic answer, the mask so far, a box, a scribble.

    Returns
    -------
    numpy.ndarray
        (H, W) uint8, inside from 128 on; see `clicks.answer.answer`.
    """
    return answer(net_of(model), _grey(model, plane), clicks, known)


def iter_outline_volume(
    model: Model,
    planes: NDArray[Any],
    start: int,
    clicks: Sequence[Click],
    base: NDArray[np.uint8] | None = None,
    known: Known | None = None,
    spacing: Sequence[float | None] = (None, None, None),
    corrected: Mapping[int, NDArray[np.bool_]] | None = None,
) -> Generator[Progress, None, dict[int, NDArray[np.uint8]]]:
    """Outline a lesion in a volume from clicks on one slice.

    Parameters
    ----------
    planes : numpy.ndarray
        (N, C, H, W), slices in their order.
    start : int
        The slice with the clicks.
    clicks : sequence of Click
        On that slice.
    base : numpy.ndarray, optional
        (N, H, W) uint8, the automatic answers, inside from 128 on.
    known : Known, optional
        What else is known of the slice with the clicks.
    spacing : sequence of float or None
        Height and width of a pixel and distance of the slices in mm; None where unknown.
    corrected : mapping of int to numpy.ndarray, optional
        (H, W) bool: the mask of slices where it is known, see `clicks.outline.Stack`.

    Yields
    ------
    Progress
        One per slice; values are "plane" (int) and "answer" (H, W) uint8.

    Returns
    -------
    dict
        The answers by slice, of those that change; away from the lesion they are the automatic ones.
    """
    found: dict[int, NDArray[np.uint8]] = {}

    def known_of(n: int) -> Known:
        if n == start and known is not None:
            return known
        return Known(base=None if base is None else base[n])

    weights = CarryWeights.from_dict(model.spec.carry) if model.spec.carry else None
    stack = Stack(lambda n: _grey(model, planes[n]), len(planes), spacing, corrected or {}, weights)
    for n, one in iter_outline(net_of(model), stack, start, clicks, known_of):
        found[n] = one
        yield Progress(len(found), len(planes), "outlining", {"plane": n, "answer": one})
    return found


def _grey(model: Model, plane: NDArray[Any]) -> NDArray[Any]:
    check_type(plane)
    check_channels(len(plane), model.spec)
    return grey_of(plane, model.spec.in_channels == 1 or model.spec.channels == COLOURS)


def net_of(model: Model) -> Net:
    """Return what answers pictures: the model's click network, or grey values."""
    return guess if model.clicks is None else partial(_run, model.clicks)


@torch.inference_mode()
def _run(net: nn.Module, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    # oneDNN rounds a lone picture differently: an answer must not depend on its company.
    x = torch.from_numpy(pictures)
    x = x.expand(2, -1, -1, -1) if len(pictures) == 1 else x
    found: NDArray[np.float32] = (
        net(x.contiguous(memory_format=torch.channels_last)).sigmoid()[: len(pictures), 0].numpy()
    )
    return found
