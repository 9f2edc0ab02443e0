"""Predictions in ONNX Runtime are those of torch; where it cannot run, torch is used, with a note."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.engine import model as models
from napari_unet_tumour.engine import networks
from napari_unet_tumour.engine.inference import loading, onnx_export, segment
from napari_unet_tumour.engine.inference.torch_predictor import TorchPredictor
from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.phantom import phantom
from napari_unet_tumour.runtime import graph as graphs
from napari_unet_tumour.runtime import model as runtimes
from napari_unet_tumour.runtime import processor
from napari_unet_tumour.runtime.model import RuntimeModel, Trouble
from napari_unet_tumour.runtime.predictor import RuntimePredictor
from napari_unet_tumour.settings import SegmentSettings

CPU = SegmentSettings(device="cpu", tiling="whole")
SMALL: dict[str, dict[str, Any]] = {
    "dynunet": {"filters": [8, 16, 32]},
    "basic-unet": {"features": [8, 8, 16, 16, 16, 8]},
    "unet": {"channels": [8, 16, 32]},
    "attention-unet": {"channels": [8, 16, 32]},
    "segresnet": {"init_filters": 8},
    "lite-unet": {"decoder": [16, 16, 8, 8, 8]},
    "tutorial-unet": {"filters": [8, 8, 16, 16, 32]},
}
EXPERTS = {**SMALL["lite-unet"], "experts": 2}


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """A cache folder of its own, nothing kept from other tests, and a processor for which the runtime is chosen."""
    monkeypatch.setenv(graphs.HOME, str(tmp_path / "home"))
    monkeypatch.setenv(runtimes.CHOICE, "onnx")
    monkeypatch.setattr(graphs, "_kept", {})
    monkeypatch.setattr(runtimes, "_opened", {})


def written(path, name="dynunet", arguments=None, channels=("grey",), labels=("background", "tumour"), **more):
    """Write a model with random weights, all of whose vectors are random too, and return its path."""
    arguments = SMALL[name] if arguments is None else arguments
    spec = ModelSpec("small", name, arguments, channels, labels, size=64, **more)
    torch.manual_seed(0)
    net = networks.build(name, spec.in_channels, spec.out_channels, **arguments)
    for x in torch.randn(3, 2, spec.in_channels, 64, 64):
        net(x)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    for key, value in state.items():
        if any(part in key for part in ("corrector.", "second.gate", "second.share", "second.centre")):
            state[key] = torch.rand(value.shape) * 0.2 + 0.1
    models.save(path, spec, state)
    return path


def volume(planes=3, channels=1):
    return np.random.default_rng(0).random((planes, channels, 50, 70), np.float32)


def probability(model, settings=CPU, array=None):
    array = volume(channels=model.spec.in_channels) if array is None else array
    return segment.segment(model, array, layout_of(array.shape, "zcyx"), settings).probability.astype(int)


def in_torch(path, monkeypatch, settings=CPU):
    monkeypatch.setenv(runtimes.CHOICE, "torch")
    return probability(models.load(path), settings)


@pytest.mark.parametrize("name", SMALL)
def test_every_network_answers_as_in_torch(name, tmp_path, monkeypatch):
    path = written(tmp_path / "a.safetensors", name)
    model = loading.load_for(path, CPU)
    assert isinstance(model, RuntimeModel)
    assert abs(probability(model) - in_torch(path, monkeypatch)).max() <= 1


@pytest.mark.parametrize(
    "more",
    [
        {"labels": ("background", "core", "oedema")},
        {"channels": ("T1", "T2", "FLAIR")},
        {"name": "lite-unet", "arguments": EXPERTS},
        {"name": "lite-unet", "arguments": EXPERTS, "labels": ("background", "core", "oedema"), "channels": ("a", "b")},
        {"name": "lite-unet", "arguments": {**EXPERTS, "gates": 1}},
        {"name": "lite-unet", "arguments": {**EXPERTS, "experts": 0}},
    ],
)
def test_labels_channels_experts_and_second_networks(more, tmp_path, monkeypatch):
    path = written(tmp_path / "a.safetensors", **more, flip_size=96)
    for settings in (CPU, replace(CPU, flip_tta=True), replace(CPU, tiling="tiled", downsample=2)):
        model = loading.load_for(path, settings)
        assert isinstance(model, RuntimeModel)
        assert model.twofold == ("gates" in more.get("arguments", {}))
        with monkeypatch.context() as now:
            found, truth = probability(model, settings), in_torch(path, now, settings)
        assert found.shape == truth.shape
        # Where two answers are merged, one pixel on the edge of a piece may take the other one.
        assert (abs(found - truth) > 1).mean() < (1e-3 if model.twofold else 1e-9), settings


def test_a_planes_answer_does_not_depend_on_its_company(tmp_path):
    model = loading.load_for(written(tmp_path / "a.safetensors"), CPU)
    array = volume(9)
    np.testing.assert_array_equal(probability(model, array=array)[4:5], probability(model, array=array[4:5]))


def test_a_graph_is_made_once_and_found_by_the_next_process(tmp_path, monkeypatch):
    path = written(tmp_path / "a.safetensors")
    assert isinstance(loading.load_for(path, CPU, export=False), models.Model)
    assert isinstance(loading.load_for(path, CPU), RuntimeModel)
    assert [one.suffix for one in graphs.folder().iterdir()] == [".graph"]
    monkeypatch.setattr(graphs, "_kept", {})
    monkeypatch.setattr(runtimes, "_opened", {})
    assert isinstance(loading.load_for(path, CPU, export=False), RuntimeModel)


def test_another_models_graph_is_not_taken(tmp_path):
    one, other = (written(tmp_path / f"{name}.safetensors", threshold=t) for name, t in (("a", 0.5), ("b", 0.6)))
    loading.load_for(one, CPU)
    assert isinstance(loading.load_for(other, CPU, export=False), models.Model)


def test_a_cache_folder_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv(graphs.HOME, str(blocked))
    path = written(tmp_path / "a.safetensors")
    assert isinstance(loading.load_for(path, CPU), RuntimeModel)
    assert blocked.read_text() == "no folder"


@pytest.mark.parametrize("damage", [b"", b"no graph at all", None])
def test_a_damaged_graph_is_made_anew(damage, tmp_path, monkeypatch):
    path = written(tmp_path / "a.safetensors")
    loading.load_for(path, CPU)
    file = next(graphs.folder().iterdir())
    file.write_bytes(file.read_bytes()[:-1000] if damage is None else damage)
    monkeypatch.setattr(graphs, "_kept", {})
    monkeypatch.setattr(runtimes, "_opened", {})
    assert isinstance(loading.load_for(path, CPU, export=False), models.Model)
    assert isinstance(loading.load_for(path, CPU), RuntimeModel)


@pytest.mark.parametrize("what", ["answer", "onnx", "names"])
def test_a_graph_that_does_not_agree_leaves_the_work_to_torch_which_says_so(what, tmp_path):
    path = written(tmp_path / "a.safetensors")
    graph = onnx_export.export(models.load(path))
    assert graph is not None
    wrong = {"answer": graph.answer * 1.1, "onnx": graph.onnx[:-100], "names": (*graph.names, "another.weight")}
    graphs.keep(replace(graph, **{what: wrong[what]}))
    found = loading.load_for(path, CPU)
    assert isinstance(found, models.Model)
    ticks = list(segment.iter_segment_planes(found, volume(2), CPU))
    assert "in another way than torch" in ticks[-1].message


def test_no_runtime_or_no_avx2_leaves_the_work_to_torch_which_says_so(tmp_path, monkeypatch):
    path = written(tmp_path / "a.safetensors")
    with monkeypatch.context() as now:
        now.setattr(processor, "is_wanting", lambda: True)
        assert runtimes.open_file(path) == Trouble("this processor has no AVX2: working with torch")
        ticks = list(segment.iter_segment_planes(loading.load_for(path, CPU), volume(2), CPU))
        assert "no AVX2" in ticks[-1].message
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda name: None)
    found = loading.load_for(path, CPU)
    assert isinstance(found, models.Model)
    assert "not installed" in list(segment.iter_segment_planes(found, volume(2), CPU))[-1].message


@pytest.mark.parametrize("settings", [replace(CPU, precision="bfloat16"), replace(CPU, device="cuda")])
def test_other_numbers_and_other_devices_are_torchs(settings):
    assert not runtimes.applies(settings)


def test_bfloat16_processors_keep_torch_unless_float32_is_asked_for(monkeypatch):
    monkeypatch.delenv(runtimes.CHOICE)
    monkeypatch.setattr(processor, "has_bfloat16", lambda: True)
    assert not runtimes.applies(CPU)
    assert runtimes.applies(replace(CPU, precision="float32"))


def test_a_damaged_model_is_named_as_torch_would(tmp_path):
    path = written(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match="cut or damaged"):
        loading.load_for(path, CPU)


def test_the_shipped_models_have_their_graphs() -> None:
    for entry in registry.entries():
        if entry.shipped:
            assert isinstance(runtimes.open_file(entry.path), RuntimeModel), "run scripts/ship_graph.py"


def test_a_model_that_torch_has_loaded_runs_in_onnx_runtime_too() -> None:
    model = models.load(registry.find("default").path)
    assert isinstance(segment.predictor(model, CPU), RuntimePredictor)
    assert isinstance(segment.predictor(model, replace(CPU, precision="bfloat16")), TorchPredictor)


def test_a_run_that_is_left_drops_what_waits(tmp_path):
    model = loading.load_for(written(tmp_path / "a.safetensors"), CPU)
    steps = segment.iter_segment_planes(model, volume(40), CPU)
    next(steps)
    steps.close()
    assert model.session.pool.submit(int).result(10) == 0


AREA = 0


def classifier(area: float) -> dict[str, Any]:
    """Return a classifier that takes components of less than `area` working pixels for no tumour."""
    hidden = np.zeros((37, 2))
    hidden[AREA] = 1, -1
    # Standardised features are clipped to +-6, hence the mean.
    net = {"hidden": hidden.tolist(), "hidden_bias": [0, 0], "out": [1, -1], "out_bias": 5 - np.log(area)}
    return {"mean": [5.0] * 37, "scale": [1.0] * 37, "networks": [net], "cut": 0.0}


@pytest.mark.parametrize(
    ("area", "checks", "flip_tta", "experts", "left"),
    [
        (1, True, True, 0, (True, True, True)),
        (700, True, True, 0, (False, False, True)),
        (700, True, False, 1, (False, False, True)),
        (1e5, False, True, 0, (True, True, True)),
    ],
)
def test_torch_and_the_runtime_leave_out_the_same_components(area, checks, flip_tta, experts, left, monkeypatch):
    path = registry.find("default").path
    spec = models.load(path).spec
    spec = replace(spec, components=classifier(area), arguments={**spec.arguments, "experts": experts})
    in_runtime = replace(runtimes.open_file(path), spec=spec)
    in_torch = replace(models.load(path), spec=spec)
    monkeypatch.setenv(runtimes.CHOICE, "torch")
    settings = replace(
        CPU,
        flip_tta=flip_tta,
        threshold=spec.threshold,
        min_object_size=30,
        remove_isolated=False,
        check_components=checks,
    )
    assert isinstance(segment.predictor(in_runtime, settings), RuntimePredictor)
    assert isinstance(segment.predictor(in_torch, settings), TorchPredictor)
    array = np.asarray(phantom(seed=1, shape=(8, 200, 220))[0].array)[2:5, None]
    layout = layout_of(array.shape, "zcyx")
    found, truth = (segment.segment(one, array, layout, settings).mask for one in (in_runtime, in_torch))
    assert tuple(one.any() for one in found) == left
    assert (found != truth).sum() <= 4
