import json
import os

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from napari_unet_tumour.errors import ModelError, OutputError
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.spec import KEY, ModelSpec


@pytest.fixture
def models_home(tmp_path, monkeypatch):
    """An empty shipped folder and an empty own folder."""
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv(registry.HOME, str(tmp_path / "home"))
    (tmp_path / "shipped").mkdir()
    return tmp_path


def put(path, name="", value=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    spec = ModelSpec(name=name or path.stem, network="basic-unet")
    save_file({"w": np.full(3, value, np.float32)}, path, metadata={KEY: spec.to_json()})
    return path


def test_lists_the_shipped_first_and_then_the_own_by_name(models_home):
    put(models_home / "shipped/other.safetensors", value=3)
    put(models_home / "shipped/t1ce-small.safetensors")
    put(registry.user_models_dir() / "b.safetensors", value=1)
    put(registry.user_models_dir() / "a.safetensors", value=2)
    assert [(e.name, e.shipped) for e in registry.entries()] == [
        ("t1ce-small", True),
        ("other", True),
        ("a", False),
        ("b", False),
    ]


def test_finds_by_name_hash_file_and_default(models_home):
    put(models_home / "shipped/t1ce-small.safetensors")
    own = put(registry.user_models_dir() / "mine.safetensors", value=1)
    mine = registry.find("mine")
    assert registry.find().name == "t1ce-small"
    assert registry.find(mine.hash) == mine
    assert registry.find(mine.hash[:6]) == mine
    assert (registry.find(own).path, registry.find(str(own)).hash) == (own, mine.hash)


def test_an_unknown_name_lists_the_known_ones(models_home):
    put(models_home / "shipped/t1ce-small.safetensors")
    with pytest.raises(ModelError, match=r"no model is called 'nope' \(known: t1ce-small\)"):
        registry.find("nope")


@pytest.mark.usefixtures("models_home")
def test_without_models_there_is_a_clear_error():
    with pytest.raises(ModelError, match="known: none"):
        registry.find()


@pytest.mark.usefixtures("models_home")
def test_a_missing_file_is_named():
    with pytest.raises(ModelError, match=r"gone.safetensors cannot be read \(No such file"):
        registry.find("/nowhere/gone.safetensors")


def test_a_broken_file_never_hides_the_good_ones(models_home):
    put(registry.user_models_dir() / "good.safetensors")
    cut = put(registry.user_models_dir() / "cut.safetensors", value=1)
    cut.write_bytes(cut.read_bytes()[:-4])
    (registry.user_models_dir() / "junk.safetensors").write_bytes(b"junk")
    assert [e.name for e in registry.entries()] == ["good"]
    assert {b.name: b.reason.split(":")[0] for b in registry.invalid_models()} == {
        "cut": "cut.safetensors is cut or damaged",
        "junk": "junk.safetensors is not a model file (.safetensors)",
    }
    with pytest.raises(ModelError, match=r"installed model 'cut' cannot be used: .* cut or damaged"):
        registry.find("cut")


def test_another_format_version_is_a_reason(models_home):
    path = put(registry.user_models_dir() / "future.safetensors")
    text = json.dumps({"name": "future", "network": "n", "format": 99})
    save_file({"w": np.zeros(1, np.float32)}, path, metadata={KEY: text})
    assert "format 99" in registry.invalid_models()[0].reason


def test_a_changed_file_gets_another_hash(models_home):
    path = put(registry.user_models_dir() / "mine.safetensors")
    before = registry.find("mine").hash
    put(path, value=2)
    os.utime(path, ns=(1, 1))
    assert registry.find("mine").hash != before


def test_import_export_and_remove_go_round(models_home):
    outside = put(models_home / "download.safetensors", name="Glioma v2")
    entry = registry.import_(outside)
    assert (entry.name, entry.path.parent, entry.shipped) == ("Glioma-v2", registry.user_models_dir(), False)
    assert registry.import_(outside) == entry, "the very same file is not an error"
    exported = registry.export("Glioma-v2", models_home)
    assert exported.read_bytes() == outside.read_bytes()
    registry.remove("Glioma-v2")
    assert registry.entries() == []


def test_import_refuses_the_name_of_another_model(models_home):
    registry.import_(put(models_home / "a.safetensors", name="one"))
    other = put(models_home / "b.safetensors", name="one", value=1)
    with pytest.raises(ModelError, match="another model is called 'one' already"):
        registry.import_(other)
    assert registry.import_(other, name="two").name == "two"


@pytest.mark.parametrize("name", ["default", "///", "."])
def test_import_refuses_a_name_that_is_none(models_home, name):
    with pytest.raises(ModelError, match="cannot be the name of a model"):
        registry.import_(put(models_home / "a.safetensors"), name=name)


def test_export_never_replaces_a_file(models_home):
    put(registry.user_models_dir() / "mine.safetensors")
    taken = models_home / "mine.safetensors"
    taken.write_text("precious")
    for target in (taken, models_home):
        with pytest.raises(OutputError, match="exists already"):
            registry.export("mine", target)
    assert taken.read_text() == "precious"


def test_export_wants_the_right_suffix(models_home):
    put(registry.user_models_dir() / "mine.safetensors")
    with pytest.raises(OutputError, match=r"ends in .safetensors"):
        registry.export("mine", models_home / "mine.onnx")


def test_a_shipped_model_stays(models_home):
    put(models_home / "shipped/t1ce-small.safetensors")
    with pytest.raises(ModelError, match="ships with the package"):
        registry.remove("t1ce-small")
    assert registry.find("t1ce-small").path.exists()


def test_a_broken_own_model_can_be_removed(models_home):
    bad = registry.user_models_dir() / "bad.safetensors"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"")
    registry.remove("bad")
    assert not bad.exists()


def test_a_failed_copy_leaves_nothing_behind(models_home, monkeypatch):
    outside = put(models_home / "a.safetensors")

    def full(source, target):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(registry.shutil, "copyfile", full)
    with pytest.raises(OutputError, match="No space left"):
        registry.import_(outside)
    assert list(registry.user_models_dir().iterdir()) == []


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x80\x04\x95"])
def test_weights_without_description_want_a_model_to_be_like(models_home, start, suffix):
    path = models_home / f"net{suffix}"
    path.write_bytes(start + b" and more")
    with pytest.raises(ModelError, match="which model they fit with --like"):
        registry.import_(path)


def test_import_proves_before_it_copies(models_home):
    def refuse(path):
        raise ModelError(f"{path.name} asks for an impossible network")

    with pytest.raises(ModelError, match="impossible"):
        registry.import_(put(models_home / "a.safetensors"), prove=refuse)
    assert registry.entries() == []


def version(parent, value):
    spec = ModelSpec(name=parent.name, network="basic-unet", parent=parent.hash)
    return save({"w": np.full(3, value, np.float32)}, {KEY: spec.to_json()})


def test_an_accepted_version_has_a_parent_and_is_found_by_name(models_home):
    put(models_home / "shipped/t1ce-small.safetensors")
    shipped = registry.find()
    second = registry.add_version(version(shipped, 1), shipped)
    third = registry.add_version(version(second, 2), second)
    aside = registry.add_version(version(shipped, 3), shipped)
    assert [one.name for one in (second, third, aside)] == ["t1ce-small-v2", "t1ce-small-v3", "t1ce-small-v4"]
    assert [one.name for one in registry.lineage(third)] == ["t1ce-small-v3", "t1ce-small-v2", "t1ce-small"]
    assert registry.add_version(version(shipped, 1), shipped) == second, "the very same model is there already"
    assert not list(registry.user_models_dir().glob(".*"))


def test_the_chosen_version_is_the_default_until_it_is_rolled_back(models_home):
    put(models_home / "shipped/t1ce-small.safetensors")
    shipped = registry.find()
    second = registry.add_version(version(shipped, 1), shipped)
    assert registry.find() == shipped
    registry.set_default(second)
    assert registry.find() == registry.entries()[0] == second
    assert registry.find("t1ce-small") == shipped
    registry.set_default(shipped)
    assert registry.find() == shipped
    registry.set_default(second)
    registry.remove(second.name)
    assert registry.find() == shipped


def test_a_version_that_is_no_model_is_not_kept(models_home):
    put(models_home / "shipped/t1ce-small.safetensors")
    with pytest.raises(ModelError):
        registry.add_version(b"nothing of the kind", registry.find())
    assert not list(registry.user_models_dir().iterdir())
