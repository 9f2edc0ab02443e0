"""finetune from Python with labels that the model does not know; the known-answer model of conftest."""

import numpy as np
import pytest
from tifffile import imwrite

import napari_unet_tumour
from napari_unet_tumour.api import read_pairs
from napari_unet_tumour.engine.model import load
from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.models import registry
from napari_unet_tumour.settings import FinetuneSettings

QUICK = FinetuneSettings(seconds=60, steps=3, device="cpu")


@pytest.fixture
def table(tmp_path, bright):
    """Return a function of label values: a PAIRS.csv of two flat images, each with a bright and a brightest piece."""

    def write(first, second):
        for name in ("a", "b"):
            image = np.random.default_rng(0).integers(0, 60, (64, 64)).astype(np.uint8)
            image[12:22, 30:50], image[40:50, 10:30] = 150, 250
            mask = np.zeros((64, 64), np.uint8)
            mask[12:22, 30:50], mask[40:50, 10:30] = first, second
            imwrite(tmp_path / f"{name}.tif", image)
            imwrite(tmp_path / f"{name}_mask.tif", mask)
        (tmp_path / "pairs.csv").write_text("scan,mask\na.tif,a_mask.tif\nb.tif,b_mask.tif\n")
        return tmp_path / "pairs.csv"

    return write


def test_an_added_class_is_learnt(table, bright):
    tuned = napari_unet_tumour.finetune(table(1, 2), bright, QUICK, add_classes=["brightest"])
    made = load(tuned.data)
    assert made.spec.labels == ("background", "tumour", "brightest")
    assert made.spec.parent == registry.find(bright).hash
    image = np.full((64, 64), 20, np.uint8)
    image[:20, :20], image[40:, 40:] = 150, 250
    found = napari_unet_tumour.segment(image, model=made).mask
    assert (found[2:18, 2:18] == 1).mean() > 0.9
    assert (found[42:, 42:] == 2).mean() > 0.9
    assert not found[25:38].any()


def test_an_unknown_label_says_how(table, bright):
    with pytest.raises(ScanError, match=r"values 2, the model knows 0 to 1 .*--add-class NAME, add_classes in Python"):
        napari_unet_tumour.finetune(table(1, 2), bright, QUICK)
    with pytest.raises(ScanError, match=r"values 7, the model knows 0 to 2 \(background, tumour, x\)"):
        napari_unet_tumour.finetune(table(1, 7), bright, QUICK, add_classes=["x"])


def test_a_mask_of_one_other_value_is_still_one_label(table, bright):
    assert len(read_pairs(table(4, 4))) == 2
    tuned = napari_unet_tumour.finetune(table(4, 4), bright, QUICK)
    assert tuned.steps == 3


def test_a_bad_name(table, bright):
    with pytest.raises(ModelError, match="is taken already"):
        napari_unet_tumour.finetune(table(1, 2), bright, QUICK, add_classes=["Tumour"])
