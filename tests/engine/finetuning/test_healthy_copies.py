"""A corrected slice without its lesion."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from napari_unet_tumour.corrections import ReviewedSlice
from napari_unet_tumour.engine.finetuning import expert_fit
from napari_unet_tumour.engine.finetuning.cases import FineTuneSlices, context_of, fine_tune_slices
from napari_unet_tumour.engine.finetuning.data import FineTuneData
from napari_unet_tumour.engine.finetuning.healthy_copies import healthy_copies
from napari_unet_tumour.engine.finetuning.hyperparameters import HyperParameters

CPU = torch.device("cpu")


@pytest.fixture
def scan(draw, lite):
    """Return a corrected slice, healthy ones of the scan, and the parent's (right) answer on these."""
    planes = np.stack([draw.drawn(n, coarse=True, lesion=False)[0] for n in range(400, 406)])
    context = context_of(planes, lite.spec, CPU)
    return (
        fine_tune_slices(draw.corrections(1), lite.spec, CPU),
        context,
        torch.zeros(len(context), 1, draw.side, draw.side),
    )


def mirrored_too(one):
    """Return the slice with a truth on both sides, so that no side heals the other."""
    return FineTuneSlices(one.images, ((one.truth + one.truth.flip(3)) > 0).float(), one.known, one.frames, one.sources)


def test_the_lesion_gives_way_to_healthy_greys_and_the_rest_stays(scan):
    one, context, likely = scan
    made = healthy_copies(one, context, likely)
    lesion = one.truth[0, 0] > 0.5
    far = F.max_pool2d(one.truth[0], 41, 1, 20)[0] == 0
    assert not made.truth.any()
    assert one.images[0, 0][lesion].mean() - made.images[0, 0][lesion].mean() > 1
    assert (made.images[0, 0][far] - one.images[0, 0][far]).abs().max() < 0.05
    assert torch.equal(made.known, one.known)


def test_its_own_other_side_is_enough(draw, lite):
    y, x = np.mgrid[: draw.side, : draw.side]
    lesion = (y - 32) ** 2 + (x - 10) ** 2 < 5**2
    image = 80 + np.random.default_rng(0).normal(0, 4, (1, draw.side, draw.side)) + 90 * lesion
    one = fine_tune_slices([ReviewedSlice("s", 0, image.astype(np.float32), lesion.astype(np.uint8))], lite.spec, CPU)
    made = healthy_copies(one, None, None)
    assert one.images[0, 0][lesion].mean() - made.images[0, 0][lesion].mean() > 1


def test_a_place_that_may_be_ill_is_no_donor(scan):
    one, context, likely = scan
    assert healthy_copies(mirrored_too(one), None, None) is None
    assert healthy_copies(mirrored_too(one), context, likely) is not None
    assert healthy_copies(mirrored_too(one), context, torch.ones_like(likely)) is None


def test_without_a_lesion_there_is_nothing_to_heal(draw, lite, scan):
    _, context, likely = scan
    assert healthy_copies(fine_tune_slices(draw.corrections(1, lesion=False), lite.spec, CPU), context, likely) is None


def test_the_expert_learns_from_healed_slices_and_leaves_them_out_with_their_own(lite, draw, scan):
    cases = fine_tune_slices(draw.corrections(2), lite.spec, CPU)

    def looked(healed):
        fit = expert_fit.ExpertFineTuner(
            lite.net, FineTuneData(cases, scan[1], None, HyperParameters(healed=healed), CPU)
        )
        assert list(fit.iter_look())
        return fit.rows

    less, more = looked(0.0), looked(0.5)
    added = slice(len(less.case), None)
    assert sorted(set(more.case[added].tolist())) == [0, 1]
    assert not more.target[added].any()
    assert more.weight[added].sum() == pytest.approx(0.5, abs=0.01)
    assert torch.equal(more.case[: len(less.case)], less.case)
