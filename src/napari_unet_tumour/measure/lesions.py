"""From runs to lesions: size, diameters, position and brightness."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.measure.components import components_of
from napari_unet_tumour.measure.diameters import grown_hull, longest_lines, perpendicular_line
from napari_unet_tumour.measure.types import Brightness, MeasuredLesion, Total
from napari_unet_tumour.settings import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from numpy.typing import NDArray

    from napari_unet_tumour.measure.components import Ints, RunLengths
    from napari_unet_tumour.measure.diameters import Floats, Line
    from napari_unet_tumour.measure.geometry import MaskGeometry

    Frame = tuple[int, ...]

MEASURABLE = 10.0  # mm, RECIST 1.1
TARGETS = 5  # RANO adds up at most five lesions
MOST = 20_000  # components; more cannot be lesions, and would take a minute


def iter_lesions(
    runs: RunLengths, image: Any, grid: MaskGeometry, frame: Frame, names: dict[int, str], count: int
) -> Generator[Progress, None, tuple[list[MeasuredLesion], list[Total]]]:
    """Measure the lesions of one frame.

    Parameters
    ----------
    runs : RunLengths
        The runs of the frame's mask.
    image : numpy.ndarray or dask.array.Array or None
        (slices, rows, columns), the scan in the same grid.
    grid, frame
        The geometry of the mask, and the index of the frame.
    names : dict
        Names by pixel value; each gets a total.
    count : int
        Number of lesions in earlier frames.

    Yields
    ------
    Progress
        Once per lesion.

    Returns
    -------
    tuple of list
        Lesions by label and size, totals by label.

    Raises
    ------
    ScanError
        If there are too many components for a mask.
    """
    runs, ends = by_lesion(runs)
    if len(ends) > MOST:
        raise ScanError(
            f"the mask has {len(ends) - 1:,} separate pieces: choose a mask, not a scan, or remove its specks"
        )
    values = None if image is None else _values(runs, image)
    pixels = np.concatenate([[0], np.cumsum(runs.length)])
    lesions: list[MeasuredLesion] = []
    for first, after in pairwise(ends):
        inside = None if values is None else values[pixels[first] : pixels[after]]
        lesions.append(_lesion(runs.take(slice(first, after)), inside, grid, frame, names, count + len(lesions) + 1))
        yield Progress(len(lesions), len(ends) - 1, "measuring")
    return lesions, _totals(lesions, values, grid, frame, names)


def by_lesion(runs: RunLengths) -> tuple[RunLengths, list[int]]:
    """Sort the runs by label, then by size of the lesion (large first); also return where each lesion begins."""
    piece = components_of(runs)
    size = np.bincount(piece, runs.length)[piece]
    order = np.lexsort((np.arange(len(runs)), piece, -size, runs.value))
    begins = np.flatnonzero(np.diff(piece[order], prepend=-1))
    return runs.take(order), [*(int(i) for i in begins), len(runs)]


def _values(runs: RunLengths, image: Any) -> NDArray[Any]:
    """Read the scan's pixels under the runs, in their order, one slice at a time (the scan may be lazy)."""
    found = np.empty(int(runs.length.sum()), image.dtype)
    place = np.cumsum(runs.length) - runs.length
    by_plane = np.argsort(runs.plane, kind="stable")
    starts = np.flatnonzero(np.diff(runs.plane[by_plane], prepend=-1))
    for first, after in pairwise([*starts, len(runs)]):
        which = by_plane[first:after]
        length = runs.length[which]
        step = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        plane = np.asarray(image[int(runs.plane[which[0]])])
        columns = np.repeat(runs.start[which], length) + step
        found[np.repeat(place[which], length) + step] = plane[np.repeat(runs.row[which], length), columns]
    return found


def _brightness(values: NDArray[Any] | None) -> Brightness:
    finite = None if values is None else values[np.isfinite(values)]
    if finite is None or not len(finite):
        return Brightness()
    p5, p50, p95 = (float(p) for p in np.percentile(finite.astype(np.float64, copy=False), (5, 50, 95)))
    return Brightness(float(finite.mean(dtype=np.float64)), p5, p50, p95)


def _lesion(
    runs: RunLengths, values: NDArray[Any] | None, grid: MaskGeometry, frame: Frame, names: dict[int, str], number: int
) -> MeasuredLesion:
    label, voxels = int(runs.value[0]), int(runs.length.sum())
    planes = np.unique(runs.plane)
    areas = np.bincount(runs.plane - planes[0], runs.length)[planes - planes[0]]
    widest = int(np.argmax(areas))
    plane, (longest, axis), (across, crossing) = _diameters(runs, planes, areas, grid)
    centroid = grid.point(frame, *_centre(runs))
    ends = [(grid.point(frame, plane, *one), grid.point(frame, plane, *other)) for one, other in (axis, crossing)]
    return MeasuredLesion(
        number=number,
        label=label,
        name=names.get(label, f"label {label}"),
        frame=frame,
        voxels=voxels,
        volume=voxels * grid.voxel_volume,
        slices=len(planes),
        area=float(areas[widest]) * grid.pixel_area,
        area_slice=int(planes[widest]),
        longest=longest,
        perpendicular=across,
        product=longest * across,
        diameter_slice=plane,
        measurable=longest >= MEASURABLE - 1e-6 if grid.mm else None,
        longest_line=ends[0],
        perpendicular_line=ends[1],
        centroid=centroid,
        position=grid.world(centroid),
        brightness=_brightness(values),
    )


def _centre(runs: RunLengths) -> tuple[float, float, float]:
    columns = (runs.start + runs.stop - 1) / 2
    plane, row, column = (float(np.average(i, weights=runs.length)) for i in (runs.plane, runs.row, columns))
    return plane, row, column


def _diameters(
    runs: RunLengths, planes: Ints, areas: NDArray[np.float64], grid: MaskGeometry
) -> tuple[int, tuple[float, Line], tuple[float, Line]]:
    """Return the slice with the longest diameter (of equal ones, that with the larger area), and both diameters."""
    metric = grid.metric
    best, best_area = 0.0, 0.0
    found: tuple[int, RunLengths, Floats, list[Line]] = (0, runs, metric, [])
    for plane, area, bound, here in _slices(runs, planes, areas, metric):
        if bound < best * (1 - 1e-9):
            break
        hull = grown_hull(here)
        length, lines = longest_lines(hull, metric)
        if length > best * (1 + 1e-9) or (length > best * (1 - 1e-9) and area > best_area):
            best, best_area, found = length, area, (plane, here, hull, lines)
    plane, here, hull, lines = found
    crossings = [perpendicular_line(here, hull, line, metric) for line in lines]
    chosen = max(range(len(lines)), key=lambda i: round(crossings[i][0] / best, 9))
    return plane, (best, lines[chosen]), crossings[chosen]


def _slices(
    runs: RunLengths, planes: Ints, areas: NDArray[np.float64], metric: NDArray[np.float64]
) -> Iterator[tuple[int, float, float, RunLengths]]:
    """Yield (plane, area, upper bound of its diameter, its runs), largest bound first."""
    order = np.argsort(runs.plane, kind="stable")
    runs = runs.take(order)
    begins = np.flatnonzero(np.diff(runs.plane, prepend=-1))
    high = np.maximum.reduceat(runs.row, begins) - np.minimum.reduceat(runs.row, begins) + 1
    wide = np.maximum.reduceat(runs.stop, begins) - np.minimum.reduceat(runs.start, begins)
    corners = [metric @ np.stack([high, side * wide]).astype(np.float64) for side in (1, -1)]
    bound = np.maximum(*(np.hypot(*corner) for corner in corners))
    ends = [*begins, len(runs)]
    for i in np.argsort(-bound, kind="stable"):
        yield int(planes[i]), float(areas[i]), float(bound[i]), runs.take(slice(ends[i], ends[i + 1]))


def _totals(
    lesions: list[MeasuredLesion], values: NDArray[Any] | None, grid: MaskGeometry, frame: Frame, names: dict[int, str]
) -> list[Total]:
    totals, first = [], 0
    for label in sorted({*names, *(one.label for one in lesions)}):
        mine = [one for one in lesions if one.label == label]
        voxels = sum(one.voxels for one in mine)
        # The values lie in the order of the lesions, which is the order of the labels.
        inside = None if values is None else values[first : first + voxels]
        first += voxels
        products = sorted((one.product for one in mine), reverse=True)
        totals.append(
            Total(
                label=label,
                name=names.get(label, f"label {label}"),
                frame=frame,
                lesions=len(mine),
                voxels=voxels,
                volume=voxels * grid.voxel_volume,
                product_sum=float(sum(products[:TARGETS])),
                brightness=_brightness(inside),
            )
        )
    return totals
