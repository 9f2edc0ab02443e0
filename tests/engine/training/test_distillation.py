"""Distillation: the teachers' prediction is a second target."""

from dataclasses import replace

import pytest
import torch

from napari_unet_tumour.engine import model, networks
from napari_unet_tumour.engine.training.batches import layers
from napari_unet_tumour.engine.training.distillation import Distillation
from napari_unet_tumour.engine.training.learner import Learner
from napari_unet_tumour.engine.training.losses import ce
from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.models.spec import ModelSpec

SPEC = ModelSpec("m", "dynunet", {"filters": [4, 8, 8]}, ("grey",), size=32)
CPU = torch.device("cpu")


def saved(path, spec=SPEC, seed=1):
    torch.manual_seed(seed)
    net = networks.build(spec.network, spec.in_channels, spec.out_channels, **spec.arguments)
    model.save(path, spec, net.state_dict(), torch.float32)
    return str(path)


def probability(path, x):
    with torch.no_grad():
        return model.load(path).net.eval()(x).sigmoid()


def slices():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(3, 1, 32, 32, generator=rng)
    truth = (x > 1).float()
    truth[1] = 0
    return x, truth


def test_the_truth_is_mixed_with_the_mean_of_the_teachers(tmp_path, tiny):
    one, two = (saved(tmp_path / f"{n}.safetensors", seed=n) for n in (1, 2))
    x, truth = slices()
    soft = Distillation(replace(tiny, distill_from=f"{one}, {two}", distill_weight=0.25), SPEC, CPU).soften(x, truth)
    said = (probability(one, x) + probability(two, x)) / 2
    assert torch.allclose(soft[[0, 2]], (0.75 * truth + 0.25 * said)[[0, 2]], atol=0.02)
    assert torch.equal(truth, slices()[1])


def test_a_slice_without_tumour_stays_without(tmp_path, tiny):
    x, truth = slices()
    teachers = Distillation(replace(tiny, distill_from=saved(tmp_path / "t.safetensors")), SPEC, CPU)
    assert not teachers.soften(x, truth)[1].any()
    assert not teachers.soften(x, torch.zeros_like(truth)).any()


def test_without_teachers_the_truth_is_the_target(tiny):
    x, truth = slices()
    assert Distillation(tiny, SPEC, CPU).soften(x, truth) is truth


def test_the_network_learns_what_the_teacher_says(tmp_path, tiny):
    """With the truth counting nothing, the student ends nearer to its teacher than to the truth."""
    path = saved(tmp_path / "t.safetensors")
    settings = replace(
        tiny, distill_from=path, distill_weight=1.0, schedule="constant", learning_rate=0.03, loss="bce", ema=0.0
    )
    learner = Learner(settings, SPEC, 60)
    x, truth = slices()
    for _ in range(60):
        learner.step(x, truth)
    with torch.no_grad():
        now = learner.best_net(x).sigmoid()[[0, 2]]
    said, real = probability(path, x)[[0, 2]], truth[[0, 2]]
    assert (now - said).abs().mean() < (now - real).abs().mean() / 2


def test_several_labels(tmp_path, tiny):
    spec = replace(SPEC, labels=("background", "a", "b"))
    x = slices()[0]
    truth = layers((x[:, 0] > 1).to(torch.uint8), 2)
    path = saved(tmp_path / "t.safetensors", spec)
    soft = Distillation(replace(tiny, distill_from=path), spec, CPU).soften(x, truth)
    with torch.no_grad():
        said = model.load(path).net.eval()(x).softmax(1)
    assert torch.allclose(soft, (truth + said[:, 1:]) / 2, atol=0.02)
    # Cross-entropy is smallest where the network says what the softened truth says.
    right = torch.cat([1 - soft.sum(1, keepdim=True), soft], 1).log()
    assert ce(right, soft) < ce(said.log(), soft)


def test_a_teacher_that_answers_something_else(tmp_path, tiny):
    path = saved(tmp_path / "t.safetensors", replace(SPEC, labels=("background", "lung")))
    with pytest.raises(TrainingError, match=r"t\.safetensors has labels .*lung.*: choose another"):
        Learner(replace(tiny, distill_from=path), SPEC, 10)


def test_a_teacher_that_is_not_there(tmp_path, tiny):
    with pytest.raises(TrainingError, match=r"the teacher cannot be used: .*gone\.safetensors"):
        Learner(replace(tiny, distill_from=str(tmp_path / "gone.safetensors")), SPEC, 10)
