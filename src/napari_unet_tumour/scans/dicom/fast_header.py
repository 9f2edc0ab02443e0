"""The few header elements that differ from slice to slice, picked out without building a data set.

A series of 300 slices repeats nearly all of its header 300 times. The first slice is read by pydicom with
care; the others, where they are alike byte for byte, by this.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = 0x7FE00010
_SYNTAX = 0x00020010
_IMPLICIT, _BIG_ENDIAN, _DEFLATED = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"
_LONG = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UN", b"UT", b"UC", b"UR", b"SV", b"UV"}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNKNOWN = 0xFFFFFFFF
_FIRST_READS = (1 << 15, 1 << 19)

Elements = dict[int, bytes]


def quick_elements(path: Path) -> tuple[Elements, int] | None:
    """Return the top-level elements before the pixels, as stored, and where the pixels' element starts.

    Parameters
    ----------
    path : Path
        A DICOM file.

    Returns
    -------
    tuple or None
        Values by tag (those of sequences are empty), with the pixels' element's own header under its tag;
        None where the file is not a plain little-endian one, so that it must be read with care.
    """
    with path.open("rb") as file:
        data = b""
        for size in _FIRST_READS:
            data += file.read(size - len(data))
            try:
                return _walk(data)
            except (struct.error, IndexError):
                continue
            except ValueError:
                return None
    return None


def _walk(data: bytes) -> tuple[Elements, int]:
    if data[128:132] != b"DICM":
        raise ValueError("no mark")
    found: Elements = {}
    at, implicit = 132, False
    while True:
        group, element = struct.unpack_from("<HH", data, at)
        tag = group << 16 | element
        if group > 2 and _SYNTAX in found:
            syntax = found[_SYNTAX].rstrip(b"\0 ")
            implicit = syntax == _IMPLICIT
            if syntax in (_BIG_ENDIAN, _DEFLATED):
                raise ValueError("not plain little endian")
        if tag >= PIXELS:
            found[PIXELS] = data[at : at + (8 if implicit else 12)]
            return found, at
        start, length = _value(data, at, implicit)
        if length == _UNKNOWN:
            at = _past_sequence(data, start, implicit)
            found[tag] = b""
        else:
            at = start + length
            found[tag] = data[start:at]


def _value(data: bytes, at: int, implicit: bool) -> tuple[int, int]:
    """Return where the value of the element at `at` starts, and its length."""
    if implicit:
        return at + 8, struct.unpack_from("<I", data, at + 4)[0]
    kind = data[at + 4 : at + 6]
    if kind in _LONG:
        return at + 12, struct.unpack_from("<I", data, at + 8)[0]
    if not kind.isalpha():
        raise ValueError("no value representation")
    return at + 8, struct.unpack_from("<H", data, at + 6)[0]


def _past_sequence(data: bytes, at: int, implicit: bool) -> int:
    """Return the byte after a sequence of unknown length whose first item is at `at`."""
    while True:
        group, element, length = struct.unpack_from("<HHI", data, at)
        tag, at = group << 16 | element, at + 8
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise ValueError("no item")
        at = _past_item(data, at, implicit) if length == _UNKNOWN else at + length


def _past_item(data: bytes, at: int, implicit: bool) -> int:
    while True:
        group, element = struct.unpack_from("<HH", data, at)
        if group << 16 | element == _ITEM_END:
            return at + 8
        start, length = _value(data, at, implicit)
        at = _past_sequence(data, start, implicit) if length == _UNKNOWN else start + length
