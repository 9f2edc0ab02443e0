"""Tumour-free images are checked before a training starts."""

import numpy as np
import pytest
from PIL import Image

from napari_unet_tumour.engine.training.dataset import iter_dataset
from napari_unet_tumour.engine.training.negatives import iter_negatives, kind_of_picture
from napari_unet_tumour.errors import TrainingError


def put(folder, name, array):
    folder.mkdir(exist_ok=True)
    Image.fromarray(array).save(folder / name)


@pytest.fixture
def mr(draw_head):
    return draw_head(np.random.default_rng(3))[0]


def ct(size=64):
    y, x = np.mgrid[:size, :size] - size / 2
    away = np.hypot(y, x)
    image = np.where(away < 26, 90 + 5 * np.sin(x), np.where(away < 29, 255, 0))
    return image.astype(np.uint8)


def test_an_mr_slice_is_one_and_others_are_named(mr):
    assert kind_of_picture(mr[None]) == ""
    assert kind_of_picture(ct()[None]) == "computed tomography"
    assert kind_of_picture((mr > 60)[None].astype(np.uint8) * 255) == "a drawing or a mask"
    photo = np.random.default_rng(0).integers(100, 255, (1, 64, 64)).astype(np.uint8)
    assert kind_of_picture(photo) == "no slice with dark air around it"
    assert kind_of_picture(np.stack([mr, mr // 3, 255 - mr])) == "a colour picture"


def test_a_mask_beside_a_negative_must_be_empty(tmp_path, tiny, exhaust, mr):
    put(tmp_path / "n", "a.png", mr)
    put(tmp_path / "n", "a_mask.png", np.zeros_like(mr))
    assert len(exhaust(iter_negatives(tmp_path / "n", tiny))[1]) == 1
    put(tmp_path / "n", "a_mask.png", (mr > 200).astype(np.uint8) + np.eye(64, dtype=np.uint8))
    with pytest.raises(TrainingError, match=r"a\.png shows a tumour \(a_mask\.png beside it is not empty\)"):
        exhaust(iter_negatives(tmp_path / "n", tiny))


def test_all_that_are_no_mr_are_named_at_once(tmp_path, tiny, exhaust, mr):
    put(tmp_path / "n", "good.png", mr)
    for n in range(5):
        put(tmp_path / "n", f"ct{n}.png", ct())
    with pytest.raises(TrainingError, match=r"ct0\.png is computed tomography.*\(5 in all\).*take them out"):
        exhaust(iter_negatives(tmp_path / "n", tiny))


def test_a_training_image_with_a_tumour_is_no_negative(folder, tmp_path, tiny, exhaust):
    _, examples = exhaust(iter_dataset(folder / "images", folder / "masks", tiny, folder / "cases.csv"))
    put(tmp_path / "n", "copy.png", np.asarray(Image.open(folder / "images/0.png")))
    with pytest.raises(TrainingError, match=r"copy\.png shows a tumour \(it is the training image 0\.png\)"):
        exhaust(iter_negatives(tmp_path / "n", tiny, examples))
