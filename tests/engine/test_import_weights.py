import pickle

import pytest
import torch
from safetensors.torch import save_file

from napari_unet_tumour.engine import model, networks
from napari_unet_tumour.engine.import_weights import import_weights
from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.spec import ModelSpec


@pytest.fixture
def net(tmp_path, monkeypatch):
    """A small network; a model of its kind, "base", is installed."""
    monkeypatch.setenv(registry.HOME, str(tmp_path / "home"))
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "shipped")
    registry.user_models_dir().mkdir(parents=True)
    spec = ModelSpec(
        "base", "unet", {"channels": [4, 8], "num_res_units": 0}, labels=("background", "lesion"), scores={"x": 1}
    )
    made = networks.build("unet", 1, 1, **spec.arguments)
    model.save(registry.user_models_dir() / "base.safetensors", spec, made.state_dict())
    return networks.build("unet", 1, 1, **spec.arguments)


@pytest.mark.parametrize("inside", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_plain_tensors_become_a_model(net, tmp_path, inside, prefix):
    state = {prefix + name: tensor for name, tensor in net.state_dict().items()}
    torch.save(state if inside is None else {inside: state, "epoch": 3}, tmp_path / "other.pt")
    entry = registry.import_(tmp_path / "other.pt", like="base", convert=import_weights)
    assert (entry.name, entry.spec.labels, entry.spec.scores) == ("other", ("background", "lesion"), {})
    planes = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model.load(entry.path).net(planes), net.eval()(planes), atol=1e-2, rtol=1e-2)


def test_safetensors_without_description_become_a_model(net, tmp_path):
    save_file(net.state_dict(), tmp_path / "raw.safetensors")
    assert registry.import_(tmp_path / "raw.safetensors", "mine", like="base", convert=import_weights).name == "mine"


class Evil:
    def __reduce__(self):
        return print, ("this must never run",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda path, net: path.write_bytes(pickle.dumps(Evil())), "more than plain tensors"),
        (lambda path, net: torch.save(net, path), "more than plain tensors"),
        (lambda path, net: torch.save({"epoch": 3}, path), "no state_dict"),
        (lambda path, net: path.write_bytes(b"PK\x03\x04 and no more"), "cut or damaged"),
        (lambda path, net: path.write_bytes(b""), "damaged"),
        (lambda path, net: torch.save({"w": torch.zeros(2)}, path), "lacks weights"),
    ],
)
def test_anything_else_is_refused_and_leaves_nothing(net, tmp_path, content, words, capsys):
    path = tmp_path / "bad.pt"
    content(path, net)
    with pytest.raises(ModelError, match=words):
        registry.import_(path, like="base", convert=import_weights)
    assert [one.name for one in registry.entries()] == ["base"]
    assert "never run" not in capsys.readouterr().out
