"""CarveMix: the whole tumour is pasted into the head of another person, reproducibly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from napari_unet_tumour.engine.lesion_removal import iter_lesion_removed
from napari_unet_tumour.engine.training.batches import EpochPlan, SamplePools, batch_of
from napari_unet_tumour.engine.training.lesion_transplant import MARGIN, TransplantHosts
from napari_unet_tumour.engine.training.train import iter_train
from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.models.spec import ModelSpec

SPEC = ModelSpec("g", "basic-unet", {}, ("grey",), size=64)


@pytest.fixture
def cohort(draw_head, exhaust):
    """Tumour slices, their masks, and tumour-free copies."""
    rng = np.random.default_rng(0)
    made = [draw_head(rng) for _ in range(12)]
    images = torch.from_numpy(np.stack([m[0] for m in made])[:, None])
    masks = torch.from_numpy(np.stack([m[1] for m in made]))
    _, copies = exhaust(iter_lesion_removed(images, masks, [str(n) for n in range(12)]))
    return images, masks, copies


def test_the_tumour_is_in_a_head_that_had_none(cohort):
    images, masks, copies = cohort
    image, lesion = images[0, 0].numpy(), masks[0].numpy() > 0
    made = TransplantHosts(copies).transplant(image, lesion, np.random.default_rng(1))
    inside = np.corrcoef(made[lesion].astype(float), image[lesion].astype(float))[0, 1]
    assert inside > 0.9
    far = ~ndi.binary_dilation(lesion, np.ones((3, 3)), iterations=MARGIN + 16)
    same = [(made[far] == copy[0].numpy()[far]).all() for copy in copies]
    assert sum(same) >= 1


def test_air_takes_in_no_tumour(cohort):
    images, masks, _ = cohort
    black = torch.zeros(3, 1, 64, 64, dtype=torch.uint8)
    black[:, 0, :2, :2] = 200
    assert (
        TransplantHosts(black).transplant(images[0, 0].numpy(), masks[0].numpy() > 0, np.random.default_rng(0)) is None
    )


def test_a_step_pastes_tumours_reproducibly_and_leaves_the_truth_unmoved(cohort, tiny):
    images, masks, copies = cohort
    settings = replace(tiny, augment=False, carvemix_fraction=1.0)
    plan, chosen = EpochPlan(0, 64, 4, 0, 0, 3, 0), np.arange(4)

    def shown(pools, settings=settings, step=7):
        return batch_of(pools, plan, chosen, settings, SPEC, step, torch.device("cpu"))

    before = images.clone()
    plain = SamplePools(images, masks, copies, copies[:0])
    pasted = SamplePools(images, masks, copies, copies[:0], TransplantHosts(copies))
    x, y = shown(pasted)
    assert torch.equal(y, shown(plain)[1])
    assert all(not torch.equal(a, b) for a, b in zip(x, shown(plain)[0], strict=True))
    assert torch.equal(x, shown(pasted)[0])
    assert not torch.equal(x, shown(pasted, step=8)[0])
    assert torch.equal(shown(pasted, replace(settings, carvemix_fraction=0.0))[0], shown(plain)[0])
    assert torch.equal(pasted.images, before)


def test_colour_images_take_grey_tumours(cohort, tiny):
    images, masks, copies = cohort
    colours = SamplePools(
        images.expand(-1, 3, -1, -1).contiguous().float(), masks, copies, copies[:0], TransplantHosts(copies)
    )
    settings = replace(tiny, augment=False, carvemix_fraction=1.0, channels=3)
    spec = replace(SPEC, channels=("red", "green", "blue"))
    x, _ = batch_of(colours, EpochPlan(0, 64, 4, 0, 0, 3, 0), np.arange(4), settings, spec, 0, torch.device("cpu"))
    assert x.shape == (4, 3, 64, 64)
    assert torch.isfinite(x).all()


@pytest.mark.slow
def test_carvemix_needs_no_lesion_free_copies_in_the_batch(make_folder, tiny, exhaust, tmp_path):
    folder = make_folder("data", persons=12, slices=4)
    settings = replace(tiny, carvemix_fraction=0.5, lesion_removed_fraction=0.0)
    ticks, result = exhaust(
        iter_train(settings, folder / "images", folder / "masks", tmp_path / "m.safetensors", folder / "cases.csv")
    )
    assert "removing lesions" in {tick.message for tick in ticks}
    assert result.passes == settings.epochs


def test_where_nothing_is_tumour_free_the_error_says_what_to_give(make_folder, tiny, exhaust, tmp_path, monkeypatch):
    folder = make_folder("data", persons=12, slices=4)
    monkeypatch.setattr("napari_unet_tumour.engine.lesion_removal.remove_lesion", lambda *_: None)
    with pytest.raises(TrainingError, match="give --negatives"):
        exhaust(
            iter_train(
                replace(tiny, carvemix_fraction=0.5),
                folder / "images",
                folder / "masks",
                tmp_path / "m.safetensors",
                folder / "cases.csv",
            )
        )
