"""The header of a model file, read without torch."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.models.spec import KEY, ModelSpec, read_spec, spec_from_json

SPEC = ModelSpec(
    "plain", "dynunet", {"filters": [8, 16]}, labels=("background", "core", "rim"), scores={"dice_mean": 0.5}
)


def model_bytes(spec: ModelSpec, tensor_bytes: int = 4, padding: int = 0) -> bytes:
    header = {
        "__metadata__": {KEY: spec.to_json()},
        "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, tensor_bytes]},
    }
    text = json.dumps(header).encode() + b" " * padding
    return len(text).to_bytes(8, "little") + text + bytes(tensor_bytes)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.safetensors"


def test_a_spec_comes_back_as_it_was():
    assert spec_from_json(SPEC.to_json(), "here") == SPEC
    assert SPEC.out_channels == 3
    assert replace(SPEC, labels=("background", "tumour")).out_channels == 1


def test_files_from_before_a_field_was_there_are_read_and_unknown_fields_are_passed_over():
    old = json.loads(replace(SPEC, channels=("T1", "T2"), channel_fallbacks={"T2": "zeros"}).to_json())
    assert spec_from_json(json.dumps(old | {"colour": "blue"}), "here").fill == {"T2": "zeros"}
    del old["channel_fallbacks"], old["carry"]
    assert spec_from_json(json.dumps(old), "here").fill == {}
    assert spec_from_json(json.dumps(old), "here").carry == {}
    assert spec_from_json(json.dumps(old | {"carry": {"reach": 7.0}}), "here").carry == {"reach": 7.0}
    for wrong in ({"reach": "far"}, {"reach": None}, [7.0], {"reach": float("nan")}):
        with pytest.raises(ModelError, match="get the file again"):
            spec_from_json(json.dumps(old | {"carry": wrong}), "here")
    for wrong in ({"T7": "zeros"}, {"T2": "nothing"}, [1]):
        with pytest.raises(ModelError, match="get the file again"):
            spec_from_json(json.dumps(old | {"fill": wrong}), "here")


# Also header lengths whose first byte is that of a pickle (0x80) or of a zip file ("P").
@given(padding=st.integers(0, 300))
def test_every_header_length_is_read(tmp_path_factory, padding):
    path = tmp_path_factory.mktemp("spec") / "model.safetensors"
    path.write_bytes(model_bytes(SPEC, padding=padding))
    assert read_spec(path) == SPEC


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"", "choose another file"),
        (b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00.", "pickle"),
        (b"PK\x03\x04" + bytes(100), "pickle"),
        (b"<html>not found</html>", "choose another file"),
        ((1 << 60).to_bytes(8, "little") + b"{", "choose another file"),
        (model_bytes(SPEC)[:-1], "get the file again"),
        (model_bytes(SPEC)[:40], "get the file again"),
        (model_bytes(replace(SPEC, format=99)), "model format 99"),
        (model_bytes(SPEC).replace(KEY.encode(), b"another-project-12"), "no model description"),
    ],
)
def test_what_is_no_model_gets_one_line_with_the_file_and_the_remedy(file, content, remedy):
    file.write_bytes(content)
    with pytest.raises(ModelError, match=remedy) as caught:
        read_spec(file)
    assert file.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(file):
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read"):
        read_spec(file)


def test_the_part_is_kept_in_the_header_and_is_a_default():
    spec = ModelSpec("small", "unet", part="enhancing")
    assert spec_from_json(spec.to_json(), "a file") == spec
    assert spec.defaults["part"] == "enhancing"
    older = json.loads(spec.to_json())
    del older["part"]
    assert spec_from_json(json.dumps(older), "a file").part == "whole"
    with pytest.raises(ModelError, match=r"a file shows a part that is not known here \(core\): update"):
        spec_from_json(json.dumps(older | {"part": "core"}), "a file")
