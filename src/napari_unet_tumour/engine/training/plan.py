"""The split of a training, and the description of its model, from the dataset and the settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_unet_tumour.base.old_names import HEADER, current_names
from napari_unet_tumour.engine.inference.preprocess import COLOURS
from napari_unet_tumour.engine.training import split
from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.models.spec import ZEROS, ModelSpec
from napari_unet_tumour.version import __version__

if TYPE_CHECKING:
    from napari_unet_tumour.engine.training.dataset import Dataset
    from napari_unet_tumour.settings import TrainSettings


def parts_of(examples: Dataset, settings: TrainSettings) -> split.DataSplit:
    """Split a dataset.

    If the last weights are kept, no validation part is needed, and it is used for training too.

    Raises
    ------
    TrainingError
        A part or a class is empty, or the split needs persons that are not known.
    """
    persons = [source.person for source in examples.sources]
    kinds = [source.kind for source in examples.sources]
    words = [source.part for source in examples.sources]
    how = settings.split if settings.split != "auto" else _best_split(persons, words)
    if how == "slice":
        parts = split.by_slice(len(examples), settings.seed)
    elif not all(persons):
        raise TrainingError(f"a split by {how} needs persons: give --cases with the column person, or --split slice")
    elif how == "cases":
        parts = split.by_cases(words, persons, kinds, settings.seed)
    else:
        parts = split.by_person(persons, kinds, settings.seed)
    _check_parts(parts, examples)
    if settings.keep_checkpoint == "last":
        return replace(parts, train=np.concatenate([parts.train, parts.val]))
    return parts


def spec_of(settings: TrainSettings, examples: Dataset, parts: split.DataSplit) -> ModelSpec:
    """Return the description of the model to train."""
    card = settings.model_card
    count = settings.channels
    usual = {1: ("grey",), 3: COLOURS}.get(count, tuple(f"channel {n + 1}" for n in range(count)))
    channels = tuple(card.get("channels", usual))
    if len(channels) != count:
        raise TrainingError(
            f"the model card names {len(channels)} channels and the setting is {count}: correct one of them"
        )
    fallbacks = dict(current_names(card, HEADER).get("channel_fallbacks", {}))
    if {*fallbacks, *fallbacks.values()} - {*channels, ZEROS}:
        raise TrainingError(
            f"channel_fallbacks of the model card has other names than {', '.join(channels)} and zeros: correct them"
        )
    persons = len({examples.sources[i].person or i for i in parts.train})
    trained = (
        f"{len(parts.train)} slices of {persons} persons" if parts.how != "slice" else f"{len(parts.train)} slices"
    )
    return ModelSpec(
        name=card.get("name", ""),
        network=settings.network,
        arguments=dict(settings.arguments),
        channels=channels,
        channel_fallbacks=fallbacks,
        labels=examples.labels,
        normalisation=settings.normalisation,
        size=settings.size,
        description=card.get("description", f"{settings.network} trained on {trained}"),
        data=card.get("data", trained),
        licence=card.get("licence", ""),
        version=__version__,
    )


def names_of(examples: Dataset, parts: split.DataSplit) -> dict[str, list[str]]:
    """Return the names of the slices of every part."""

    def name(i: int) -> str:
        source = examples.sources[i]
        return f"{source.name}#{source.plane}" if source.plane else source.name

    return {part: [name(int(i)) for i in getattr(parts, part)] for part in ("train", "val", "test", "seen")}


def _best_split(persons: list[str], words: list[str]) -> str:
    if not all(persons):
        return "slice"
    return "cases" if any(words) else "person"


def _check_parts(parts: split.DataSplit, examples: Dataset) -> None:
    for name, say in (("train", "training"), ("val", "validation"), ("test", "test")):
        numbers = getattr(parts, name)
        there = set(torch.unique(examples.masks[numbers]).tolist()) if len(numbers) else set()
        empty = [label for value, label in enumerate(examples.labels) if value and value not in there]
        if empty and (name == "train" or len(empty) == len(examples.labels) - 1):
            raise TrainingError(
                f"the class {empty[0]!r} is empty in the {say} part ({len(numbers)} slices): "
                "give more images of it, or another --seed"
            )
