"""Names of MR sequences: which layer or file is likely which channel of a model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# By word, as scanners, BraTS and people write them.
_WORDS = {
    "T1ce": ("t1ce", "t1c", "t1gd", "t1post", "t1km", "t1wce", "t1cw", "mprage+c"),
    "FLAIR": ("flair", "t2f", "t2flair", "tirm"),
    "T1": ("t1", "t1w", "t1n", "t1pre", "mprage"),
    "T2": ("t2", "t2w", "t2tse"),
}  # fmt: skip
_CONTRAST = {"ce", "gd", "gad", "gado", "gadolinium", "contrast", "post", "postcontrast", "km", "c+", "+c", "enhanced"}


def sequence_of(name: str) -> str:
    """Name the sequence that a layer, file or channel name speaks of: "T1", "T1ce", "T2", "FLAIR", or "".

    Examples
    --------
    >>> [sequence_of(name) for name in ("BraTS19_t1ce", "AX T2 FLAIR", "T1 post contrast", "head", "brain_t2w")]
    ['T1ce', 'FLAIR', 'T1ce', '', 'T2']
    """
    words = set(re.split(r"[^a-z0-9+]+", name.lower()))
    found = [sequence for sequence, known in _WORDS.items() if words & set(known)]
    if not found:
        return ""
    if found[0] == "T1" and words & _CONTRAST:
        return "T1ce"
    return found[0]


def guess(channels: Sequence[str], names: Iterable[str]) -> dict[str, str]:
    """Choose a name for every channel that one, and only one, of the names speaks of.

    Examples
    --------
    >>> guess(("T1ce", "FLAIR"), ["p01_flair", "p01_t1ce", "p01_seg"])
    {'T1ce': 'p01_t1ce', 'FLAIR': 'p01_flair'}
    """
    names, chosen = list(names), {}
    for channel in channels:
        fitting = [name for name in names if _speaks_of(name, channel)]
        if len(fitting) == 1:
            chosen[channel] = fitting[0]
    return chosen


def _speaks_of(name: str, channel: str) -> bool:
    meant = sequence_of(channel)
    if meant:
        return sequence_of(name) == meant
    return channel.lower() in re.split(r"[^a-z0-9+]+", name.lower())
