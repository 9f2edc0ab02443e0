"""What is in the way of a fine-tuning, and what a person should know before it: without a window."""

from types import SimpleNamespace

import numpy as np
import pytest

from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.widgets.correct.finetune_request import UnknownLabels, check

ENTRY = SimpleNamespace(name="known", spec=SimpleNamespace(labels=("background", "tumour")))


def mask(*values):
    return np.array([[0, *values]], np.uint8)


@pytest.mark.parametrize(
    ("masks", "trained", "line"),
    [
        ({}, [], "No slice is reviewed yet: correct a slice and press R"),
        ({3: mask(1)}, [], "All reviewed slices are kept for scoring: review one more slice"),
    ],
)
def test_nothing_to_learn_from(masks, trained, line):
    with pytest.raises(TrainingError) as told:
        check(masks, trained, ENTRY, UNSURE)
    assert (str(told.value), isinstance(told.value, UnknownLabels)) == (line, False)


def test_labels_that_the_model_does_not_know():
    with pytest.raises(UnknownLabels) as told:
        check({1: mask(7), 3: mask(1)}, [1, 3], ENTRY, UNSURE)
    assert str(told.value) == (
        "the mask has label 7, model 'known' knows only 1 = tumour: paint with these, or add a class"
    )


@pytest.mark.parametrize(
    ("masks", "trained", "said"),
    [
        ({2: mask(0)}, [2], "No reviewed slice has any tumour"),
        ({2: mask(1, UNSURE)}, [2], "No slice is kept for scoring yet"),
        ({2: mask(1), 5: mask(1)}, [2], ""),
    ],
)
def test_what_a_person_should_know(masks, trained, said):
    note = check(masks, trained, ENTRY, UNSURE)
    assert note.startswith(said)
    assert bool(note) == bool(said)
