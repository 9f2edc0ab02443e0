"""Parts of messages."""

import pytest

from napari_unet_tumour.base.text import first_few, one_line, plural, shape_text


def test_shapes_and_numbers() -> None:
    assert shape_text((24, 256, 1)) == "24 x 256 x 1"
    assert [plural(n, "slice") for n in (0, 1, 2)] == ["0 slices", "1 slice", "2 slices"]


@pytest.mark.parametrize(("names", "text"), [("abc", "a, b, c"), ("abcde", "a, b, c and 2 more"), ("", "")])
def test_the_first_few_names(names, text) -> None:
    assert first_few(names) == text


def test_text_on_one_line() -> None:
    assert one_line(" a\n  b\tc ") == "a b c"
    assert one_line("a b c", 3) == "a b"
