"""What is known of one scan's corrections, apart from the masks themselves."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, fields, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.corrections.holdout import EMPTY, HELD_OUT, TRAIN, assign_role
from napari_unet_tumour.corrections.matching import matching_roles
from napari_unet_tumour.settings import WHOLE

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Record:
    """Ticks, hold-out and model of one scan; no names of files, layers or people.

    Parameters
    ----------
    scan : str
        Content id, see `scan_id`.
    shape : list of int
        Shape of the mask.
    planes : int
        Number of slices.
    person : str
        Whose scan it is where known (an id, never a name), else "".
    place : list of float
        Where its planes lie, see `holdout.place_of`; empty where that is not known.
    model : str
        Hash of the model in use, "" where none was.
    part : str
        Which part of the tumour its masks show, see `settings.SegmentSettings.part`.
    reviewed : list of int
        Ticked slices in the order of their ticks.
    edited : list of int
        Slices with strokes of the person.
    roles : dict of int to str
        What a slice is for since it was first ticked: "train", "held out", or "empty" (trained on as a true
        negative). A role is for good: it stays when the tick is taken back.
    changed : float
        When, in seconds since 1970.
    """

    scan: str
    shape: list[int] = field(default_factory=list)
    planes: int = 0
    person: str = ""
    place: list[float] = field(default_factory=list)
    model: str = ""
    part: str = WHOLE
    reviewed: list[int] = field(default_factory=list)
    edited: list[int] = field(default_factory=list)
    roles: dict[int, str] = field(default_factory=dict)
    changed: float = field(default_factory=time.time)

    @property
    def held_out(self) -> list[int]:
        """Reviewed slices that are only scored."""
        return [n for n in self.reviewed if self.roles.get(n) == HELD_OUT]

    def tick(self, plane: int, foreground: bool, case: Sequence[Record] = (), kin: Sequence[Record] = ()) -> None:
        """Mark a slice as reviewed and give it its role, if it has none.

        Parameters
        ----------
        foreground : bool
            Whether anything is drawn there.
        case : sequence of Record
            All scans that are corrected as one case, where that is not this one alone.
        kin : sequence of Record
            Other scans of the same person.
        """
        if plane not in self.reviewed:
            self.reviewed.append(plane)
        if plane not in self.roles:
            given, elsewhere = ([what for one in some for what in one.roles.values()] for some in (case or [self], kin))
            self.roles[plane] = assign_role(foreground, given, elsewhere, matching_roles(self, plane, [*case, *kin]))
        elif foreground and self.roles[plane] == EMPTY:
            self.roles[plane] = TRAIN

    def untick(self, plane: int) -> None:
        """Take the tick back; the role stays, so that what was trained on is never held out, nor the other way."""
        self.reviewed = [n for n in self.reviewed if n != plane]

    def with_marks_of(self, earlier: Record) -> Record:
        """Return this record with the ticks and strokes of an earlier one too."""
        reviewed = list(dict.fromkeys([*earlier.reviewed, *self.reviewed]))
        return replace(self, reviewed=reviewed, edited=sorted({*earlier.edited, *self.edited}))

    def to_json(self) -> str:
        """Return the record as text."""
        return json.dumps(asdict(self), indent=1)


def merged(disk: Record | None, mine: Record, last: Record | None) -> Record:
    """Return what to write where another window may have written meanwhile: nothing of either is lost.

    Parameters
    ----------
    disk : Record, optional
        What is on disk now.
    mine : Record
        What this window knows.
    last : Record, optional
        What this window wrote last: a tick that it has taken back since goes from the disk too.
    """
    if disk is None:
        return mine
    before = Record(mine.scan) if last is None else last
    upgraded = {n: what for n, what in mine.roles.items() if disk.roles.get(n) == EMPTY and what == TRAIN}
    changed = last is None or mine.model != last.model or not disk.model
    return replace(
        mine,
        model=mine.model if changed and mine.model else disk.model,
        reviewed=_both(disk.reviewed, mine.reviewed, before.reviewed),
        edited=sorted(_both(disk.edited, mine.edited, before.edited)),
        roles={**mine.roles, **disk.roles, **upgraded},
    )


def _both(disk: list[int], mine: list[int], before: list[int]) -> list[int]:
    return [n for n in dict.fromkeys([*disk, *mine]) if n in mine or n not in before]


def record_from_json(text: str) -> Record:
    """Rebuild a record; raises ValueError for anything else."""
    found = json.loads(text)
    try:
        given: dict[str, Any] = {one.name: found[one.name] for one in fields(Record) if one.name in found}
        given["roles"] = {int(n): str(what) for n, what in given.get("roles", {}).items()}
        for name in ("shape", "reviewed", "edited"):
            given[name] = [int(n) for n in given.get(name, [])]
        place = [float(v) for v in given.get("place", [])]
        given["place"] = place if len(place) == 6 and all(map(isfinite, place)) and any(place[3:]) else []
        return Record(**given)
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError("not a record of corrections") from error
