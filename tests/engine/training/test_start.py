"""First weights: own models, an encoder's file under its published names, ImageNet's, and clear refusals."""

import re
from dataclasses import replace
from urllib.error import URLError

import pytest
import torch

from napari_unet_tumour.engine import model, networks
from napari_unet_tumour.engine.training.start import load_start
from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.spec import ModelSpec

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
    load_start(net, replace(tiny, start=str(tmp_path / "first.safetensors")), SPEC)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), first.parameters(), strict=True))


def test_a_model_of_another_network(tmp_path, tiny):
    other = replace(SPEC, arguments={"filters": [4, 8, 16]})
    model.save(tmp_path / "other.safetensors", other, built(other).state_dict())
    with pytest.raises(TrainingError, match="of another network"):
        load_start(built(SPEC), replace(tiny, start=str(tmp_path / "other.safetensors")), SPEC)


def test_an_encoders_file(tmp_path, tiny):
    source, net = built(FLEXIBLE, 1), built(FLEXIBLE, 2)
    torch.save(published(source), tmp_path / "b0.pth")
    load_start(net, replace(tiny, start=str(tmp_path / "b0.pth")), FLEXIBLE)
    stem = "_conv_stem.weight"
    assert torch.equal(net.encoder.state_dict()[stem], source.encoder.state_dict()[stem])
    torch.save({"a": torch.ones(1)}, tmp_path / "odd.pth")
    with pytest.raises(TrainingError, match="does not fit this network's encoder"):
        load_start(net, replace(tiny, start=str(tmp_path / "odd.pth")), FLEXIBLE)


def test_imagenet_is_downloaded_by_the_library_or_said(tiny, monkeypatch):
    source, net = built(FLEXIBLE, 1), built(FLEXIBLE, 2)
    asked = []
    monkeypatch.setattr(
        torch.hub, "load_state_dict_from_url", lambda url, **more: asked.append(url) or published(source)
    )
    load_start(net, replace(tiny, start="imagenet"), FLEXIBLE)
    assert "efficientnet-b0" in asked[0]

    def offline(url, **more):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(TrainingError, match=r"cannot be downloaded here: fetch https://.*--start"):
        load_start(net, replace(tiny, start="imagenet"), FLEXIBLE)
    with pytest.raises(TrainingError, match="at hand for flexible-unet"):
        load_start(built(SPEC), replace(tiny, start="imagenet"), SPEC)


def test_files_that_are_not_weights(tmp_path, tiny):
    (tmp_path / "text.pth").write_text("no weights")
    for name, said in (("text.pth", "read safely"), ("nowhere.pth", "is no file")):
        with pytest.raises(TrainingError, match=said):
            load_start(built(SPEC), replace(tiny, start=str(tmp_path / name)), SPEC)
