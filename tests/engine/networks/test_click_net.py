from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.clicks.answer import INSIDE, Click, Known
from napari_unet_tumour.clicks.picture import CHANNELS
from napari_unet_tumour.clicks.window import SIDE
from napari_unet_tumour.engine.clicks.predict import in_torch
from napari_unet_tumour.engine.finetuning.add_classes import add_classes
from napari_unet_tumour.engine.model import from_state, load, save, to_bytes
from napari_unet_tumour.engine.networks.click_net import ClickNet
from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.models.spec import ModelSpec, read_spec
from napari_unet_tumour.runtime.clicks import answer_plane, iter_outline_volume

State = dict[str, torch.Tensor]
WIDTHS = {"widths": [4, 6, 8]}


@pytest.fixture
def net() -> ClickNet:
    torch.manual_seed(0)
    return ClickNet(**WIDTHS).eval()


@pytest.fixture
def spec(small_spec: ModelSpec) -> ModelSpec:
    from dataclasses import replace

    return replace(small_spec, clicks=WIDTHS)


def test_a_picture_becomes_a_logit_per_pixel(net: ClickNet) -> None:
    assert net(torch.zeros(3, len(CHANNELS), SIDE, SIDE)).shape == (3, 1, SIDE, SIDE)


def test_it_is_made_of_what_other_runtimes_know(net: ClickNet) -> None:
    known = (torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.ReLU, torch.nn.Identity)
    leaves = [one for one in net.modules() if not list(one.children())]
    assert all(isinstance(one, known) for one in leaves)


def test_the_shipped_widths_stay_small() -> None:
    assert sum(one.numel() for one in ClickNet().parameters()) < 600_000


def test_the_model_file_keeps_the_click_network(
    tmp_path: Any, spec: ModelSpec, small_state: State, net: ClickNet
) -> None:
    path = tmp_path / "m.safetensors"
    save(path, spec, small_state, torch.float32, net.state_dict())
    model = load(path)
    assert read_spec(path).clicks == WIDTHS
    assert model.clicks is not None
    x = torch.randn(2, len(CHANNELS), SIDE, SIDE)
    with torch.inference_mode():
        assert torch.equal(model.clicks(x), net(x))


def test_the_automatic_mode_does_not_feel_it(spec: ModelSpec, small_state: State, net: ClickNet) -> None:
    x = torch.randn(2, 1, 64, 64)
    with_it, without = (load(to_bytes(spec, small_state, clicks=one)) for one in (net.state_dict(), None))
    with torch.inference_mode():
        assert torch.equal(with_it.net(x), without.net(x))
    assert without.clicks is None
    assert without.spec.clicks == {}


def test_a_file_without_it_is_as_before(small_spec: ModelSpec, small_state: State) -> None:
    assert load(to_bytes(small_spec, small_state)).clicks is None


def test_models_made_from_it_keep_it(spec: ModelSpec, small_state: State, net: ClickNet) -> None:
    model = load(to_bytes(spec, small_state, torch.float32, net.state_dict()))
    child = load(add_classes(model, ["oedema"]))
    assert child.clicks is not None
    x = torch.randn(1, len(CHANNELS), SIDE, SIDE)
    with torch.inference_mode():
        assert torch.allclose(child.clicks(x), net(x), atol=0.05)


@pytest.mark.parametrize("clicks", [{"widths": []}, {"width": [4]}, {"widths": [4, 8, 8]}, {"widths": "many"}])
def test_a_click_network_that_does_not_fit_is_one_line(
    spec: ModelSpec, small_state: State, net: ClickNet, clicks: dict[str, Any], tmp_path: Any
) -> None:
    import safetensors.torch

    from napari_unet_tumour.models.spec import KEY

    data = to_bytes(spec, small_state, clicks=net.state_dict())
    from dataclasses import replace

    broken = safetensors.torch.save(safetensors.torch.load(data), {KEY: replace(spec, clicks=clicks).to_json()})
    with pytest.raises(ModelError) as caught:
        load(broken)
    assert "\n" not in str(caught.value)


def test_a_models_answer_obeys(spec: ModelSpec, small_state: State, net: ClickNet) -> None:
    plane = np.random.default_rng(0).integers(0, 900, (1, 90, 110)).astype(np.int16)
    for model in (load(to_bytes(spec, small_state, clicks=net.state_dict())), from_state(spec, small_state)):
        found = answer_plane(
            in_torch(model), plane, [Click(30, 40), Click(70, 80, -1)], Known(base=np.full((90, 110), 200, np.uint8))
        )
        assert found.shape == (90, 110)
        assert found.dtype == np.uint8
        assert found[30, 40] >= INSIDE
        assert found[70, 80] < INSIDE


def test_company_does_not_change_an_answer(spec: ModelSpec, small_state: State, net: ClickNet) -> None:
    run = in_torch(load(to_bytes(spec, small_state, clicks=net.state_dict()))).net
    x = np.random.default_rng(0).normal(size=(3, len(CHANNELS), SIDE, SIDE)).astype(np.float32)
    np.testing.assert_array_equal(run(x)[:1], run(x[:1]))


def test_too_many_channels_are_refused(small_spec: ModelSpec, small_state: State) -> None:
    with pytest.raises(ModelError, match="channel"):
        answer_plane(in_torch(from_state(small_spec, small_state)), np.zeros((2, 40, 40)), [Click(3, 3)])


def test_a_volume_is_outlined_slice_by_slice(small_spec: ModelSpec, small_state: State) -> None:
    rows, columns = np.ogrid[:96, :96]
    disc = np.hypot(rows - 40, columns - 50) <= 15
    rng = np.random.default_rng(0)
    planes = rng.integers(0, 20, (7, 1, 96, 96)) + np.where(rows < 80, 80, 10)
    planes[1:6, 0, disc] += 100
    steps = iter_outline_volume(in_torch(from_state(small_spec, small_state)), planes, 3, [Click(40, 50)])
    ticks = []
    found = exhaust(steps, ticks.append)
    assert {tick.values["plane"] for tick in ticks} == set(found)
    assert {1, 2, 3, 4, 5} <= set(found)
    mask = found[2] >= INSIDE
    assert 2 * (mask & disc).sum() / (mask.sum() + disc.sum()) > 0.8
