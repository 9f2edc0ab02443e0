"""The description of the model that a training makes."""

import types

import pytest

from napari_unet_tumour.engine.training import plan
from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.settings import TrainSettings

EXAMPLES = types.SimpleNamespace(sources=[types.SimpleNamespace(person="p")], labels=("background", "tumour"))
PARTS = types.SimpleNamespace(train=[0], how="person")


def test_the_card_says_what_stands_in_for_a_missing_channel():
    card = {"channels": ["T1", "T1ce"], "fill": {"T1": "T1ce"}}
    spec = plan.spec_of(TrainSettings(channels=2, model_card=card), EXAMPLES, PARTS)
    assert (spec.channels, spec.channel_fallbacks) == (("T1", "T1ce"), {"T1": "T1ce"})
    with pytest.raises(TrainingError, match="other names than T1, T1ce and zeros"):
        plan.spec_of(TrainSettings(channels=2, model_card=card | {"fill": {"T1": "T2"}}), EXAMPLES, PARTS)
