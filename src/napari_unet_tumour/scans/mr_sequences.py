"""Names of MR sequences: which layer or file is likely which channel of a model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# By word, as scanners, BraTS and people write them.
_WORDS = {
    "T1ce": ("t1ce", "t1c", "t1gd", "t1post", "t1km", "t1wce", "t1cw", "mprage+c"),
    "DWI": ("dwi", "dti", "diffusion", "tracew"),
    "ADC": ("adc",),
    "SWI": ("swi", "swan"),
    "FLAIR": ("flair", "t2f", "t2flair", "tirm"),
    "T1": ("t1", "t1w", "t1n", "t1pre", "mprage"),
    "T2": ("t2", "t2w", "t2tse", "t2fse", "t2star"),
    "PD": ("pd", "pdw"),
    "TOF": ("tof", "mra"),
}  # fmt: skip
# Times in ms that tell the weightings of brain scans at 1.5 and 3 T apart.
LONG_ECHO, SHORT_ECHO, SHORT_REPETITION, LONG_INVERSION = 70.0, 16.0, 1000.0, 1500.0
_CONTRAST = {"ce", "gd", "gad", "gado", "gadolinium", "contrast", "post", "postcontrast", "km", "c+", "+c", "enhanced"}


def sequence_of(name: str) -> str:
    """Name the sequence that a layer, file or channel name speaks of: "T1", "T1ce", "T2", "FLAIR", "DWI", ... or "".

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


def sequence_from_timing(
    echo: float | None, repetition: float | None, inversion: float | None, diffusion: float | None = None
) -> str:
    """Name the sequence that a scanner's timing stands for: "T1", "T2", "FLAIR", "DWI", or "" where it is not clear.

    Parameters
    ----------
    echo, repetition, inversion : float, optional
        Times in ms; None or 0 where the header does not give them.
    diffusion : float, optional
        The b-value in s/mm2.

    Examples
    --------
    >>> sequence_from_timing(98, 9000, 2500), sequence_from_timing(98, 4500, None), sequence_from_timing(3, 2300, 900)
    ('FLAIR', 'T2', 'T1')
    """
    if diffusion:
        return "DWI"
    if not echo or not repetition:
        return ""
    if echo >= LONG_ECHO:
        return "FLAIR" if inversion and inversion >= LONG_INVERSION else "T2"
    is_t1 = repetition <= SHORT_REPETITION or (inversion and inversion < LONG_INVERSION)
    return "T1" if echo <= SHORT_ECHO and is_t1 else ""


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
