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
_SHORT = {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL"}
_SHORT |= {b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNKNOWN = 0xFFFFFFFF
# So many elements in a row make a data set without a mark; none of them is longer.
_ENOUGH, _LONGEST = 4, 1 << 12
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


def is_bare(start: bytes) -> bool:
    """Tell whether bytes begin a DICOM data set that has no preamble and no mark before it, as old exports leave it."""
    return any(_begins(start, order, implicit) for order, implicit in (("<", False), ("<", True), (">", False)))


def _begins(start: bytes, order: str, implicit: bool) -> bool:
    """Tell whether the first elements are ones that a data set begins with, in order and of a plausible length."""
    at, last, count = 0, 0, 0
    while count < _ENOUGH and at + 8 <= len(start):
        group, element = struct.unpack_from(f"{order}HH", start, at)
        tag, kind = group << 16 | element, start[at + 4 : at + 6]
        explicit = not implicit or group == 2
        if (tag <= last and count) or group not in (2, 8) or (explicit and kind not in _SHORT | _LONG):
            return False
        if explicit and kind in _SHORT:
            (length,) = struct.unpack_from(f"{order}H", start, at + 6)
        else:
            skip = 8 if explicit else 4
            if at + skip + 4 > len(start):
                return False
            (length,) = struct.unpack_from(f"{order}I", start, at + skip)
            at += 4 if explicit else 0
        if length == _UNKNOWN or (length <= _LONGEST and count + 1 == _ENOUGH):
            return count > 0
        if length > _LONGEST:
            return False
        at, last, count = at + 8 + length, tag, count + 1
    return count >= 2
