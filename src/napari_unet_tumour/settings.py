"""Settings and progress: plain data that the form, the command line and the run card share.

A setting is written once, here: its type, default and `Ask` make the form, the flag and the docs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Ask:
    """How a setting is asked for.

    Parameters
    ----------
    text : str
        One line that says what the setting does, shown as tooltip and flag help.
    label : str
        Short caption in the form; the field name with spaces when empty.
    low, high, step : float, optional
        Bounds and step of a number.
    choices : tuple of str
        The allowed words of a text setting.
    """

    text: str
    label: str = ""
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class SegmentSettings:
    """What a person may choose when a scan is segmented."""

    threshold: Annotated[
        float, Ask("A pixel is tumour where the network is at least this sure.", low=0.02, high=0.98, step=0.01)
    ] = 0.5
    flips: Annotated[
        bool, Ask("Average the answers for four mirrored copies: steadier, four times slower.", label="flip averaging")
    ] = False
    smallest: Annotated[
        int, Ask("Remove pieces with fewer pixels than this in a slice.", label="smallest object", low=0, high=100_000)
    ] = 0
    keep_largest: Annotated[bool, Ask("Keep only the largest connected piece of each label.")] = False
    device: Annotated[str, Ask("Where the network runs.", choices=("auto", "cpu", "cuda"))] = "auto"


@dataclass(frozen=True)
class Progress:
    """One tick of a long job.

    Parameters
    ----------
    done, total : int
        Finished and all steps, 0 <= done <= total.
    message : str
        What is being done, a few words.
    values : dict
        What the tick carries: numbers, strings or numpy arrays.
    """

    done: int
    total: int
    message: str = ""
    values: dict[str, Any] = field(default_factory=dict)


def asked(settings: type[Any]) -> Iterator[tuple[str, type[Any], Any, Ask]]:
    """Yield (name, type, default, Ask) for every field of a settings dataclass, in order."""
    hints = get_type_hints(settings, include_extras=True)
    for one in fields(settings):
        hint = hints[one.name]
        if get_origin(hint) is Annotated:
            kind, ask = get_args(hint)[:2]
            yield one.name, kind, one.default, ask
