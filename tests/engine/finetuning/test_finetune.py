"""Fine-tuning as a whole: better on slices it never saw, never worse than its parent, nothing lost."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_unet_tumour.corrections import ReviewedSlice
from napari_unet_tumour.engine.finetuning import finetune as tuning
from napari_unet_tumour.engine.finetuning import scoring
from napari_unet_tumour.engine.finetuning.cases import fine_tune_slices
from napari_unet_tumour.engine.finetuning.expert_fit import ExpertFineTuner
from napari_unet_tumour.engine.finetuning.finetune import finetune, iter_finetune
from napari_unet_tumour.engine.finetuning.hyperparameters import HyperParameters
from napari_unet_tumour.engine.model import load
from napari_unet_tumour.errors import DeviceError, TrainingError
from napari_unet_tumour.settings import FinetuneSettings

QUICK = FinetuneSettings(seconds=20, device="cpu")


CPU = torch.device("cpu")


@pytest.fixture
def corrections(draw):
    return draw.corrections


@pytest.fixture
def finished(draw):
    return draw.finished


@pytest.fixture
def planes(draw):
    return lambda seeds: np.stack([draw.drawn(n, coarse=True)[0] for n in seeds])


@pytest.fixture
def dice_of(draw):
    def score(model, seeds):
        cases = fine_tune_slices([ReviewedSlice("s", n, *draw.drawn(n, coarse=True)) for n in seeds], model.spec, CPU)
        return scoring.mean_dice(scoring.scores_of(model.net, cases, model.spec))

    return score


def test_two_corrected_slices_help_the_others(lite, corrections, planes, dice_of):
    before = {name: value.clone() for name, value in lite.net.state_dict().items()}
    tuned = finetune(lite, corrections(2), QUICK)
    better = load(tuned.data)
    assert better.spec.parent == lite.hash
    assert better.spec.arguments["experts"] == 1
    assert dice_of(better, range(300, 308)) > dice_of(lite, range(300, 308)) + 0.3
    assert tuned.seconds < 20
    assert "kept for scoring" in tuned.note
    assert all(torch.equal(value, before[name]) for name, value in lite.net.state_dict().items())


def test_a_second_round_goes_on_from_the_first(lite, corrections, dice_of):
    first = load(finetune(lite, corrections(1), QUICK).data)
    second = load(finetune(first, corrections(3), QUICK).data)
    assert second.spec.parent == first.hash
    assert second.spec.arguments["experts"] == 2
    assert dice_of(second, range(300, 308)) > dice_of(lite, range(300, 308)) + 0.3


@pytest.mark.slow
def test_it_is_the_same_every_time(lite, corrections, planes):
    one, other = (finetune(lite, corrections(2), QUICK, context=planes([200])) for _ in range(2))
    assert one.data == other.data


@pytest.mark.parametrize("second", [0.01, 0.3])
def test_a_slow_computer_keeps_to_the_budget(lite, corrections, planes, monkeypatch, second):
    """A look that takes `second` seconds: 24 uncorrected slices and all views would take the whole budget."""
    clock, look = Clock(), ExpertFineTuner._look

    def slow(fit, images):
        clock.now += second
        return look(fit, images)

    monkeypatch.setattr(ExpertFineTuner, "_look", slow)
    monkeypatch.setattr(tuning.time, "monotonic", clock)
    tuned = finetune(lite, corrections(2), replace(QUICK, seconds=10), context=planes(range(200, 224)))
    assert tuned.data
    assert clock.looks(second) == (36 if second < 0.1 else 17)
    assert tuned.seconds < 10


class Clock:
    """A clock that only looking moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def looks(self, second):
        return round(self.now / second)


def test_what_it_saves_is_what_it_shows(lite, corrections, finished, planes, draw):
    watched = planes([300])
    ticks, tuned = finished(iter_finetune(lite, corrections(1), QUICK, watch=watched))
    shown = [tick.values["probability"] for tick in ticks if "probability" in tick.values]
    assert shown[0].shape == (1, draw.side, draw.side)
    assert shown[0].dtype == np.uint8
    assert ticks[-1].done >= ticks[0].done
    assert tuned.data


def test_held_out_slices_are_scored_and_never_learnt_from(lite, corrections, finished, draw):
    some = corrections(3, held_out={2})
    _, tuned = finished(iter_finetune(lite, some, QUICK))
    assert [row["slice"] for row in tuned.held_out] == [2]
    row = tuned.held_out[0]
    assert row["after"]["dice"] > row["before"]["dice"]
    # A held-out slice with another image and the same mask changes nothing that is learnt, only its score.
    swapped = [*some[:2], replace(some[2], image=draw.drawn(999, coarse=True)[0])]
    other = finetune(lite, swapped, QUICK)
    if other.data and other.blend == tuned.blend:
        assert other.data == tuned.data


def test_a_held_out_slice_that_gets_worse_stops_it(lite, corrections):
    good = corrections(2)
    lying = [replace(one, mask=np.zeros_like(one.mask)) for one in corrections(3, held_out={2})[2:]]
    # The held-out slice is empty, and the network that finds nothing is right on it.
    tuned = finetune(lite, [*good, *lying], QUICK)
    assert tuned.data == b""
    assert tuned.blend == 0
    assert "stays as it is" in tuned.note
    assert all(row["before"] == row["after"] for row in tuned.held_out)


@pytest.mark.slow
def test_pixels_that_nobody_looked_at_do_not_count(lite, corrections):
    wrong = [replace(one, mask=1 - one.mask) for one in corrections(2)]
    unseen = [replace(one, mask=np.full_like(one.mask, 255)) for one in wrong]
    x = torch.from_numpy(np.stack([one.image for one in wrong])).float()
    before = scoring.probability(lite.net, x)

    def moved(some):
        tuned = finetune(lite, some, QUICK)
        return float((scoring.probability(load(tuned.data).net, x) - before).abs().max()) if tuned.data else 0.0

    assert finetune(lite, unseen[:1], QUICK).blend in (0.0, HyperParameters().single)
    assert moved(unseen) < 0.01
    assert moved(wrong) > 0.1


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model(lite, unsure, corrections):
    halves = [unsure(one) for one in corrections(2)]
    assert finetune(lite, halves, QUICK).data == finetune(lite, halves, QUICK).data


def test_empty_slices_alone_are_allowed(lite, corrections, dice_of):
    none = corrections(2, lesion=False)
    tuned = finetune(lite, none, QUICK)
    assert tuned.data == b"" or dice_of(load(tuned.data), [300]) <= 1


@pytest.mark.slow
def test_several_labels(lite_of_two, corrections):
    def ringed(one):
        from scipy import ndimage

        core = ndimage.binary_erosion(one.mask, iterations=3)
        return replace(one, mask=(one.mask * 2 - core).astype(np.uint8))

    some = [ringed(one) for one in corrections(3)]
    tuned = load(finetune(lite_of_two, some[:2], QUICK).data)
    case = fine_tune_slices(some[2:], tuned.spec, CPU)
    assert scoring.mean_dice(scoring.scores_of(tuned.net, case, tuned.spec)) > 0.5


def test_other_networks_move_their_weights(small_model, corrections, finished, planes):
    settings = replace(QUICK, steps=4)
    ticks, tuned = finished(iter_finetune(small_model, corrections(2), settings, context=planes([200, 201])))
    losses = [tick.values["loss"] for tick in ticks if "loss" in tick.values]
    assert len(losses) == 4
    again = finetune(small_model, corrections(2), settings, context=planes([200, 201]))
    assert again.data == tuned.data
    if tuned.data:
        assert load(tuned.data).spec.parent == small_model.hash


def test_the_budget_ends_it_and_best_so_far_is_at_hand(small_model, monkeypatch, corrections, finished):
    monkeypatch.setattr(tuning, "KEEP_EVERY", 0.2)
    ticks, tuned = finished(iter_finetune(small_model, corrections(2), replace(QUICK, seconds=2)))
    assert tuned.seconds < 8
    best = [tick.values["best"] for tick in ticks if "best" in tick.values]
    assert best
    assert load(best[-1].data).spec.parent == small_model.hash


def test_corrections_of_earlier_scans_are_replayed_and_scored(lite, corrections):
    earlier = [replace(one, scan="earlier") for one in corrections(3, held_out={2}, first=700)]
    tuned = finetune(lite, corrections(1), QUICK, replay=earlier)
    assert {row["scan"] for row in tuned.reference} == {"earlier", scoring.PHANTOM}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: None, "tick a corrected slice as reviewed"),
        (lambda one: replace(one, held_out=True), "tick a corrected slice as reviewed"),
        (lambda one: replace(one, mask=one.mask * 7), r"slice 1 \(index 0\) holds the label 7, the model knows"),
        (lambda one: replace(one, mask=one.mask[:-1]), "do not fit: correct it again"),
    ],
)
def test_bad_corrections(lite, change, said, corrections):
    some = [changed for one in corrections(1) if (changed := change(one)) is not None]
    with pytest.raises(TrainingError, match=said):
        finetune(lite, some, QUICK)


def test_a_full_memory_is_said(lite, monkeypatch, corrections):
    def full(*args):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(tuning, "_iter_learner", full)
    with pytest.raises(DeviceError, match="memory is full"):
        finetune(lite, corrections(1), QUICK)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU (cuda) on this machine")
def test_on_a_gpu(lite, corrections, dice_of):
    tuned = finetune(lite, corrections(2), replace(QUICK, device="cuda"))
    assert dice_of(load(tuned.data), range(300, 304)) > dice_of(lite, range(300, 304)) + 0.3
