"""Values of DICOM elements, whatever their value representation: numbers stored as text, text stored as bytes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

Vector = tuple[float, ...]


def value_of(found: Any, name: str) -> Any:
    """Return an element's value, as stored bytes where it does not fit its value representation; None if absent."""
    try:
        return found.get(name)
    except (ValueError, TypeError, KeyError, OverflowError, NotImplementedError):
        raw = found.get_item(name)
        return None if raw is None else raw.value


def numbers(value: Any) -> Vector:
    """Return the numbers of an element: binary, decimal text, one text with backslashes, or bytes; () if none.

    Raises
    ------
    ValueError
        It is no number.
    """
    if value is None:
        return ()
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if isinstance(value, str):
        parts = [part.strip("\0 ") for part in value.split("\\")]
        return tuple(float(part.replace(",", ".")) for part in parts if part)
    if isinstance(value, (int, float)) or not hasattr(value, "__iter__"):
        return (float(value),)
    return tuple(number for part in value for number in numbers(part))


def vector(value: Any, count: int) -> Vector | None:
    """Return `count` finite numbers, or None where they are missing or nonsense."""
    with suppress(TypeError, ValueError):
        found = numbers(value)
        if len(found) == count and np.isfinite(found).all():
            return found
    return None


def number(found: Any, name: str) -> float | None:
    """Return the first number of an element, or None where it is missing or nonsense."""
    with suppress(TypeError, ValueError):
        known = numbers(value_of(found, name))
        return known[0] if known and np.isfinite(known[0]) else None
    return None


def integer(found: Any, name: str, default: int) -> int:
    """Return a whole number, `default` where it is missing, empty or 0; raises ValueError where it is no number."""
    known = numbers(value_of(found, name))
    return (int(known[0]) if known else 0) or default


def text(found: Any, name: str) -> str:
    """Return an element as text without padding; several values stay joined by backslashes."""
    value = value_of(found, name)
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("ascii", "replace").strip("\0 ")
    many = isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue"
    return ("\\".join(str(one) for one in value) if many else str(value)).strip("\0 ")
