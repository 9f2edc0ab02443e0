"""What the version before wrote, with its own names, still opens; Python code that uses the old names still runs."""

import importlib
import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from napari_unet_tumour import presets
from napari_unet_tumour.base import old_names
from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.cli import parser
from napari_unet_tumour.corrections import UNSURE, Store, scan_id
from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.models.registry import ModelEntry
from napari_unet_tumour.models.spec import ModelSpec, read_spec, spec_from_json
from napari_unet_tumour.settings import SegmentSettings, TrainSettings

OLD = Path(__file__).parents[1] / "data" / "old_names"


def test_a_settings_file_with_old_names_is_read() -> None:
    settings = presets.read_settings(OLD / "settings.toml")
    assert settings.progressive_stages == ((32, 2, 2),)
    assert (settings.learning_rate, settings.grad_clip_norm, settings.monitor) == (1e-3, 4.0, "loss")
    assert (settings.keep_checkpoint, settings.early_stopping, settings.weak_augment_prob) == ("best", 3, 0.5)
    assert (settings.distill_weight, settings.model_card["name"]) == (0.25, "fixture")


def test_a_removed_setting_is_accepted_with_the_value_that_training_has(tmp_path: Path) -> None:
    (tmp_path / "old.toml").write_text("epochs = 3\ndeep_supervision = 0\n")
    assert presets.read_settings(tmp_path / "old.toml").epochs == 3
    (tmp_path / "old.toml").write_text("deep_supervision = 2\n")
    with pytest.raises(TrainingError, match=r"old\.toml sets deep_supervision to 2, .*remove the line"):
        presets.read_settings(tmp_path / "old.toml")


def test_a_model_file_with_old_names_is_read_with_what_it_recommends() -> None:
    assert read_spec(OLD / "old.safetensors").name == "fixture"
    header = {
        "name": "old",
        "network": "lite-unet",
        "channels": ["T1ce", "T1"],
        "labels": ["background", "tumour"],
        "format": 1,
    }
    header |= {"flips": True, "smallest": 30, "fill": {"T1": "zeros"}, "added": 0}
    spec = spec_from_json(json.dumps(header), "old.safetensors")
    assert (spec.flip_tta, spec.min_object_size, spec.channel_fallbacks) == (True, 30, {"T1": "zeros"})
    assert spec.defaults == {"threshold": 0.5, "min_object_size": 30, "flip_tta": True, "part": "whole"}


def test_the_old_model_segments() -> None:
    from napari_unet_tumour.api.segment import segment

    found = segment(np.zeros((32, 32), np.uint8), OLD / "old.safetensors")
    assert found.mask.shape == (32, 32)
    assert found.lone == found.isolated_removed


def test_an_old_checkpoint_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_unet_tumour.engine.training.train import iter_train

    shutil.copytree(OLD, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    settings = presets.read_settings("settings.toml")
    steps = iter_train(
        settings, Path("images"), Path("masks"), Path("old.safetensors"), Path("cases.csv"), None, resume=True
    )
    passes = [tick.values["row"]["pass"] for tick in steps if "row" in tick.values]
    assert passes == [2], "the first pass was made by the version before"


def test_old_corrections_are_found() -> None:
    volume = np.random.default_rng(0).integers(0, 4000, (5, 16, 12), np.int16)
    scan = scan_id(volume, layout_of(volume.shape))
    store = Store(OLD / "corrections")
    record = store.load(scan)
    assert record is not None
    assert (record.reviewed, record.roles, record.person) == ([1, 3], {1: "train", 3: "empty"}, "p1")
    mask = store.mask(scan, 1)
    assert mask is not None
    assert (mask[5, 5], mask[0, 0]) == (1, UNSURE)


def test_old_flags_are_accepted_and_not_shown() -> None:
    given = parser().parse_args(
        ["segment", "scan.nii", "--flips", "--smallest", "20", "--no-drop-lone", "--windows", "tiled"]
    )
    assert (given.flip_tta, given.min_object_size, given.remove_isolated, given.tiling) == (True, 20, False, "tiled")
    given = parser().parse_args(["train", "images", "masks", "--rate", "0.1", "--start", "imagenet", "--keep", "last"])
    assert (given.learning_rate, given.init_weights, given.keep_checkpoint) == (0.1, "imagenet", "last")
    segment = parser()._subparsers._group_actions[0].choices["segment"]
    assert "--flip-tta" in segment.format_help()
    assert "--flips" not in segment.format_help()


@pytest.mark.parametrize(
    ("kind", "table"), [(SegmentSettings, old_names.SETTINGS), (TrainSettings, old_names.SETTINGS)]
)
def test_settings_take_old_names_in_python(kind, table) -> None:
    names = {field.name for field in fields(kind)}
    for old, new in table.items():
        if new in names:
            value = getattr(kind(), new)
            assert getattr(kind(**{old: value}), old) == value
            assert getattr(replace(kind(), **{old: "changed"}), new) == "changed"
    with pytest.raises(TypeError, match="nonsense"):
        kind(nonsense=1)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = kind().nonsense


def test_every_current_name_of_the_tables_exists() -> None:
    assert set(old_names.SETTINGS.values()) <= {
        f.name for kind in (SegmentSettings, TrainSettings) for f in fields(kind)
    }
    assert set(old_names.HEADER.values()) <= {f.name for f in fields(ModelSpec)}
    for module, names in old_names.SYMBOLS.items():
        found = importlib.import_module(f"napari_unet_tumour.{module}")
        assert not [new for new in names.values() if not hasattr(found, new)], module


@pytest.mark.parametrize("old", sorted(old_names.MODULES))
def test_modules_are_found_under_their_old_names(old: str) -> None:
    with pytest.warns(DeprecationWarning, match="old name"):
        module = importlib.reload(importlib.import_module(f"napari_unet_tumour.{old}"))
    new = importlib.import_module(f"napari_unet_tumour.{old_names.MODULES[old]}")
    assert module.__doc__ is not None or new.__doc__ is not None
    for name, current in old_names.SYMBOLS.get(old_names.MODULES[old], {}).items():
        assert getattr(module, name) is getattr(new, current)


def test_writing_to_an_old_module_writes_to_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_unet_tumour.models import registry

    monkeypatch.setattr(registry, "SHIPPED", registry.SHIPPED)
    with pytest.warns(DeprecationWarning, match="napari_unet_tumour.models.registry"):
        shelf = importlib.reload(importlib.import_module("napari_unet_tumour.shelf"))
    shelf.SHIPPED = Path("nowhere")
    assert Path("nowhere") == registry.SHIPPED
    assert shelf.Entry is ModelEntry
