"""Random contrast keeps the tumour in view and the range, and is reproducible."""

import torch

from napari_unet_tumour.engine.training.augment import augment
from napari_unet_tumour.engine.training.random_contrast import grey_maps, random_contrast


def chance(seed):
    return torch.Generator().manual_seed(seed)


def heads(n=64, size=64):
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    away = ((y - 32.0) ** 2 + (x - 32.0) ** 2).sqrt()
    image = torch.where(away < 26, 0.5, 0.0) + torch.where((away > 23) & (away < 26), 0.5, 0.0)
    tumour = (((y - 32) ** 2 + (x - 54) ** 2) < 9).float()
    return (image + 0.3 * tumour).clamp(max=1).expand(n, 1, size, size), tumour.expand(n, 1, size, size)


def test_values_stay_finite_and_the_same_chance_gives_the_same():
    image, tumour = heads()
    first, again, other = (random_contrast(image, tumour, chance(seed)) for seed in (1, 1, 2))
    assert torch.isfinite(first).all()
    assert first.min() > -1
    assert first.max() < 8
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_three_of_four_grey_maps_rise():
    maps = grey_maps(2000, chance(0))
    assert (maps[:, 0] == 0).all()
    assert maps.min() >= 0
    assert maps.max() <= 1.0001
    rising = (maps.diff(dim=1) > 0).all(1).float().mean()
    assert 0.7 < rising < 0.85


def test_skull_and_view_never_take_the_tumour():
    image, tumour = heads(400)
    dark = random_contrast(image, tumour, chance(3))
    skull = (image[0, 0] == 1) & (tumour[0, 0] == 0)
    gone = (dark[:, 0, skull].abs() < 0.3).float().mean(1)
    assert (gone > 0.9).float().mean() > 0.05, "some lose their skull"
    inside = tumour[0, 0] > 0
    assert (dark[:, 0, inside] == 0).all(1).float().mean() < 0.02


def test_soft_truth_stays_soft():
    image, tumour = heads(8)
    _, hard = augment(image, tumour * 0.5, 64, chance(0))
    _, soft = augment(image, tumour * 0.5, 64, chance(0), contrast=1.0, soft=True)
    assert hard.max() == 0
    assert 0.3 < soft.max() <= 0.5
