import json
from dataclasses import dataclass
from typing import Annotated

import pytest

from napari_unet_tumour.settings import Option, SegmentSettings, options_of
from napari_unet_tumour.widgets.common.settings_form import fill, form_of, plain, remember, remembered, settings_in


@dataclass(frozen=True)
class Odd:
    share: Annotated[float, Option("How much.", low=0, high=1, step=0.1)] = 0.5
    count: Annotated[int, Option("How many.", label="pieces", low=1, high=9)] = 3
    word: Annotated[str, Option("Which.", choices=("one", "two"))] = "two"
    on: Annotated[bool, Option("Whether.")] = True


def test_a_form_has_a_widget_a_field_with_its_words_and_bounds(qtbot):
    form = form_of(Odd)
    assert list(form) == ["share", "count", "word", "on"]
    assert form["count"].label == "Pieces"
    assert form["count"].tooltip == "How many."
    assert (form["count"].min, form["count"].max) == (1, 9)
    assert form["word"].choices == ("one", "two")
    assert settings_in(form, Odd) == Odd()


def test_the_form_gives_back_what_was_filled_in(qtbot):
    form = form_of(SegmentSettings)
    wanted = SegmentSettings(threshold=0.31, flip_tta=True, min_object_size=12, keep_largest=True, device="cpu")
    fill(form, plain(wanted))
    assert settings_in(form, SegmentSettings) == wanted


def test_nonsense_is_left_out(qtbot):
    form = form_of(Odd)
    fill(form, {"share": "much", "count": 99, "word": "three", "on": False, "unknown": 1})
    assert settings_in(form, Odd) == Odd(on=False)


def test_every_setting_of_a_segmentation_is_asked_for():
    assert [name for name, *_ in options_of(SegmentSettings)] == list(plain(SegmentSettings()))


def test_what_is_remembered_comes_back_beside_the_rest(home):
    remember("a", {"x": 1})
    remember("b", {"y": [2, "z"]})
    assert remembered("a") == {"x": 1}
    assert remembered("b") == {"y": [2, "z"]}
    assert remembered("c") == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 3}', "\x00"])
def test_a_broken_settings_file_is_no_settings(home, text):
    (home / "settings.json").write_text(text)
    assert remembered("a") == {}
    remember("a", {"x": 1})
    assert json.loads((home / "settings.json").read_text())["a"] == {"x": 1}


def test_a_folder_that_cannot_be_written_loses_settings_only(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAPARI_UNET_TUMOUR_HOME", str(tmp_path / "file"))
    remember("a", {"x": 1})
    assert remembered("a") == {}
