"""Parts of messages that every package needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def shape_text(shape: Iterable[int]) -> str:
    """Return a shape as a person writes it: "24 x 256 x 256"."""
    return " x ".join(map(str, shape))


def plural(count: int, noun: str) -> str:
    """Return a number with its noun: "1 slice", "2 slices"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def first_few(names: Sequence[Any], most: int = 3) -> str:
    """Return the first names and how many more there are: "a, b, c and 4 more"."""
    shown = ", ".join(map(str, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def one_line(text: str, longest: int | None = None) -> str:
    """Return text on one line, cut to `longest` characters if given."""
    return " ".join(text.split())[:longest]
