from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_unet_tumour import load_model, scans
from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.engine import networks
from napari_unet_tumour.engine.inference import accelerate, torch_predictor
from napari_unet_tumour.engine.inference import segment as segmenting
from napari_unet_tumour.engine.model import Model
from napari_unet_tumour.errors import DeviceError
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.runtime import model as runtimes
from napari_unet_tumour.settings import SegmentSettings

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


def test_the_quick_copy_agrees_and_leaves_the_model_alone(small_model: Model) -> None:
    before = {name: weight.clone() for name, weight in small_model.net.state_dict().items()}
    runner = accelerate.accelerated(small_model, CPU)
    x = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        truth = small_model.net(x)
    assert float((runner.logits(x) - truth).square().mean().sqrt()) < 0.05 * float(truth.std())
    for name, weight in small_model.net.state_dict().items():
        assert torch.equal(weight, before[name])
    assert accelerate.accelerated(small_model, CPU) is runner


def test_batch_normalisation_is_folded_exactly(small_model: Model) -> None:
    folded = accelerate._folded(small_model.net)
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
    folded = accelerate._folded(net)
    assert not [layer for layer in folded.modules() if isinstance(layer, nn.BatchNorm2d)]
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), net(x), rtol=1e-3, atol=1e-3 * float(net(x).std()))


@pytest.mark.parametrize(
    ("before", "after", "stride", "size"), [(1, 1, 1, 3), (0, 1, 2, 3), (1, 2, 2, 5), (2, 2, 1, 5)]
)
@pytest.mark.parametrize("side", [16, 17])
def test_padding_is_folded_exactly(before: int, after: int, stride: int, size: int, side: int) -> None:
    convolution = nn.Conv2d(3, 3, size, stride, groups=3)
    net = nn.Sequential(nn.ConstantPad2d((before, after, before, after), 0.0), convolution).eval()
    folded = accelerate._folded(net)
    assert not [layer for layer in folded.modules() if isinstance(layer, nn.ConstantPad2d)]
    x = torch.randn(2, 3, side, side)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), net(x))


@pytest.mark.parametrize(
    "pad", [nn.ConstantPad2d(1, 0.5), nn.ConstantPad2d((1, 0, 1, 0), 0.0), nn.ConstantPad2d(-1, 0.0)]
)
def test_padding_that_a_convolution_cannot_do_stays(pad: nn.Module) -> None:
    net = nn.Sequential(pad, nn.Conv2d(1, 1, 3)).eval()
    x = torch.randn(2, 1, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(accelerate._folded(net)(x), net(x))


def test_bfloat16_begins_behind_the_encoder() -> None:
    run = accelerate.accelerated(load_model(), CPU, "bfloat16")
    assert (run.dtype, run.feed) == (torch.bfloat16, torch.float32)
    kinds = {name.split(".")[0]: weight.dtype for name, weight in run.net.named_parameters()}
    assert kinds["encoder"] == torch.float32
    assert kinds["decoder"] == kinds["head"] == torch.bfloat16


def test_a_network_that_torch_cannot_follow_runs_as_it_is() -> None:
    class Winding(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if float(x.sum()) > 0 else x - 1

    model = Model(ModelSpec("winding", "none"), Winding().eval(), "3" * 12)
    assert float(accelerate.accelerated(model, CPU).logits(torch.ones(1, 1, 64, 64)).mean()) == 2


def test_a_network_that_bf16_spoils_runs_in_float32() -> None:
    class Picky(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + 1000) - 1000

    model = Model(ModelSpec("picky", "none"), Picky().eval(), "4" * 12)
    runner = accelerate.accelerated(model, CPU)
    assert runner.dtype == torch.float32
    x = torch.rand(2, 1, 64, 64)
    assert float((runner.logits(x) - x).abs().max()) < 1e-3


def test_devices() -> None:
    assert accelerate.pick_device("cpu") == CPU
    assert accelerate.pick_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(DeviceError, match="choose auto, cpu, cuda or mps"):
        accelerate.pick_device("tpu")
    assert accelerate.describe_device("cpu").startswith("CPU, ")
    if not torch.cuda.is_available():
        assert accelerate.describe_device("auto") == accelerate.describe_device("cpu")
        with pytest.raises(DeviceError, match=r"A GPU \(cuda\) was asked for but"):
            accelerate.pick_device("cuda")


@pytest.mark.parametrize(("value", "threads"), [("1", 1), ("many", None)])
def test_the_environment_decides_the_threads(value: str, threads: int | None) -> None:
    code = (
        "import torch; from napari_unet_tumour.engine.inference import accelerate; before = torch.get_num_threads(); "
        "accelerate._use_threads(); print(before, torch.get_num_threads())"
    )
    env: dict[str, Any] = {**os.environ, accelerate.THREADS: value}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after == (threads or before)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["onnx", "torch"])
def test_the_quick_path_draws_the_masks_of_eager_float32_on_real_scans(
    path: str, real_scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not registry.entries():
        pytest.skip("no model ships yet")
    model = load_model()
    ask = SegmentSettings(threshold=model.spec.threshold, device="cpu")
    arrays = [np.asarray(scans.read(f).array) for f in sorted((real_scans / "btp").glob("0[12]/*_Scan_T1.nii.gz"))]
    monkeypatch.setenv(runtimes.CHOICE, path)
    quick = [segmenting.segment(model, a, layout_of(a.shape), ask).mask for a in arrays]
    plain = accelerate.Runner(model.net, CPU, torch.float32)
    monkeypatch.setenv(runtimes.CHOICE, "torch")
    monkeypatch.setattr(torch_predictor, "accelerated", lambda *given: plain)
    eager = [segmenting.segment(model, a, layout_of(a.shape), ask).mask for a in arrays]
    both = sum(int(((a > 0) & (b > 0)).sum()) for a, b in zip(quick, eager, strict=True))
    assert 2 * both / sum(int((a > 0).sum()) for a in (*quick, *eager)) >= 0.998


def test_a_precision_that_is_asked_for_is_taken(small_model: Model) -> None:
    assert accelerate.accelerated(small_model, CPU, "float32").dtype == torch.float32
    assert accelerate.describe_device("cpu", "float32").endswith(", float32")
    assert accelerate.describe_device("cpu").split(", ")[-1] in ("bfloat16", "float32")
    assert accelerate.accelerated(small_model, CPU).note == ""


def test_a_precision_that_changes_the_prediction_is_refused_or_noted() -> None:
    class Picky(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + 1000) - 1000

    model = Model(ModelSpec("picky", "none"), Picky().eval(), "5" * 12)
    with pytest.raises(DeviceError, match="bfloat16 changes the answers of picky"):
        accelerate.accelerated(model, CPU, "bfloat16")
    if accelerate._types(CPU, "auto")[0] == torch.bfloat16:
        assert "in float32" in accelerate.accelerated(model, CPU).note


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_recorded_batch_gives_what_the_network_gives(small_model: Model) -> None:
    run = accelerate.accelerated(small_model, torch.device("cuda"))
    for seed in range(5):
        x = torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(seed))
        with torch.inference_mode():
            truth = small_model.net(x)
        assert float((run.logits(x).cpu() - truth).square().mean().sqrt()) < 0.05 * float(truth.std())


@pytest.mark.parametrize(("shift", "agrees"), [(0.0, True), (5.0, False)])
def test_both_answers_of_a_twofold_network_are_compared(shift, agrees):
    class Shifted(nn.Module):
        def forward(self, x):
            return torch.cat([x, x], 1) + shift

    probe = accelerate.probe_of(1)
    candidate = accelerate.Runner(Shifted(), torch.device("cpu"), torch.float32, twofold=True)
    assert accelerate._agrees(candidate, probe, torch.cat([probe, probe], 1)) == agrees
