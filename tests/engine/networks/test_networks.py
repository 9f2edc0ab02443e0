from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from napari_unet_tumour.engine import networks
from napari_unet_tumour.engine.model import from_state, load, save
from napari_unet_tumour.models.spec import ModelSpec

SMALL: dict[str, dict[str, Any]] = {
    "dynunet": {"filters": [8, 8, 16, 16]},
    "basic-unet": {"features": [8, 8, 8, 16, 16, 8]},
    "unet": {"channels": [8, 8, 16, 16]},
    "attention-unet": {"channels": [8, 8, 16, 16]},
    "segresnet": {"init_filters": 8},
    "flexible-unet": {"backbone": "resnet10", "decoder_channels": [16, 16, 8, 8, 8]},
    "lite-unet": {"decoder": [16, 16, 8, 8, 8]},
    "unet-plus-plus": {"features": [8, 8, 8, 16, 16, 8]},
    "tutorial-unet": {"filters": [8, 8, 16, 16]},
}


@pytest.mark.parametrize("name", networks.NETWORKS)
class TestEveryNetwork:
    def test_logits_have_the_planes_size(self, name: str) -> None:
        torch.manual_seed(0)
        net = networks.build(name, 2, 3, **SMALL[name]).eval()
        with torch.inference_mode():
            for shape in ((64, 64), (96, 96), (64, 32)):
                logits = net(torch.randn(2, 2, *shape))
                assert logits.shape == (2, 3, *shape)
                assert logits.dtype == torch.float32
            # Raw logits: neither sigmoid nor softmax has been applied.
            assert float(logits.min()) < 0 or float(logits.max()) > 1
            assert not torch.allclose(logits.sum(1), torch.ones(()))

    def test_gradient_reaches_every_weight(self, name: str) -> None:
        torch.manual_seed(0)
        net = networks.build(name, 1, 1, **SMALL[name]).train()
        net(torch.randn(2, 1, 64, 64)).square().sum().backward()
        idle = [key for key, weight in net.named_parameters() if weight.grad is None]
        # MONAI's: an efficientnet's classifier, and the heads of shallower UNet++ outputs.
        assert not [
            key
            for key in idle
            if "_fc" not in key and "_conv_head" not in key and "_bn1" not in key[:20] and "final_conv_0_" not in key
        ]

    def test_saved_and_loaded_it_gives_the_same(self, name: str, tmp_path: Any) -> None:
        torch.manual_seed(0)
        net = networks.build(name, 1, 1, **SMALL[name]).eval()
        spec = ModelSpec(name, name, SMALL[name], size=64)
        save(tmp_path / "m.safetensors", spec, net.state_dict(), dtype=torch.float32)
        x = torch.randn(1, 1, 64, 64)
        with torch.inference_mode():
            assert torch.equal(load(tmp_path / "m.safetensors").net(x), net(x))
            assert torch.equal(from_state(spec, net.state_dict()).net(x), net(x))


def _trainable(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters() if weight.requires_grad)


def test_the_tutorials_network_has_its_number_of_weights() -> None:
    with torch.device("meta"):
        assert _trainable(networks.build("tutorial-unet", 3, 1)) == 31_043_521


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_tutorials_doubling_is_torchs_transposed_convolution(layout: torch.memory_format) -> None:
    net = networks.build("tutorial-unet", 3, 1, filters=(4, 6, 8))
    ours = net.get_submodule("ups.0")
    assert isinstance(ours, nn.ConvTranspose2d)
    theirs = nn.ConvTranspose2d(8, 6, 2, stride=2)
    theirs.load_state_dict(ours.state_dict())
    torch.manual_seed(0)
    x, found = torch.randn(2, 8, 5, 7).to(memory_format=layout), []
    for layer in (ours, theirs):
        given = x.clone().requires_grad_()
        answer = layer(given)
        answer.square().sum().backward()
        found.append([answer, given.grad, layer.weight.grad, layer.bias.grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_the_shipped_network_is_monais_dynunet() -> None:
    from monai.networks.nets.dynunet import DynUNet

    filters = [16, 32, 64, 128, 192, 256]
    torch.manual_seed(0)
    theirs = DynUNet(2, 1, 1, [3] * 6, [1, 2, 2, 2, 2, 2], [2] * 5, filters=filters, norm_name="batch").eval()
    ours = networks.NETWORKS["dynunet"](in_channels=1, out_channels=1, filters=tuple(filters)).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(ours(x), theirs(x))


# The published ImageNet encoders' weights without 1280 filters and 1000 classes on top.
@pytest.mark.parametrize(
    ("variant", "deepest", "weights"), [("lite0", 320, 4_652_008), ("lite1", 320, 5_416_680), ("lite2", 352, 6_092_072)]
)
def test_lite_encoders_have_the_published_ones_weights(variant: str, deepest: int, weights: int) -> None:
    with torch.device("meta"):
        net = networks.build("lite-unet", 3, 1, encoder=variant)
    assert isinstance(net.encoder, nn.Module)
    assert _trainable(net.encoder) == weights - deepest * 1280 - 2 * 1280 - 1281 * 1000


def test_an_unknown_lite_encoder_is_named() -> None:
    with pytest.raises(ValueError, match="'lite9': choose lite0, lite1, lite2"):
        networks.build("lite-unet", 1, 1, encoder="lite9")


def test_monai_is_imported_only_for_its_own_networks() -> None:
    code = (
        "import sys; from napari_unet_tumour.engine import networks, model; "
        "from napari_unet_tumour.engine.inference import segment; "
        "networks.build('tutorial-unet', 1, 1, filters=[2, 2, 2]); print('monai' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
