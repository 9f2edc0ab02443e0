from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from napari_unet_tumour.engine import fast, networks
from napari_unet_tumour.engine.model import Model
from napari_unet_tumour.errors import DeviceError
from napari_unet_tumour.spec import ModelSpec

CPU = torch.device("cpu")


def test_the_quick_copy_agrees_and_leaves_the_model_alone(small_model: Model) -> None:
    before = {name: weight.clone() for name, weight in small_model.net.state_dict().items()}
    runner = fast.runner(small_model, CPU)
    x = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        truth = small_model.net(x)
    assert float((runner.logits(x) - truth).square().mean().sqrt()) < 0.05 * float(truth.std())
    for name, weight in small_model.net.state_dict().items():
        assert torch.equal(weight, before[name])
    assert fast.runner(small_model, CPU) is runner


def test_batch_normalisation_is_folded_exactly(small_model: Model) -> None:
    folded = fast._folded(small_model.net)
    assert not [layer for layer in folded.modules() if isinstance(layer, nn.BatchNorm2d)]
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), small_model.net(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["tutorial-unet", "unet", "attention-unet"])
def test_other_networks_fold_exactly_too(name: str) -> None:
    torch.manual_seed(0)
    net = networks.build(name, 1, 2).eval()
    for weight in net.state_dict().values():
        if weight.is_floating_point() and weight.ndim == 1:
            weight.uniform_(0.5, 1.5)
    folded = fast._folded(net)
    assert not [layer for layer in folded.modules() if isinstance(layer, nn.BatchNorm2d)]
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), net(x), rtol=1e-3, atol=1e-3 * float(net(x).std()))


def test_a_network_that_torch_cannot_follow_runs_as_it_is() -> None:
    class Winding(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if float(x.sum()) > 0 else x - 1

    model = Model(ModelSpec("winding", "none"), Winding().eval(), "3" * 12)
    assert float(fast.runner(model, CPU).logits(torch.ones(1, 1, 64, 64)).mean()) == 2


def test_a_network_that_bf16_spoils_runs_in_float32() -> None:
    class Picky(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + 1000) - 1000

    model = Model(ModelSpec("picky", "none"), Picky().eval(), "4" * 12)
    runner = fast.runner(model, CPU)
    assert runner.dtype == torch.float32
    x = torch.rand(2, 1, 64, 64)
    assert float((runner.logits(x) - x).abs().max()) < 1e-3


def test_devices() -> None:
    assert fast.pick_device("cpu") == CPU
    assert fast.pick_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(DeviceError, match="choose auto, cpu, cuda or mps"):
        fast.pick_device("tpu")
    assert fast.describe_device("cpu").startswith("CPU, ")
    if not torch.cuda.is_available():
        assert fast.describe_device("auto") == fast.describe_device("cpu")
        with pytest.raises(DeviceError, match=r"A GPU \(cuda\) was asked for but"):
            fast.pick_device("cuda")


@pytest.mark.parametrize(("value", "threads"), [("1", 1), ("many", None)])
def test_the_environment_decides_the_threads(value: str, threads: int | None) -> None:
    code = (
        "import torch; from napari_unet_tumour.engine import fast; before = torch.get_num_threads(); "
        "fast._use_threads(); print(before, torch.get_num_threads())"
    )
    env: dict[str, Any] = {**os.environ, fast.THREADS: value}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after == (threads or before)
