"""Augmentation changes image and mask alike, keeps the range, and is reproducible."""

import pytest
import torch

from napari_unet_tumour.engine.training.augment import augment


def disc(n=8, size=64, low=0.0, high=1.0):
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    mask = (((y - 32) ** 2 + (x - 30) ** 2) < 100).float().expand(n, 1, size, size)
    return low + (high - low) * mask, mask


def chance(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_shapes_types_and_values(size):
    image, mask = augment(*disc(), size, chance(0))
    assert image.shape == mask.shape == (8, 1, size, size)
    assert image.dtype == mask.dtype == torch.float32
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert torch.isfinite(image).all()


def test_the_mask_moves_with_the_image():
    image, mask = augment(*disc(64), 64, chance(1))
    inside = (image * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp(min=1)
    outside = (image * (1 - mask)).sum((1, 2, 3)) / (1 - mask).sum((1, 2, 3))
    assert (inside > outside + 0.2).all()


def test_same_chance_same_answer():
    first, again, other = (augment(*disc(), 64, chance(seed))[0] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_grey_values_stay_in_their_unit():
    image, _ = augment(*disc(32, low=-1000.0, high=3000.0), 64, chance(5))
    assert -3000 < image.min() < -500
    assert 2000 < image.max() < 9000


def test_labels_stay_apart():
    _, mask = disc()
    both = torch.cat([mask, torch.roll(mask, 20, 3) * (1 - mask)], 1)
    _, seen = augment(disc()[0], both, 64, chance(6))
    assert seen.shape[1] == 2
    assert seen.sum(1).max() == 1


def test_a_constant_image_stays_finite():
    image, _ = augment(torch.zeros(4, 1, 32, 32), torch.zeros(4, 1, 32, 32), 32, chance(7))
    assert torch.isfinite(image).all()


def test_a_weakly_augmented_image_keeps_its_grey_values_and_nearly_its_place():
    image, mask = augment(*disc(32), 64, chance(8), weak=1.0)
    middle = (image > 0.02) & (image < 0.98)
    assert float(middle.float().mean()) < 0.03  # the disc's edge, where pixels are between two
    assert float(mask.mean()) == pytest.approx(float(disc(32)[1].mean()), rel=0.15)
    wild, _ = augment(*disc(32), 64, chance(8))
    assert float(((wild > 0.02) & (wild < 0.98)).float().mean()) > 0.1


def test_some_images_are_weakly_augmented():
    image, _ = augment(*disc(200), 64, chance(9), weak=0.5)
    steps = [len(one.unique()) for one in image]
    assert 50 < sum(count < 1500 for count in steps) < 200
