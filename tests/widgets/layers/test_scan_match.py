"""A layer that is not what a model was made for is noticed before the run."""

import numpy as np
import pytest
from napari.layers import Image

from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.widgets.layers.image_source import KEY
from napari_unet_tumour.widgets.layers.scan_match import doubt

SPEC = ModelSpec("small", "tutorial-unet", channels=("T1ce",))
ARRAY = np.random.default_rng(0).integers(0, 255, (4, 32, 32)).astype(np.uint8)


def said(name="scan", spec=SPEC, **header):
    grid = {"grid": Scan(ARRAY, "zyx", name=name, **header)} if header else {}
    return doubt(Image(ARRAY, name=name, metadata={KEY: grid}), ARRAY, layout_of(ARRAY.shape), spec)


@pytest.mark.parametrize(
    ("about", "named"),
    [
        ({"name": "sub-01_FLAIR"}, "name says FLAIR"),
        ({"name": "head", "modality": "CT"}, "header says CT"),
        ({"name": "ax T1", "extra": {"contrast_agent": "", "dicom": {}}}, "header says T1 without contrast medium"),
    ],
)
def test_another_sequence_is_named(about, named):
    assert said(**about) == (
        f"Its {named}; the model was made for contrast-enhanced T1: check the mask before you use it."
    )


@pytest.mark.parametrize(
    "about", [{}, {"name": "t1ce"}, {"name": "ax T1", "modality": "MR", "extra": {"contrast_agent": "Gadovist"}}]
)
def test_nothing_is_said_without_a_reason(about):
    assert said(**about) == ""
    assert said("sub-01_FLAIR", ModelSpec("grey", "tutorial-unet", channels=("grey",))) == ""
