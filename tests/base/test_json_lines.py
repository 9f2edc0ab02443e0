"""Records of one JSON object per line."""

from pathlib import Path

import pytest

from napari_unet_tumour.base.json_lines import append_lines, read_lines
from napari_unet_tumour.errors import OutputError


def test_lines_come_back_without_those_that_are_cut_off_or_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    assert read_lines(path, ["a"]) == []
    append_lines(path, [{"a": 1}, {"b": 2}])
    append_lines(path, [{"a": 3, "b": 4}])
    with path.open("a") as file:
        file.write('[1]\n{"a": 5')
    assert read_lines(path, ["a"]) == [{"a": 1}, {"a": 3, "b": 4}]


def test_a_folder_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot be written .*free some space"):
        append_lines(tmp_path / "none" / "record.jsonl", [{"a": 1}])
