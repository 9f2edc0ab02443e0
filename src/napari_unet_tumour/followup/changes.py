"""What became of each lesion from one date to the next: lesions are matched by the space that they share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.followup.overlap import overlap_volumes
from napari_unet_tumour.measure import Comparison, MeasuredLesion, Report, compare, iter_measure
from napari_unet_tumour.measure.agreement import with_one_value
from napari_unet_tumour.measure.export import short, write_rows
from napari_unet_tumour.measure.lesion_map import lesion_map
from napari_unet_tumour.scans.placement import check_place
from napari_unet_tumour.version import __version__

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.scan import Scan
    from napari_unet_tumour.settings import Progress

    Point = tuple[float, ...]

# Two lesions are one lesion where they share this part of the smaller one.
LEAST_SHARE = 0.05
NO_OVERLAP = "No lesion of one date shares a place with one of the other date: all count as gone or new."


class ChangeKind(Enum):
    """What became of a lesion."""

    CHANGED = "changed"
    NEW = "new"
    GONE = "gone"
    SPLIT = "split"
    MERGED = "merged"
    SPLIT_AND_MERGED = "split and merged"


class Placing(Enum):
    """What the match of places rests on."""

    ONE_FRAME = "one frame of reference"
    ALIGNED = "aligned"
    NOT_ALIGNED = "not aligned"


@dataclass(frozen=True)
class LesionChange:
    """Lesions of both dates that share their place, and no others.

    Parameters
    ----------
    kind : ChangeKind
        One earlier and one later lesion: changed. One and several: split. Several and one: merged.
    label, name : int, str
        The label's pixel value and name.
    before, after : tuple of int
        The lesions' numbers in the two reports.
    volume_before, volume_after : float
        Their sums, in the reports' volume units.
    volume_change : float or None
        Per cent of the earlier volume; None where that is 0.
    place_before, place_after : tuple of float or None
        A place of the largest lesion: the middle of its longest diameter, in the world of its own mask.
    """

    kind: ChangeKind
    label: int
    name: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    volume_before: float
    volume_after: float
    volume_change: float | None
    place_before: Point | None
    place_after: Point | None


@dataclass(frozen=True)
class FollowUp:
    """Two dates compared: a report of each, the change per label, and what became of each lesion."""

    earlier: Report
    later: Report
    comparison: Comparison
    lesions: tuple[LesionChange, ...]
    placing: Placing
    notes: tuple[str, ...] = ()


def follow_up(
    earlier: Scan,
    later: Scan,
    names: Mapping[int, str] | None = None,
    placing: Placing = Placing.NOT_ALIGNED,
    to_earlier: NDArray[np.float64] | None = None,
) -> FollowUp:
    """Match the lesions of two masks; `iter_follow_up` does the same step by step."""
    return exhaust(iter_follow_up(earlier, later, names, placing, to_earlier))


def iter_follow_up(
    earlier: Scan,
    later: Scan,
    names: Mapping[int, str] | None = None,
    placing: Placing = Placing.NOT_ALIGNED,
    to_earlier: NDArray[np.float64] | None = None,
) -> Generator[Progress, None, FollowUp]:
    """Match the lesions of two masks.

    Parameters
    ----------
    earlier, later : Scan
        Label values with axes "zyx", on any two grids. Masks with one label each are matched whatever its value.
    names : mapping, optional
        Names by label value.
    placing : Placing
        Recorded in the result.
    to_earlier : numpy.ndarray, optional
        (4, 4) the later mask's world -> the earlier one's; the identity where None.

    Raises
    ------
    ScanError
        A mask is no volume or does not say where it lies, or only one of them is in millimetres.
    """
    for mask in (earlier, later):
        _check(mask)
    later = with_one_value(earlier, later)[1]
    reports = []
    for mask in (earlier, later):
        reports.append((yield from iter_measure(mask, labels=dict(names or {}))))
    comparison = compare(reports[1], reports[0])
    found = _lesions(reports, (earlier, later), _pairs(reports, (earlier, later), to_earlier))
    alone = bool(reports[0].lesions and reports[1].lesions) and not any(one.before and one.after for one in found)
    return FollowUp(reports[0], reports[1], comparison, found, placing, (NO_OVERLAP,) if alone else ())


def _check(mask: Scan) -> None:
    if mask.axes != "zyx":
        raise ScanError(f"'{mask.name}' is not one volume: choose masks with three axes of space and no other")
    check_place(mask)


def _pairs(reports: Sequence[Report], masks: Sequence[Scan], to_earlier: NDArray[np.float64] | None) -> NDArray[Any]:
    """Return (k, 2) numbers of an earlier and a later lesion of one label that share enough of their place."""
    maps = [lesion_map(report, mask) for report, mask in zip(reports, masks, strict=True)]
    worlds = [masks[0].world, masks[1].world if to_earlier is None else to_earlier @ masks[1].world]
    shared = overlap_volumes(maps[0], worlds[0], maps[1], worlds[1])
    sizes, labels = [], []
    for report, world in zip(reports, worlds, strict=True):
        voxel = abs(np.linalg.det(world[:-1, :-1]))
        sizes.append(np.array([np.inf, *(one.voxels * voxel for one in report.lesions)]))
        labels.append(np.array([0, *(one.label for one in report.lesions)]))
    enough = shared >= LEAST_SHARE * np.minimum.outer(*sizes)
    return np.argwhere(enough & np.equal.outer(*labels) & (shared > 0))


def _lesions(reports: Sequence[Report], masks: Sequence[Scan], pairs: NDArray[Any]) -> tuple[LesionChange, ...]:
    """Return what became of each lesion: by label, those that there are now first, large ones first."""
    earlier, later = (report.lesions for report in reports)
    count, total = len(earlier), len(earlier) + len(later)
    ends = (pairs[:, 0] - 1, count + pairs[:, 1] - 1)
    graph = coo_array((np.ones(len(pairs), bool), ends), shape=(total, total))
    groups = connected_components(graph, directed=False)[1] if total else np.empty(0, int)
    found = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        before, after = [earlier[n] for n in members if n < count], [later[n - count] for n in members if n >= count]
        found.append(_change(before, after, [mask.world for mask in masks]))
    return tuple(sorted(found, key=lambda one: (one.label, not one.after, -max(one.volume_after, one.volume_before))))


def _change(
    before: list[MeasuredLesion], after: list[MeasuredLesion], worlds: Sequence[NDArray[np.float64]]
) -> LesionChange:
    volumes = [float(sum(one.volume for one in some)) for some in (before, after)]
    about = (before or after)[0]
    return LesionChange(
        kind_of(len(before), len(after)),
        about.label,
        about.name,
        tuple(one.number for one in before),
        tuple(one.number for one in after),
        volumes[0],
        volumes[1],
        100 * (volumes[1] - volumes[0]) / volumes[0] if before else None,
        _place(before, worlds[0]),
        _place(after, worlds[1]),
    )


def kind_of(before: int, after: int) -> ChangeKind:
    """Return what became of so many earlier lesions that are so many later ones.

    Examples
    --------
    >>> kind_of(1, 2).value, kind_of(2, 1).value, kind_of(0, 1).value
    ('split', 'merged', 'new')
    """
    if not before or not after:
        return ChangeKind.GONE if before else ChangeKind.NEW
    if before == 1:
        return ChangeKind.CHANGED if after == 1 else ChangeKind.SPLIT
    return ChangeKind.MERGED if after == 1 else ChangeKind.SPLIT_AND_MERGED


def _place(lesions: list[MeasuredLesion], world: NDArray[np.float64]) -> Point | None:
    largest = max(lesions, key=lambda one: one.voxels, default=None)
    if largest is None:
        return None
    at = world @ [*np.mean(largest.longest_line, axis=0), 1.0]
    return tuple(float(one) for one in at[:-1])


def change_rows(found: FollowUp) -> list[dict[str, Any]]:
    """Return a flat row per `LesionChange`; unknown values are None."""
    about = {
        "volume_units": found.later.volume_units,
        "placing": found.placing.value,
        "earlier": found.earlier.mask,
        "later": found.later.mask,
        "version": __version__,
    }
    return [
        asdict(one)
        | {"kind": one.kind.value, "before": _numbers(one.before), "after": _numbers(one.after)}
        | {"place_before": _numbers(one.place_before), "place_after": _numbers(one.place_after)}
        | about
        for one in found.lesions
    ]


def _numbers(values: Sequence[float] | None) -> str | None:
    return None if values is None else " ".join(str(short(value)) for value in values)


def write_changes(path: Path, found: FollowUp) -> None:
    """Write a row per `LesionChange` as CSV, whole or not at all; raises OutputError and leaves an old file."""
    write_rows(path, change_rows(found), ["kind", "label", "name", "volume_before", "volume_after"])
