from __future__ import annotations

import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from napari_unet_tumour.engine import networks
from napari_unet_tumour.engine.model import from_state, load, save, to_bytes
from napari_unet_tumour.errors import ModelError, OutputError
from napari_unet_tumour.models.spec import KEY, ModelSpec, file_hash, read_spec

State = dict[str, torch.Tensor]


@pytest.fixture
def file(tmp_path: Path, small_spec: ModelSpec, small_state: State) -> Path:
    path = tmp_path / "small.safetensors"
    save(path, small_spec, small_state)
    return path


def test_one_file_rebuilds_everything(file: Path, small_spec: ModelSpec) -> None:
    model = load(file)
    assert replace(model.spec, version="") == small_spec
    assert model.spec.version
    assert model.spec == read_spec(file)
    assert model.hash == file_hash(file)
    assert not model.net.training
    assert {weight.dtype for weight in model.net.parameters()} == {torch.float32}
    assert not any(weight.is_meta for weight in model.net.state_dict().values())


def test_half_precision_changes_the_answer_little(file: Path, small_spec: ModelSpec, small_state: State) -> None:
    x = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        stored, exact = load(file).net(x), from_state(small_spec, small_state).net(x)
    assert 0 < float((stored - exact).abs().max()) < 0.02 * float(exact.std())


def test_path_text_and_bytes_are_one_model(file: Path) -> None:
    assert load(file) is load(str(file)) is load(file.read_bytes())


def test_a_changed_file_is_read_again(file: Path, small_spec: ModelSpec, small_state: State) -> None:
    first = load(file)
    save(file, replace(small_spec, name="other"), small_state)
    assert load(file).spec.name == "other"
    assert load(file).hash != first.hash


def test_a_module_that_is_used_twice_is_stored_once(tmp_path: Path, small_spec: ModelSpec) -> None:
    net = networks.build("dynunet", 1, 1, filters=[8, 16, 32]).eval()
    save(tmp_path / "m.safetensors", small_spec, net.state_dict(), torch.float32)
    with safe_open(tmp_path / "m.safetensors", "pt") as stored:
        assert not [name for name in stored.keys() if "skip_layers" in name]  # noqa: SIM118
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(load(tmp_path / "m.safetensors").net(x), net(x))


def test_from_state_does_not_share_weights(small_spec: ModelSpec, small_state: State) -> None:
    state = {name: weight.clone() for name, weight in small_state.items()}
    model = from_state(small_spec, state)
    before = {name: weight.clone() for name, weight in model.net.state_dict().items()}
    for weight in state.values():
        weight.zero_()
    for name, weight in model.net.state_dict().items():
        assert torch.equal(weight, before[name])


def _refused(source: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        load(source)
    assert "\n" not in str(caught.value)
    if isinstance(source, Path):
        assert source.name in str(caught.value)


@pytest.mark.parametrize("length", [0, 1, 7, 9, 100, -1000, -1])
def test_a_cut_file_is_refused(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    _refused(file, "cut or damaged|not a model file")
    _refused(file.read_bytes(), "cut or damaged|not a model file")


def test_a_pickle_is_refused_and_never_opened(tmp_path: Path, small_state: State) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = tmp_path / "model.pt"
    torch.save({"trap": Trap(), **small_state}, path)
    _refused(path, "pickle")
    _refused(path.read_bytes(), "pickle|not a model file")
    assert not (tmp_path / "sprung").exists()


def _with_header(path: Path, **changes: Any) -> Path:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    spec = json.loads(header["__metadata__"][KEY]) | changes
    header["__metadata__"][KEY] = json.dumps(spec)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 99}, "model format 99"),
        ({"network": "resnet"}, "network 'resnet'.*dynunet"),
        ({"normalisation": "other"}, "normalisation 'other'"),
        ({"arguments": {"filters": [8, 16]}}, "impossible network"),
        ({"arguments": {"nonsense": 1}}, "impossible network"),
        ({"arguments": {"filters": [8, 16, 64]}}, "wrongly shaped weights"),
        ({"arguments": {"filters": [8, 16, 32, 64]}}, "weights"),
        ({"arguments": {"filters": [10**6, 10**6, 10**6]}}, "weights|impossible"),
        ({"channels": ["T1", "T2"]}, "wrongly shaped weights"),
        ({"size": 0}, "working size"),
        ({"size": "big"}, "working size"),
        ({"labels": []}, "no labels"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(file: Path, changes: dict[str, Any], words: str) -> None:
    _refused(_with_header(file, **changes), words)
    _refused(file.read_bytes(), words)


def test_missing_and_unknown_weights_are_refused(small_spec: ModelSpec, small_state: State, tmp_path: Path) -> None:
    name = "input_block.conv1.conv.weight"
    with pytest.raises(ModelError, match=f"lacks weights.*{name}"):
        to_bytes(small_spec, {key: value for key, value in small_state.items() if key != name})
    with pytest.raises(ModelError, match=r"unknown weights.*other"):
        to_bytes(small_spec, {**small_state, "other.weight": torch.zeros(1)})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    _refused(tmp_path / "absent.safetensors", "No such file")
    _refused(tmp_path, "cannot be read")


def test_a_failed_save_leaves_the_old_file(file: Path, small_spec: ModelSpec, small_state: State) -> None:
    before = file.read_bytes()
    with pytest.raises(ModelError):
        save(file, small_spec, {})
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
    with pytest.raises(OutputError, match="another folder"):
        save(file / "inside.safetensors", small_spec, small_state)
    with pytest.raises(OutputError, match="another folder"):
        save(file.parent / "absent" / "m.safetensors", small_spec, small_state)
    assert list(file.parent.iterdir()) == [file]


def test_a_full_disk_leaves_the_old_file(
    file: Path, small_spec: ModelSpec, small_state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = file.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        save(file, small_spec, {name: weight + 1 for name, weight in small_state.items()})
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
