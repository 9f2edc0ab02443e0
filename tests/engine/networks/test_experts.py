"""Experts on a network's own features, and their gates."""

import pytest
import torch

from napari_unet_tumour.engine import networks
from napari_unet_tumour.engine.inference import accelerate
from napari_unet_tumour.engine.model import from_state
from napari_unet_tumour.engine.networks.experts import ExpertHead
from napari_unet_tumour.models.spec import ModelSpec

SMALL = {"decoder": [16, 16, 12, 8, 8]}


def filled(experts, outputs=1, seed=0):
    torch.manual_seed(seed)
    corrector = ExpertHead((12, 8, 8, 1), (4, 2, 1, 1), 6, outputs, experts)
    for name, value in corrector.named_buffers():
        value.copy_(torch.randn(value.shape) * 0.3 + (name.endswith("scale")) * 1.5)
    return corrector


def maps(n=2, side=32):
    torch.manual_seed(1)
    return [
        torch.randn(n, count, side // scale, side // scale)
        for count, scale in zip((12, 8, 8, 1), (4, 2, 1, 1), strict=True)
    ]


@pytest.mark.parametrize("outputs", [1, 3])
def test_it_adds_the_weighted_sum_of_what_flat_gives(outputs):
    corrector, seen, style = filled(2, outputs), maps(), torch.randn(2, 6, 4, 4)
    opened = corrector.opened(corrector.style_of(style))
    weight = torch.einsum("nk,kof->nof", opened, corrector.weight)
    wanted = torch.einsum("nfhw,nof->nohw", corrector.flat(seen), weight) + (opened @ corrector.bias)[..., None, None]
    assert torch.allclose(corrector(seen, style), wanted, atol=1e-4)


def test_a_closed_gate_adds_nothing():
    corrector = filled(2)
    corrector.gate_weight.zero_()
    corrector.gate_bias.fill_(-100.0)
    assert corrector(maps(), torch.randn(2, 6, 4, 4)).abs().max() < 1e-6


def test_style_is_mean_and_spread_of_each_channel():
    corrector = filled(0)
    corrector.style_mean.zero_()
    corrector.style_scale.fill_(1.0)
    seen = torch.randn(3, 6, 5, 7)
    wanted = torch.cat([seen.mean((2, 3)), seen.std((2, 3), unbiased=False)], 1)
    assert torch.allclose(corrector.style_of(seen), wanted, atol=1e-5)


def test_without_experts_the_answer_is_the_plain_networks():
    torch.manual_seed(0)
    plain = networks.build("lite-unet", 1, 1, **SMALL).eval()
    room = networks.build("lite-unet", 1, 1, **SMALL, experts=0).eval()
    room.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, 1, 64, 96)
    with torch.inference_mode():
        assert torch.equal(room(x), plain(x))
    assert not room.corrector.has_reference_statistics


def test_a_network_with_experts_is_folded_and_agrees():
    spec = ModelSpec("e", "lite-unet", {**SMALL, "experts": 2}, ("grey",), size=64)
    torch.manual_seed(0)
    net = networks.build("lite-unet", 1, 1, **spec.arguments).eval()
    for name, value in net.corrector.named_buffers():
        value.copy_(torch.randn(value.shape) * 0.05 + (name.endswith("scale")) * 1.5)
    model = from_state(spec, net.state_dict())
    folded = accelerate._folded(model.net)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    x = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(folded(x), model.net(x), atol=1e-3)
    runner = accelerate.accelerated(model, torch.device("cpu"))
    assert torch.corrcoef(torch.stack([runner.logits(x).flatten(), model.net(x).flatten()]))[0, 1] > 0.99
