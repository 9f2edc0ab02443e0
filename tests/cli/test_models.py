import json

from napari_unet_tumour.cli import main
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.spec import with_scores


def test_list_shows_every_model_and_what_is_broken(bright, capsys):
    (registry.user_models_dir() / "junk.safetensors").write_bytes(b"junk")
    assert main(["models", "list"]) == 0
    head, row, broken = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "from", "dice", "channels", "labels", "description"]
    assert row.split() == ["bright", "you", "-", "grey", "tumour"]
    assert broken.startswith("unusable: junk: junk.safetensors is not a model file")


def test_list_without_models_says_what_to_do(bright, capsys):
    registry.remove(bright)
    assert main(["models", "list"]) == 0
    assert "models import FILE" in capsys.readouterr().out


def test_list_as_json(bright, capsys):
    assert main(["models", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["models"]] == ["bright"]
    assert found["broken"] == []


def test_show_tells_all(bright, capsys):
    assert main(["models", "show"]) == 0
    said = capsys.readouterr().out
    assert "normalisation  divide-by-255" in said
    assert main(["models", "show", bright, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["name"], facts["labels"], facts["shipped"]) == ("bright", ["background", "tumour"], False)


def test_show_says_what_a_version_was_tuned_on(bright, capsys):
    entry, scores = registry.find(), {"learnt_slices": 2, "learnt_scans": 1, "scored_slices": 1}
    data = with_scores(entry.path.read_bytes(), scores | {"dice_before": 0.5, "dice": 0.75})
    registry.add_version(data, entry)
    assert main(["models", "show", "bright-v2"]) == 0
    told = "Fine-tuned on 2 slices that you corrected. On 1 slice kept for scoring: Dice 0.50 → 0.75"
    assert f"scores         {told}\n" in capsys.readouterr().out


def test_export_remove_import_go_round(bright, tmp_path, capsys):
    assert main(["models", "export", bright, str(tmp_path / "copy.safetensors")]) == 0
    assert main(["models", "remove", bright]) == 0
    assert registry.entries() == []
    assert main(["models", "import", str(tmp_path / "copy.safetensors"), "--name", "again"]) == 0
    assert [one.name for one in registry.entries()] == ["again"]
    assert "imported as again" in capsys.readouterr().out


def test_errors_are_one_line(bright, tmp_path, capsys):
    for words in (["show", "nope"], ["remove", "nope"], ["import", str(tmp_path / "gone.safetensors")]):
        assert main(["models", *words]) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert said.count("\n") == 1
