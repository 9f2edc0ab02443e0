"""Clicks are answered in ONNX Runtime as in torch."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from napari_unet_tumour.clicks.answer import Click, Known
from napari_unet_tumour.clicks.grey_values import guess
from napari_unet_tumour.engine import model as models
from napari_unet_tumour.engine import networks
from napari_unet_tumour.engine.clicks.predict import in_torch, load_clicks
from napari_unet_tumour.engine.networks.click_net import ClickNet
from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.phantom import phantom
from napari_unet_tumour.runtime import clicks, graph
from napari_unet_tumour.runtime import model as runtimes
from napari_unet_tumour.runtime.clicks import answer_plane, open_file

PLANE = np.asarray(phantom(seed=1, shape=(5, 120, 140))[0].array)[2:3]
ASKED = [Click(60, 70), Click(20, 30, -1)]
FRESH = """
import sys
import numpy as np
from napari_unet_tumour.clicks.answer import Click
from napari_unet_tumour.engine.clicks.predict import load_clicks
from napari_unet_tumour.models import registry
from napari_unet_tumour.runtime.clicks import answer_plane
model = load_clicks(registry.find("default").path)
assert answer_plane(model, np.arange(4096).reshape(1, 64, 64), [Click(3, 3)]).any()
print(sorted({"torch", "monai"} & set(sys.modules)))
"""


WIDTHS = {"widths": [4, 6, 8]}


def written(path, clicks=True):
    """Write a model with random weights, perhaps with a click network whose graph is not known yet."""
    spec = ModelSpec("small", "unet", {"channels": [8, 16, 32]}, size=64, clicks=WIDTHS if clicks else {})
    torch.manual_seed(0)
    net = networks.build("unet", 1, 1, **spec.arguments)
    models.save(path, spec, net.state_dict(), clicks=ClickNet(**WIDTHS).state_dict() if clicks else None)
    return path


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv(graph.HOME, str(tmp_path / "home"))
    monkeypatch.setattr(clicks, "_opened", {})
    monkeypatch.setattr(graph, "_kept", {})
    return written(tmp_path / "own.safetensors")


def test_the_shipped_model_answers_as_in_torch():
    path = registry.find("default").path
    found, truth = open_file(path), in_torch(models.load(path))
    assert found is not None, "run scripts/ship_graph.py"
    assert found is open_file(path.read_bytes())
    for known in (None, Known(base=np.full(PLANE.shape[1:], 200, np.uint8))):
        one, other = (answer_plane(model, PLANE, ASKED, known).astype(int) for model in (found, truth))
        assert abs(one - other).max() <= 1
    assert one.any()


def test_it_needs_no_torch():
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_graph_is_exported_once_and_kept_on_disk(own, monkeypatch):
    assert open_file(own) is None
    found = load_clicks(own)
    monkeypatch.setattr(graph, "_kept", {})
    monkeypatch.setattr(clicks, "_opened", {})
    again = open_file(own)
    assert again is not None
    truth = answer_plane(in_torch(models.load(own)), PLANE, ASKED).astype(int)
    for one in (found, again):
        assert abs(answer_plane(one, PLANE, ASKED) - truth).max() <= 1


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setenv(runtimes.CHOICE, "torch"),
        lambda patch: patch.setattr(clicks, "trouble", lambda: runtimes.Trouble("missing")),
        lambda patch: patch.setattr("napari_unet_tumour.runtime.session.Session.agrees", lambda *given: False),
    ],
    ids=["chosen", "missing", "other results"],
)
def test_else_torch_answers(own, monkeypatch, change):
    load_clicks(own)
    clicks._opened.clear()
    change(monkeypatch)
    assert open_file(own) is None
    truth = answer_plane(in_torch(models.load(own)), PLANE, ASKED)
    np.testing.assert_array_equal(answer_plane(load_clicks(own), PLANE, ASKED), truth)


def test_a_model_without_a_click_network_answers_by_grey_values(tmp_path):
    assert load_clicks(written(tmp_path / "plain.safetensors", clicks=False)).net is guess


def test_a_damaged_file_is_one_line(tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="broken"):
        load_clicks(path)
