"""A model with one more class: the same answers as before, and a class that can be learnt."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_unet_tumour.corrections import UNSURE, ReviewedSlice
from napari_unet_tumour.engine import networks
from napari_unet_tumour.engine.finetuning import scoring
from napari_unet_tumour.engine.finetuning.add_classes import NEVER, add_classes, unlearnt_labels
from napari_unet_tumour.engine.finetuning.cases import context_of, fine_tune_slices
from napari_unet_tumour.engine.finetuning.data import FineTuneData
from napari_unet_tumour.engine.finetuning.expert_fit import ExpertFineTuner
from napari_unet_tumour.engine.finetuning.finetune import finetune
from napari_unet_tumour.engine.finetuning.healthy_copies import healthy_copies
from napari_unet_tumour.engine.finetuning.hyperparameters import HyperParameters
from napari_unet_tumour.engine.inference import accelerate
from napari_unet_tumour.engine.model import from_state, load
from napari_unet_tumour.engine.networks.lite_unet import LiteUNet
from napari_unet_tumour.errors import ModelError, TrainingError
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.postprocess.threshold import mask_from_probability
from napari_unet_tumour.settings import FinetuneSettings, SegmentSettings

CPU = torch.device("cpu")
QUICK = FinetuneSettings(seconds=20, device="cpu")
FLOAT32 = 2.0**-22
LABELS = (("background", "tumour"), ("background", "core", "rim"))


@pytest.fixture(scope="module")
def two(draw):
    """Return a function of a seed: a corrected slice with a lesion (1) and a brighter disc (2) beside it."""

    def drawn(seed, disc=True, held_out=False):
        image, mask = draw.drawn(seed, coarse=True)
        y, x = np.mgrid[: draw.side, : draw.side]
        rows, columns = np.nonzero(mask)
        # Across the middle from the lesion, inside the head.
        at = 64 - rows.mean() + 8 * np.sign(32 - rows.mean()), 64 - columns.mean() + 8 * np.sign(32 - columns.mean())
        there = ((y - at[0]) ** 2 + (x - at[1]) ** 2 < 5**2) & (mask == 0) & disc
        there &= np.hypot(y - rows.mean(), x - columns.mean()) > 9
        image = image + 250 * there[None].astype(np.float32)
        return ReviewedSlice("scan", seed, image, np.where(there, 2, mask).astype(np.uint8), held_out)

    return drawn


@pytest.fixture(scope="module")
def wide(lite):
    return load(add_classes(lite, ["cyst"]))


@pytest.fixture(scope="module")
def learnt(lite, draw):
    """A model with one expert, which knows lesions of the coarse style."""
    return load(finetune(lite, draw.corrections(2), QUICK).data)


def by_label(model, cases):
    rows = scoring.scores_of(model.net, cases, model.spec)
    names = model.spec.labels[1:]
    return {name: np.mean([row["by_label"][name]["dice"] for row in rows if name in row["by_label"]]) for name in names}


def sure(model, x):
    with torch.inference_mode():
        logits = model.net(x)
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)[:, 1:]


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("network", [name for name in networks.NETWORKS if name != "unet"])
def test_every_network_answers_as_before_and_never_says_the_new_class(network, labels):
    spec = ModelSpec(network, network, {}, ("grey",), labels, size=64, threshold=0.3)
    torch.manual_seed(0)
    parent = from_state(spec, networks.build(network, 1, spec.out_channels).state_dict())
    made = load(add_classes(parent, ["cyst", "vein"]))
    x = torch.randn(2, 1, 64, 64)
    before, after = sure(parent, x), sure(made, x)
    assert (after[:, :-2] - before).abs().max() < 4 * FLOAT32
    assert after[:, -2:].max() < 2e-7
    assert made.spec == replace(spec, labels=(*labels, "cyst", "vein"), parent=parent.hash, n_added_labels=2,
                                version=made.spec.version)  # fmt: skip


def test_a_network_that_mixes_its_answers_is_refused():
    spec = ModelSpec("mixes", "unet", {}, ("grey",), size=64)
    parent = from_state(spec, networks.build("unet", 1, 1).state_dict())
    with pytest.raises(ModelError, match="no class can be added to the network 'unet'"):
        add_classes(parent, ["cyst"])


def test_experts_answer_as_before(learnt, two):
    made = load(add_classes(learnt, ["cyst"]))
    assert made.net.corrector.experts == 1
    x = fine_tune_slices([two(n, disc=False) for n in range(300, 304)], learnt.spec, CPU).images
    assert sure(learnt, x).max() > 0.9
    assert (sure(made, x)[:, :1] - sure(learnt, x)).abs().max() < FLOAT32
    assert sure(made, x)[:, 1:].max() < 2e-7


@pytest.mark.parametrize("threshold", [0.02, 0.3, 0.5, 0.98])
def test_every_decision_is_the_same_on_the_fast_path(learnt, two, threshold):
    made = load(add_classes(learnt, ["cyst"]))
    x = fine_tune_slices([two(n, disc=False) for n in range(300, 304)], learnt.spec, CPU).images
    settings = SegmentSettings(threshold=threshold, min_object_size=4)
    masks = []
    for model in (learnt, made):
        found = (
            (accelerate.accelerated(model, CPU, "float32").probability(x, flip_tta=True) * 255).round().byte().numpy()
        )
        masks.append(np.stack([mask_from_probability(one, settings) for one in found]))
    assert masks[0].any()
    assert (masks[0] != masks[1]).mean() < 1e-4


def test_a_class_that_lies_far_below_excuses_no_rounding(lite, wide):
    """The quick copy is judged by what decides, so that it is refused for the same errors as the parent's."""
    probe = accelerate.probe_of(1)
    for model in (lite, wide):
        truth = accelerate.Runner(model.net, CPU, torch.float32).logits(probe)
        lead = truth if truth.shape[1] == 1 else truth[:, 1:2] - truth[:, :1]
        off = lead.std() * 0.05

        class Off(torch.nn.Module):
            def forward(self, x, truth=truth, off=off):
                answer = truth.clone()
                answer[:, min(1, answer.shape[1] - 1)] += off
                return answer.expand(len(x), -1, -1, -1)

        assert not accelerate._agrees(accelerate.Runner(Off(), CPU, torch.float32), probe, truth)


def test_weights_in_full_precision_stay_so(small_model, small_spec, small_state):
    made = load(add_classes(small_model, ["cyst"]))
    x = torch.randn(2, 1, 64, 64)
    assert (sure(made, x)[:, :1] - sure(small_model, x)).abs().max() < FLOAT32


@pytest.mark.parametrize(
    ("names", "said"),
    [([""], "needs a name"), (["x" * 41], "needs a name"), (["Tumour"], "is taken"), (["cyst", "CYST"], "is taken"),
     (["unsure"], "is taken"), ([], "2 to 255 labels"), ([f"c{n}" for n in range(254)], "2 to 255 labels")],
)  # fmt: skip
def test_bad_names(lite, names, said):
    with pytest.raises(ModelError, match=said):
        add_classes(lite, names)


def test_a_class_is_new_until_it_was_learnt(lite, wide):
    assert unlearnt_labels(lite.net.head) == []
    assert unlearnt_labels(wide.net.head) == [2]
    assert float(wide.net.head.bias[0] - wide.net.head.bias[2]) == NEVER


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_it_is_learnt_from_one_or_two_slices_beside_what_was_known(learnt, two, count):
    parent = load(add_classes(learnt, ["cyst"]))
    tuned = finetune(parent, [two(n) for n in range(200, 200 + count)], QUICK)
    better = load(tuned.data)
    others = fine_tune_slices([two(n) for n in range(300, 308)], parent.spec, CPU)
    assert by_label(parent, others)["cyst"] == 0
    found = by_label(better, others)
    assert found["cyst"] > 0.8
    assert found["tumour"] > by_label(parent, others)["tumour"] - 0.05
    assert better.spec.labels == ("background", "tumour", "cyst")
    assert better.spec.parent == parent.hash


def test_slices_that_nobody_looked_through_do_not_talk_it_away(learnt, two):
    parent = load(add_classes(learnt, ["cyst"]))
    context = np.stack([two(n).image for n in range(600, 608)])
    cases = fine_tune_slices([two(200), two(201)], parent.spec, CPU)
    fit = ExpertFineTuner(
        parent.net, FineTuneData(cases, context_of(context, parent.spec, CPU), None, HyperParameters(), CPU)
    )
    assert list(fit.iter_look())
    assert fit.unknown == [2]
    logits = torch.zeros(len(fit.rows.case), 3)
    even = fit._wrong(logits)
    logits[:, 2] += 5
    more = fit._wrong(logits) - even
    context_rows, own_rows = more[fit.rows.case < 0], more[(fit.rows.case >= 0) & (fit.rows.target[:, 2] == 0)]
    assert float(context_rows.mean()) == pytest.approx(0.25 * float(own_rows.mean()), rel=0.05)


@pytest.mark.slow
def test_a_second_round_keeps_the_class(learnt, two):
    parent = load(add_classes(learnt, ["cyst"]))
    first = load(finetune(parent, [two(200)], QUICK).data)
    second = load(finetune(first, [two(n) for n in (200, 201, 202)], QUICK).data)
    others = fine_tune_slices([two(n) for n in range(300, 308)], parent.spec, CPU)
    assert second.net.corrector.experts == 3
    assert by_label(second, others)["cyst"] > 0.8


def test_two_more_rounds_of_adding(learnt, two):
    both = load(add_classes(load(add_classes(learnt, ["cyst"])), ["vein"]))
    assert both.spec.n_added_labels == 2
    assert unlearnt_labels(both.net.head) == [2, 3]


def test_held_out_slices_are_scored_by_label(learnt, two):
    parent = load(add_classes(learnt, ["cyst"]))
    tuned = finetune(parent, [two(200), two(201), two(202, held_out=True)], QUICK)
    (row,) = tuned.held_out
    assert row["before"]["by_label"]["cyst"]["dice"] == 0
    assert row["after"]["by_label"]["cyst"]["dice"] > 0.7
    assert set(row["after"]["by_label"]) == {"tumour", "cyst"}
    assert row["after"]["dice"] > row["before"]["dice"]


def test_the_made_up_heads_still_guard(learnt, two):
    parent = load(add_classes(learnt, ["cyst"]))
    assert scoring.fits_phantom(parent.spec)
    assert not scoring.fits_phantom(replace(parent.spec, n_added_labels=0))
    tuned = finetune(parent, [two(200)], QUICK)
    assert {row["scan"] for row in tuned.reference} == {scoring.PHANTOM}


def test_a_pixel_counts_where_its_label_is_right():
    truth = np.zeros((8, 8), np.uint8)
    truth[0, :4], truth[1, :4], truth[2] = 1, 2, UNSURE
    mask = np.zeros_like(truth)
    mask[:3, :4] = 1
    found = scoring.scored(mask, truth, ("background", "tumour", "cyst"))
    assert found["dice"] == pytest.approx(2 * 4 / (8 + 8))
    assert found["by_label"]["tumour"]["dice"] == pytest.approx(2 * 4 / (8 + 4))
    assert found["by_label"]["cyst"]["dice"] == 0
    assert set(scoring.scored(mask, np.zeros_like(mask), ("background", "tumour", "cyst"))["by_label"]) == set()
    assert scoring.scored(mask * 0, mask * 0, ("background", "tumour", "cyst"))["dice"] == 1


def test_healing_takes_lesions_away_and_leaves_an_added_class(wide, two, draw):
    one = fine_tune_slices([two(200)], wide.spec, CPU)
    planes = np.stack([draw.drawn(n, coarse=True, lesion=False)[0] for n in range(400, 406)])
    context = context_of(planes, wide.spec, CPU)
    likely = torch.zeros(len(context), 2, draw.side, draw.side)
    made = healthy_copies(one, context, likely, [1])
    assert not made.truth[:, 0].any()
    cyst = one.truth[0, 1] > 0.5
    kept = made.truth[0, 1] > 0.5
    assert kept.any()
    assert not (kept & ~cyst).any()
    assert not made.known[0, 0][cyst & ~kept].any()
    none = fine_tune_slices(
        [replace(two(200), mask=np.where(two(200).mask == 2, 2, 0).astype(np.uint8))], wide.spec, CPU
    )
    assert healthy_copies(none, context, likely, [1]) is None


@pytest.mark.parametrize("count", [1, 2])
def test_other_networks_learn_it_too(small_model, two, count):
    parent = load(add_classes(small_model, ["cyst"]))
    assert not isinstance(parent.net, LiteUNet)
    settings = replace(QUICK, steps=6, seconds=120)
    tuned = finetune(parent, [two(n) for n in range(200, 200 + count)], settings)
    better = load(tuned.data)
    assert unlearnt_labels(better.net.get_submodule("output_block.conv.conv")) == []
    others = fine_tune_slices([two(n) for n in range(300, 306)], parent.spec, CPU)
    assert by_label(better, others)["cyst"] > 0.6


def test_the_error_says_how(lite, two):
    with pytest.raises(TrainingError, match=r"holds the label 2, the model knows 0 to 1 .*--add-class NAME"):
        finetune(lite, [two(200)], QUICK)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU (cuda) on this machine")
def test_on_a_gpu(learnt, two):
    parent = load(add_classes(learnt, ["cyst"]))
    better = load(finetune(parent, [two(200), two(201)], replace(QUICK, device="cuda")).data)
    others = fine_tune_slices([two(n) for n in range(300, 304)], parent.spec, CPU)
    assert by_label(better, others)["cyst"] > 0.8
