"""One step of learning: averaged weights, schedules, precision, state."""

import copy
from dataclasses import replace

import pytest
import torch

from napari_unet_tumour.engine.training import learner as module
from napari_unet_tumour.engine.training.learner import Learner, precision_of
from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.models.spec import ModelSpec

SPEC = ModelSpec("m", "dynunet", {"filters": [4, 8, 8]}, ("grey",), size=32)


def data(seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 1, 32, 32, generator=rng)
    return x, (x > 1).float()


def test_learns_a_threshold(tiny):
    learner = Learner(replace(tiny, schedule="constant", learning_rate=0.03), SPEC, 20)
    losses = [learner.step(*data(n)) for n in range(20)]
    assert losses[-1] < losses[0] / 1.5


def test_the_fused_optimiser_moves_channels_last_weights_as_the_plain_one(tiny):
    # torch's fused step goes through memory, not indices: a gradient laid out otherwise would be mixed up.
    learner = Learner(
        replace(tiny, schedule="constant", learning_rate=0.01, grad_clip_norm=0.0, weight_decay=0.1, ema=0.0), SPEC, 20
    )
    plain = [p.detach().clone().requires_grad_() for p in learner.net.parameters()]
    optimiser = torch.optim.AdamW(plain, 0.01, weight_decay=0.1, foreach=False, fused=False)
    for n in range(3):
        learner.step(*data(n))
        for mine, theirs in zip(plain, learner.net.parameters(), strict=True):
            mine.grad = theirs.grad.clone()
        optimiser.step()
    assert any(not p.is_contiguous() for p in learner.net.parameters())
    for mine, theirs in zip(plain, learner.net.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize(("clip", "most"), [(0.0, float("inf")), (1e-3, 1e-3)])
def test_the_gradient_is_cut_where_the_settings_say_so(tiny, clip, most):
    learner = Learner(replace(tiny, grad_clip_norm=clip), SPEC, 20)
    learner.step(*data())
    length = float(torch.nn.utils.get_total_norm([p.grad for p in learner.net.parameters()]))
    assert 0 < length <= most * 1.001
    assert clip or length > 1e-2


def test_the_average_lies_between_old_and_new_weights(tiny):
    learner = Learner(replace(tiny, ema=0.5), SPEC, 40)
    before = next(learner.best_net.parameters()).clone()
    learner.step(*data())
    now, mean = next(learner.net.parameters()), next(learner.best_net.parameters())
    # (1 + 1) / (10 + 1) of the mean is kept at the first step, until that share reaches `ema`.
    assert torch.allclose(mean, before * 2 / 11 + now.detach() * 9 / 11)


def test_the_rate_falls_on_a_plateau(tiny):
    learner = Learner(replace(tiny, schedule="reduce-on-plateau", patience=1, learning_rate=1e-3), SPEC, 40)
    rates = []
    for value in (1.0, 0.5, 0.5, 0.5, 0.5, 0.5):
        learner.after_pass(value)
        rates.append(learner.rate)
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5])


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 19, 30])
def test_one_cycle_rises_and_falls_for_any_length(tiny, steps):
    learner = Learner(replace(tiny, schedule="one-cycle", learning_rate=1e-2), SPEC, steps)
    rates = [learner.rate]
    for _ in range(steps):
        learner.step(*data())
        rates.append(learner.rate)
    assert max(rates) <= 1e-2 + 1e-12
    assert rates[-1] < 1e-3


def test_a_step_with_nan_moves_nothing(tiny):
    learner = Learner(tiny, SPEC, 10)
    learner.step(*data())
    before = [p.clone() for p in learner.net.parameters()]
    x, y = data()
    assert learner.step(x * float("nan"), y) != learner.step(x * float("nan"), y)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.net.parameters(), strict=True))


def test_restored_state_goes_on_bitwise(tiny):
    one, two = (Learner(replace(tiny, precision="auto"), SPEC, 10) for _ in range(2))
    for n in range(3):
        one.step(*data(n))
    two.restore(copy.deepcopy(one.state()))
    assert [one.step(*data(n)) for n in (3, 4)] == [two.step(*data(n)) for n in (3, 4)]
    assert all(torch.equal(a, b) for a, b in zip(one.best_net.parameters(), two.best_net.parameters(), strict=True))


def test_bfloat16_where_the_machine_is_fast_in_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert precision_of("auto", torch.device("cpu")) == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert precision_of("auto", torch.device("cpu")) == torch.float32
    with pytest.raises(TrainingError, match="float16 needs a GPU"):
        precision_of("float16", torch.device("cpu"))


def test_bfloat16_learns_too(tiny):
    learner = Learner(replace(tiny, precision="bfloat16", schedule="constant", learning_rate=0.03), SPEC, 20)
    losses = [learner.step(*data(n)) for n in range(20)]
    assert losses[-1] < losses[0] / 1.5


def test_wrong_arguments_are_named():
    with pytest.raises(TrainingError, match=r"dynunet cannot be built.*wings"):
        module.build(replace(SPEC, arguments={"wings": 2}))


def test_memory_that_is_full_says_what_to_do(tiny, monkeypatch):
    learner = Learner(tiny, SPEC, 10)

    def full(x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    learner.distributed_net = full
    with pytest.raises(TrainingError, match="smaller --batch"):
        learner.step(*data())
