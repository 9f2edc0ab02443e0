"""Answers clicks with a model's click network in ONNX Runtime, or by grey values where the model has none."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.clicks.answer import Known, answer
from napari_unet_tumour.clicks.grey_values import guess
from napari_unet_tumour.clicks.outline import Stack, iter_outline
from napari_unet_tumour.clicks.picture import grey_of
from napari_unet_tumour.corrections.carry import CarryWeights
from napari_unet_tumour.runtime import graph as graphs
from napari_unet_tumour.runtime.model import CHOICE, checked_session, read_source, trouble, weights_of
from napari_unet_tumour.runtime.predictor import to_probability
from napari_unet_tumour.runtime.preprocess import COLOURS, check_channels, check_type
from napari_unet_tumour.settings import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.clicks.answer import Click, Net
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.runtime.session import Session

KEPT = 4


@dataclass(frozen=True, eq=False)
class ClickModel:
    """What answers clicks.

    Parameters
    ----------
    spec : ModelSpec
        The model's description.
    net : callable
        Pictures (N, 8, S, S) float32 -> probability (N, S, S) float32, see `clicks.picture`.
    """

    spec: ModelSpec
    net: Net


def graph_key(model: str) -> str:
    """Return the name under which the click network's graph of the model with this hash is kept."""
    return f"{model}-clicks"


def open_file(source: str | Path | bytes) -> ClickModel | None:
    """Return what answers the clicks of a model file without torch; None if its graph must be exported first.

    Raises
    ------
    ModelError
        It is not a model file, or damaged.
    """
    data, spec, mark = read_source(source)
    if not spec.clicks:
        return ClickModel(spec, guess)
    if mark not in _opened:
        net = _session(mark, data)
        if net is None:
            return None
        while len(_opened) >= KEPT:
            _opened.pop(next(iter(_opened)))
        _opened[mark] = ClickModel(spec, net)
    return _opened[mark]


_opened: dict[str, ClickModel] = {}


def _session(mark: str, data: bytes) -> Net | None:
    if os.environ.get(CHOICE) == "torch" or trouble() is not None:
        return None
    graph = graphs.find(graph_key(mark))
    if graph is None:
        return None
    session = checked_session(graph, lambda: weights_of(data))
    return None if session is None else _net(session)


def _net(session: Session) -> Net:
    return lambda pictures: np.concatenate([to_probability(session.logits(one)) for one in pictures])


def answer_plane(
    model: ClickModel, plane: NDArray[Any], clicks: Sequence[Click], known: Known | None = None
) -> NDArray[np.uint8]:
    """Outline what was clicked on a plane.

    Parameters
    ----------
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
    return answer(model.net, _grey(model.spec, plane), clicks, known)


def iter_outline_volume(
    model: ClickModel,
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
    stack = Stack(lambda n: _grey(model.spec, planes[n]), len(planes), spacing, corrected or {}, weights)
    for n, one in iter_outline(model.net, stack, start, clicks, known_of):
        found[n] = one
        yield Progress(len(found), len(planes), "outlining", {"plane": n, "answer": one})
    return found


def _grey(spec: ModelSpec, plane: NDArray[Any]) -> NDArray[Any]:
    check_type(plane)
    check_channels(len(plane), spec)
    return grey_of(plane, spec.in_channels == 1 or spec.channels == COLOURS)
