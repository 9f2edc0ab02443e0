"""A second reader's masks: the target is the mean, and slices with little agreement are drawn less often."""

import numpy as np
import pytest
from PIL import Image

from napari_unet_tumour.engine.training.batches import EpochPlan, order_of
from napari_unet_tumour.engine.training.dataset import iter_dataset
from napari_unet_tumour.engine.training.readers import SELDOM, iter_readers
from napari_unet_tumour.errors import TrainingError


@pytest.fixture
def examples(folder, tiny, exhaust):
    return exhaust(iter_dataset(folder / "images", folder / "masks", tiny, folder / "cases.csv"))[1]


def second(folder, tmp_path, change, names=("0", "1")):
    (tmp_path / "second").mkdir()
    for name in names:
        mask = np.asarray(Image.open(folder / f"masks/{name}.png"))
        Image.fromarray(change(mask)).save(tmp_path / f"second/{name}.png")
    return tmp_path / "second"


def test_the_mean_of_both_and_the_first_alone(folder, tmp_path, tiny, exhaust, examples):
    where = second(folder, tmp_path, np.zeros_like, names=("1",))
    readers = exhaust(iter_readers(where, examples, range(3), tiny))[1]
    assert set(readers.mean[0].unique().tolist()) == {0, 255}
    assert set(readers.mean[1].unique().tolist()) == {0, 128}
    assert np.isnan(readers.agreement[0])
    assert readers.agreement[1] == 0
    assert readers.shown.tolist() == pytest.approx([1, SELDOM, 1])


def test_the_same_mask_agrees_whatever_its_value(folder, tmp_path, tiny, exhaust, examples):
    where = second(folder, tmp_path, lambda mask: (mask > 0).astype(np.uint8))
    readers = exhaust(iter_readers(where, examples, range(2), tiny))[1]
    assert readers.agreement.tolist() == [1, 1]


def test_another_size_and_other_names_are_named(folder, tmp_path, tiny, exhaust, examples):
    where = second(folder, tmp_path, lambda mask: mask[:32], names=("0",))
    with pytest.raises(TrainingError, match=r"0\.png is 32 x 64 and its image is 64 x 64"):
        exhaust(iter_readers(where, examples, range(2), tiny))
    (where / "0.png").rename(where / "other.png")
    with pytest.raises(TrainingError, match="has no mask with the name of a training image"):
        exhaust(iter_readers(where, examples, range(2), tiny))


def test_seldom_slices_are_seen_in_every_fifth_pass():
    shown = np.array([1.0] * 50 + [SELDOM] * 50, np.float32)
    seen = np.zeros(100)
    for number in range(200):
        for chosen in order_of(EpochPlan(number, 64, 8, 0, 0, 12, 0), 100, 1, shown):
            seen[chosen] += 1
    assert (seen[:50] == 200).all()
    assert seen[50:].mean() == pytest.approx(40, abs=4)
