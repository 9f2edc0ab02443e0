"""Lesion-free copies: the lesion is replaced, the rest stays, the donor is another person."""

import numpy as np
import torch

from napari_unet_tumour.engine.lesion_removal import iter_lesion_removed, remove_lesion


def cohort(head_like, n=12):
    rng = np.random.default_rng(0)
    made = [head_like(rng) for _ in range(n)]
    return torch.from_numpy(np.stack([m[0] for m in made])[:, None]), torch.from_numpy(np.stack([m[1] for m in made]))


def test_the_lesion_goes_and_the_rest_stays(draw_head, exhaust):
    images, masks = cohort(draw_head)
    _, copies = exhaust(iter_lesion_removed(images, masks, [str(n) for n in range(len(images))]))
    assert copies.shape[1:] == images.shape[1:]
    assert len(copies) >= 3
    assert copies.dtype == torch.uint8
    assert (copies > 190).float().mean() < 0.2 * (images > 190).float().mean()


def test_far_from_the_lesion_nothing_changes(draw_head, exhaust):
    rng = np.random.default_rng(1)
    image, mask = draw_head(rng)
    pool = np.stack([draw_head(rng)[0] for _ in range(3)])
    thumbs = np.zeros((3, 32, 32), np.float32)
    healthy = np.zeros((3, 64, 64), bool)
    made = remove_lesion(image, mask > 0, pool, thumbs, healthy, np.ones(3, bool))
    changed = np.argwhere(made != image)
    lesion = np.argwhere(mask)
    assert np.abs(changed[:, None] - lesion[None]).max(2).min(1).max() < 25


def test_no_copy_without_a_donor(draw_head, exhaust):
    images, masks = cohort(draw_head, 4)
    ticks, copies = exhaust(iter_lesion_removed(images, masks, ["same"] * 4))
    assert len(copies) == 0
    assert ticks[-1].done == 4
