"""Clicks and boxes on a scan: read them, check them, predict the lesions, and put these into the mask."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.base.text import shape_text
from napari_unet_tumour.clicks.answer import INSIDE, Click, Known, relevelled
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.postprocess.threshold import effective_threshold
from napari_unet_tumour.runtime.clicks import answer_plane, iter_outline_volume

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.engine.inference.segment import Segmentation
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.runtime.clicks import ClickModel
    from napari_unet_tumour.scans.scan import Scan
    from napari_unet_tumour.settings import SegmentSettings

SIGNS = {"+1": 1, "1": 1, "+": 1, "add": 1, "-1": -1, "-": -1, "remove": -1}


@dataclass(frozen=True)
class Mark:
    """A click, or a box, on a scan.

    Parameters
    ----------
    place : tuple of float
        An index for every axis of the mask; for a box, one corner.
    sign : int
        +1 to add, -1 to remove.
    label : str or int
        Name or number of the label.
    corner : tuple of float
        The opposite corner of a box; empty for a click.
    where : str
        Its name in errors, e.g. "click 3".
    """

    place: tuple[float, ...]
    sign: int
    label: str | int
    corner: tuple[float, ...] = ()
    where: str = "the click"


@dataclass(eq=False)
class Marked:
    """The clicks on one plane for one label."""

    clicks: list[Click] = field(default_factory=list)
    region: NDArray[np.bool_] | None = None


def marks_of(clicks: Iterable[Sequence[Any]], boxes: Iterable[Sequence[Any]], axes: int) -> list[Mark]:
    """Parse clicks and boxes as `segment` takes them.

    Parameters
    ----------
    clicks : iterable of (index, ..., sign) or (index, ..., sign, label)
        With an index for each of the mask's axes.
    boxes : iterable of (index, ..., index, ...) or (index, ..., index, ..., label)
        Two opposite corners in one plane.
    axes : int
        Number of axes of the mask.

    Raises
    ------
    ScanError
        A click or box has too many or too few values, or a value is not a number.
    """
    found = []
    for n, one in enumerate(clicks, 1):
        where, parts = f"click {n}", list(one)
        if len(parts) not in (axes + 1, axes + 2):
            raise ScanError(
                f"{where} has {len(parts)} parts, {parts}: give an index for each of the {axes} axes, then +1 or -1"
            )
        label = parts[axes + 1] if len(parts) > axes + 1 else 1
        found.append(Mark(_numbers(parts[:axes], where), _sign(parts[axes], where), label, (), where))
    for n, one in enumerate(boxes, 1):
        where, parts = f"box {n}", list(one)
        if len(parts) not in (2 * axes, 2 * axes + 1):
            raise ScanError(
                f"{where} has {len(parts)} parts, {parts}: give two opposite corners with {axes} indices each"
            )
        label = parts[2 * axes] if len(parts) > 2 * axes else 1
        found.append(Mark(_numbers(parts[:axes], where), 1, label, _numbers(parts[axes : 2 * axes], where), where))
    return found


def read_clicks(path: str | Path, axes: int) -> list[Mark]:
    """Read a CLICKS.csv with the columns z, y, x, sign and optionally label, y2 and x2 (opposite corner of a box).

    Parameters
    ----------
    path : str or pathlib.Path
        Comma-separated, UTF-8, with a header line; sign is +1 or -1. The indices are those of the scan's array. A flat
        image needs no z; a scan with time needs a column t.
    axes : int
        Number of axes of the mask.

    Raises
    ------
    ScanError
        The file cannot be read or lacks a column, or a line is invalid.
    """
    path = Path(path).expanduser()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, skipinitialspace=True)
            names = "tzyx"[-axes:] if axes <= 4 else ""
            missing = [name for name in (*names, "sign") if name not in (table.fieldnames or [])]
            if missing:
                raise ScanError(
                    f"{path.name} has no column {' and no column '.join(missing)}: "
                    f"the first line must be {','.join((*names, 'sign'))}"
                )
            found = [_mark_of(row, names, f"{path.name} line {table.line_num}") for row in table if any(row.values())]
    except OSError as error:
        raise ScanError(f"{path} cannot be read ({error.strerror}): check the path and permissions") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ScanError(f"{path.name} is no text file of comma-separated values: save it as CSV (UTF-8)") from error
    if not found:
        raise ScanError(f"{path.name} has no rows: add a line with a click")
    return found


def _mark_of(row: dict[str, Any], names: str, where: str) -> Mark:
    place = _numbers([row[name] for name in names], where)
    label = (row.get("label") or "").strip() or 1
    ends = [row.get(name) for name in ("y2", "x2")]
    if not any(ends):
        return Mark(place, _sign(row["sign"], where), label, (), where)
    return Mark(place, 1, label, (*place[:-2], *_numbers(ends, where)), where)


def _numbers(parts: Sequence[Any], where: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        found = (math.nan,)
    if not all(map(math.isfinite, found)):
        raise ScanError(f"{where} has a place that is no number, {list(parts)}: give indices of the scan's array")
    return found


def _sign(given: Any, where: str) -> int:
    text = given.strip() if isinstance(given, str) else f"{given:g}" if isinstance(given, float) else str(given)
    if text not in SIGNS:
        raise ScanError(f"{where} has the sign '{text}': give +1 to add or -1 to remove")
    return SIGNS[text]


def sorted_marks(marks: Sequence[Mark], layout: SliceLayout, spec: ModelSpec) -> dict[tuple[int, int], Marked]:
    """Return the clicks and boxes by (plane, label).

    Raises
    ------
    ScanError
        A click lies outside the scan, a box in more than one plane, or a label does not exist.
    """
    found: dict[tuple[int, int], Marked] = {}
    for mark in marks:
        plane, row, column = _placed(mark.place, layout, mark.where)
        marked = found.setdefault((plane, _label(mark, spec)), Marked())
        if not mark.corner:
            marked.clicks.append(Click(row, column, mark.sign))
            continue
        other, row2, column2 = _placed(mark.corner, layout, mark.where)
        if other != plane:
            raise ScanError(f"{mark.where} has its corners in two slices: give both corners in one slice")
        if marked.region is None:
            marked.region = np.zeros(layout.plane_shape, bool)
        rows, columns = sorted((row, row2)), sorted((column, column2))
        marked.region[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = True
    return found


def _placed(place: tuple[float, ...], layout: SliceLayout, where: str) -> tuple[int, int, int]:
    """Return plane, row and column of an index position."""
    shape = layout.mask_shape
    index = [math.floor(one + 0.5) for one in place]
    if not all(0 <= at < size for at, size in zip(index, shape, strict=True)):
        given = ", ".join(f"{one:g}" for one in place)
        raise ScanError(
            f"{where} lies at {given}, outside the scan of {shape_text(shape)} pixels: "
            "give indices from 0 on, in the order of the scan's axes"
        )
    # The mask has no channel axis, but the axis numbers of the layout count it.
    axes = [axis for axis in range(len(layout.shape)) if axis != layout.channel]
    at = dict(zip(axes, index, strict=True))
    slices = [at[axis] for axis in layout.slice_axes]
    sizes = [layout.shape[axis] for axis in layout.slice_axes]
    plane = int(np.ravel_multi_index(slices, sizes)) if slices else 0
    return plane, at[layout.rows], at[layout.columns]


def _label(mark: Mark, spec: ModelSpec) -> int:
    known = spec.labels
    text = str(mark.label).strip()
    if text in known[1:]:
        return known.index(text)
    if text.isdigit() and 1 <= int(text) < len(known):
        return int(text)
    names = ", ".join(f"{n} {name}" for n, name in enumerate(known) if n)
    raise ScanError(
        f"{mark.where} has the label '{text}', the model {spec.name} knows {names}: "
        "give one of these, or choose another model"
    )


def with_clicks(
    found: Segmentation,
    marks: Sequence[Mark],
    planes: NDArray[Any],
    layout: SliceLayout,
    model: ClickModel,
    settings: SegmentSettings,
    outline: bool = False,
    spacing: Sequence[float | None] = (None, None, None),
) -> Segmentation:
    """Return a segmentation with the clicked lesions added and removed.

    Parameters
    ----------
    found : Segmentation
        The automatic segmentation.
    planes : numpy.ndarray
        (N, C, H, W), all planes of the scan.
    model : ClickModel
        What answers the clicks, see `engine.clicks.predict.load_clicks`.
    outline : bool
        Follow each lesion from the clicked slice to its neighbours, as far as it reaches.
    spacing : sequence of float or None
        Height and width of a pixel and distance of the slices in mm; None where unknown.

    Raises
    ------
    ScanError
        See `sorted_marks`.
    """
    wanted = sorted_marks(marks, layout, model.spec)
    mask, probability = found.mask.copy(), found.probability.copy()
    base = _Base(found, layout, settings)
    answers: dict[tuple[int, int], NDArray[np.uint8]] = {}
    if outline:
        for (plane, label), marked in wanted.items():
            for n, one in _followed(model, planes, plane, label, marked, base, layout, spacing).items():
                own, before = base.of(n, label), answers.get((n, label))
                # Each lesion's outline changes what the network said around that lesion, and nothing else.
                changed = (one >= INSIDE) != (own >= INSIDE)
                answers[n, label] = one if before is None else np.where(changed, one, before)
    for (plane, label), marked in wanted.items():
        known = Known(base=base.of(plane, label), region=marked.region)
        answers[plane, label] = answer_plane(model, planes[plane], marked.clicks, known)
    for (plane, label), one in answers.items():
        inside, old = one >= INSIDE, layout.read_plane_region(mask, plane)
        layout.write_plane(mask, plane, np.where(inside, label, np.where(old == label, 0, old)).astype(np.uint8))
        probability[plane, label - 1] = relevelled(one, INSIDE, base.level(plane))
    return replace(found, mask=mask, probability=probability)


def spacing_of(scan: Scan, layout: SliceLayout) -> tuple[float | None, float | None, float | None]:
    """Return height and width of a scan's pixels and the distance of its slices in mm, None where it says nothing."""
    if scan.units != "mm":
        return None, None, None if layout.slice_distance else 0.0
    sides = dict(zip(scan.spatial, scan.spacing, strict=True))
    row, column = (float(sides[axis]) if axis in sides else None for axis in (layout.rows, layout.columns))
    step = None if row is None or column is None else layout.slice_distance * math.sqrt(row * column)
    return row, column, step


class _Base:
    """The automatic prediction by plane and label: `INSIDE` or more exactly where the mask has the label."""

    def __init__(self, found: Segmentation, layout: SliceLayout, settings: SegmentSettings) -> None:
        self._found, self._layout, self._settings = found, layout, settings

    def level(self, plane: int) -> int:
        together = self._found.probability[plane].sum(0, dtype=np.uint32)
        return effective_threshold(together, self._settings)

    def of(self, plane: int, label: int) -> NDArray[np.uint8]:
        values = relevelled(self._found.probability[plane, label - 1], self.level(plane), INSIDE)
        there = self._layout.read_plane_region(self._found.mask, plane) == label
        return np.where(there, np.maximum(values, INSIDE), np.minimum(values, INSIDE - 1))


def _followed(
    model: ClickModel, planes: NDArray[Any], plane: int, label: int, marked: Marked, base: _Base, layout: SliceLayout,
    spacing: Sequence[float | None],
) -> dict[int, NDArray[np.uint8]]:  # fmt: skip
    """Return the answers by plane of a lesion that was clicked on one, among the planes that are its neighbours."""
    # Planes are numbered volume by volume; a volume has as many planes as the last slice axis.
    length = layout.shape[layout.slice_axes[-1]] if layout.slice_axes else 1
    first = plane - plane % length
    bases = np.stack([base.of(n, label) for n in range(first, first + length)])
    known = Known(base=bases[plane - first], region=marked.region)
    steps = iter_outline_volume(
        model, planes[first : first + length], plane - first, marked.clicks, bases, known, spacing
    )
    return {first + n: one for n, one in exhaust(steps).items()}
