"""Put a mask onto a scan's grid by place: where each of its voxels lies, never by array index.

`to_grid` and `move_labels` know arrays and affines only (any number of axes), so layers use them too. `put_on_scan`
decides for two scans that were read from files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans import geometry
from napari_unet_tumour.scans.frame_of_reference import FrameRelation, frame_relation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_unet_tumour.scans.scan import Scan

Matrix = NDArray[np.float64]
Shape = tuple[int, ...]

# Voxels that two grids may lie apart and still count as one grid.
SAME = 0.1
# Up to here the nearest voxel is the same one everywhere, so that no interpolation is needed.
NEAREST = 0.49
# Of two voxels that are equally near the lower one is taken, whatever the last digits of an affine are.
TIE = 1e-4
AXIS_NAMES = {"t": "time points", "z": "slices", "y": "rows", "x": "columns"}


class NoOverlapError(ScanError):
    """Two grids have no place in common."""


class OutsideError(NoOverlapError):
    """Two grids overlap, but nothing that is drawn lies within both."""


class MisfitError(ScanError):
    """Mask and scan can only be taken voxel by voxel, and have other shapes, which `has` and `needs` say."""

    def __init__(self, text: str, has: str, needs: str) -> None:
        super().__init__(text)
        self.has, self.needs = has, needs


@dataclass(frozen=True, eq=False)
class GridMap:
    """How the grid of a mask lies to that of a scan.

    Parameters
    ----------
    shape : tuple of int
        The scan's grid.
    source : tuple of int
        The mask's grid, with as many axes.
    to_mask : numpy.ndarray
        (n+1, n+1) float64, index in the scan -> index in the mask.
    order, signs, offset : tuple of int
        Where the grids are turns or crops of each other: scan axis i is mask axis `order[i]`, with
        mask index = `signs[i]` * scan index + `offset[i]`. Empty where the mask must be resampled.
    apart : float
        Largest distance from a voxel of the scan to the mask's nearest one, in voxels of the mask, along any axis.
    """

    shape: Shape
    source: Shape
    to_mask: Matrix
    order: tuple[int, ...] = ()
    signs: tuple[int, ...] = ()
    offset: tuple[int, ...] = ()
    apart: float = 0.0

    @property
    def is_turn(self) -> bool:
        """Whether every voxel of the scan has one of the mask, or lies outside it."""
        return bool(self.order)

    @property
    def is_same(self) -> bool:
        """Whether both grids are one: index n of the mask is index n of the scan."""
        same = self.order == tuple(range(len(self.shape))) and not any(self.offset) and min(self.signs, default=1) > 0
        return same and self.shape == self.source and self.apart <= SAME

    @property
    def fills(self) -> bool:
        """Whether the grids are turns of each other with the same voxels, none more and none less."""
        if not self.is_turn or self.apart > SAME:
            return False
        return all(
            self.span(i) == (0, n) and self.source[j] == n
            for i, (n, j) in enumerate(zip(self.shape, self.order, strict=True))
        )

    def axis_along(self, j: int) -> int:
        """Return the scan's axis that runs closest to axis `j` of the mask."""
        back = np.linalg.inv(self.to_mask[:-1, :-1])
        return int(np.abs(back[:, j]).argmax()) if not self.is_turn else self.order.index(j)

    def span(self, i: int) -> tuple[int, int]:
        """Return the indices (start, stop) along scan axis i that lie within the mask."""
        return _span(self.shape[i], self.source[self.order[i]], self.signs[i], self.offset[i])


@dataclass(frozen=True, eq=False)
class Placed:
    """Labels on a scan's grid.

    Parameters
    ----------
    array : numpy.ndarray
        Of the scan's shape and the mask's dtype.
    note : str
        One or two sentences on what was done, "" where the grids agree.
    lost : int
        Labelled voxels of the mask that lie outside the scan and are left out.
    """

    array: Any
    note: str = ""
    lost: int = 0


@dataclass(frozen=True, eq=False)
class PlacedMask:
    """A mask as a Scan on the grid of another one, and what was done; see `Placed`."""

    mask: Scan
    note: str = ""
    lost: int = 0


def to_grid(source: Sequence[int], mask: Matrix, shape: Sequence[int], scan: Matrix) -> GridMap:
    """Find how a mask's grid lies to a scan's.

    Parameters
    ----------
    source, shape : sequence of int
        Shapes of the mask's and the scan's grid, n axes each.
    mask, scan : numpy.ndarray
        (n+1, n+1) float64, index -> place, both into the same world in the same units.

    Raises
    ------
    NoOverlapError
        The grids have no place in common.
    """
    source, shape = tuple(int(n) for n in source), tuple(int(n) for n in shape)
    to_mask = np.linalg.inv(mask) @ scan
    low, high = _reach(to_mask, shape)
    if (high < -0.5).any() or (low > np.array(source) - 0.5).any():
        raise NoOverlapError("the mask does not overlap the scan: choose the mask of this scan")
    return _as_turn(GridMap(shape, source, to_mask))


def move_labels(array: Any, where: GridMap, axes: str = "", spacings: str = "") -> Placed:
    """Put labels onto a scan's grid.

    Parameters
    ----------
    array : array
        The mask's labels, of `where.source`, numpy or lazy; 0 is background.
    where : GridMap
        From `to_grid`.
    axes : str
        A letter per axis of the scan, for the sentence; "zyx" and the like.
    spacings : str
        What the sentence says of the two spacings where the mask is resampled.

    Returns
    -------
    Placed
        Exact where the grids are turns or crops of each other, else the nearest voxel's label.

    Raises
    ------
    NoOverlapError
        Something is drawn, and nothing of it lies within the scan.
    """
    if where.is_same:
        return Placed(array)
    values = np.asarray(array)
    drawn = int(np.count_nonzero(values))
    if where.is_turn:
        moved, gone = _turned(values, where), 0
        lost = drawn - int(np.count_nonzero(moved))
        how = _turn_sentence(where, axes)
    else:
        moved, lost, gone = _nearest(values, where)
        how = f"The mask was resampled onto the scan's grid (nearest neighbour{'; ' * bool(spacings)}{spacings})."
    # A large voxel may reach into the scan with its centre outside.
    if drawn and lost == drawn and not moved.any():
        raise OutsideError("what the mask marks lies outside the scan: choose the mask of this scan")
    return Placed(moved, " ".join([how, *_lost_sentences(lost, drawn, gone)]), lost)


def put_on_scan(mask: Scan, scan: Scan, names: tuple[str, str] | None = None) -> PlacedMask:
    """Put a mask onto the grid of its scan.

    By place where both know theirs; else voxel by voxel, which needs the same shape.

    Parameters
    ----------
    mask : Scan
        Label values, without colours.
    scan : Scan
        The scan, whose channel axis does not count.
    names : tuple of str, optional
        What errors call the mask and the scan; by default their names.

    Returns
    -------
    PlacedMask
        The mask with the axes, affine and units of the scan; `note` says how it came there, "" where the grids agree.

    Raises
    ------
    ScanError
        The two do not overlap, or one does not know its place and their shapes differ; names both.
    """
    called = names or (f"{mask.name!r}", f"{scan.name!r}")
    mask = _with_times_of(mask, scan, called)
    try:
        found = _by_place(mask, scan) if both_know_place(mask, scan) else _by_turn_or_index(mask, scan, called)
    except OutsideError as error:
        raise ScanError(f"what {called[0]} marks lies outside {called[1]}: choose the mask of this scan") from error
    except NoOverlapError as error:
        raise ScanError(
            f"{called[0]} lies elsewhere than {called[1]}, they do not overlap: choose the mask of this scan"
        ) from error
    axes = scan.axes.replace("c", "")
    note = " ".join(filter(None, [found.note, _other_frame(mask, scan)]))
    # A writer finds the grid there: it must be the scan's.
    extra = {**scan.extra, **{key: mask.extra[key] for key in ("labels", "names", "notes") if key in mask.extra}}
    placed = replace(mask, array=found.array, axes=axes, affine=scan.affine, units=scan.units, extra=extra)
    return PlacedMask(placed, note, found.lost)


def knows_place(scan: Scan) -> bool:
    """Tell whether a scan says where it lies: not only how large its voxels are, and not a bare default."""
    if scan.affine is None or scan.extra.get("spacing_only"):
        return False
    return scan.units == "mm" or not geometry.is_featureless(scan.affine)


def check_place(scan: Scan) -> None:
    """Raise ScanError where a scan does not say where it lies."""
    if not knows_place(scan):
        raise ScanError(
            f"'{scan.name}' does not say where it lies in the patient: open it from a file that does (DICOM, NIfTI)"
        )


def both_know_place(mask: Scan, scan: Scan) -> bool:
    """Tell whether two scans can be brought together by place: both know theirs, in one space and the same units."""
    same_space = len(mask.spatial) == len(scan.spatial) and mask.units == scan.units
    return same_space and knows_place(mask) and knows_place(scan)


# ---- how two scans go together ---------------------------------------------------------------


def _by_place(mask: Scan, scan: Scan) -> Placed:
    return move_labels(mask.array, _grid_map(mask, scan), scan.axes.replace("c", ""), _spacings(mask, scan))


def _grid_map(mask: Scan, scan: Scan) -> GridMap:
    return to_grid(mask.array.shape, _whole(mask), _grid_shape(scan), _whole(scan))


def _by_turn_or_index(mask: Scan, scan: Scan, called: tuple[str, str]) -> Placed:
    """Place a mask where not both sides know their place."""
    turn = _full_turn(mask, scan)
    if turn is not None:
        return move_labels(mask.array, turn, scan.axes.replace("c", ""))
    array, shape = _in_file_order(mask, scan), _grid_shape(scan)
    if array.shape != shape and _bare(array.shape) == _bare(shape):
        array = array.reshape(shape)
    if array.shape != shape:
        raise _misfit(mask, scan, called)
    known = knows_place(mask), knows_place(scan)
    if known[0] == known[1]:
        return Placed(array)
    mute = "scan" if known[0] else "mask"
    return Placed(array, f"The {mute} does not say where it lies: the mask was taken voxel by voxel.")


def _full_turn(mask: Scan, scan: Scan) -> GridMap | None:
    """Return how the grids lie where the numbers in both affines say that they are turns of each other.

    A program that turns an array moves its origin: one of the two may look like a default that says nothing, and the
    other may not.
    """
    # The default of a NIfTI file that gives no place is a place too where a program has written it into the mask.
    if any(one.affine is None or (one.extra.get("spacing_only") and "nifti" not in one.extra) for one in (mask, scan)):
        return None
    if len(mask.spatial) != len(scan.spatial):
        return None
    try:
        where = _grid_map(mask, scan)
    except NoOverlapError:
        return None
    return where if where.fills else None


def _in_file_order(mask: Scan, scan: Scan) -> Any:
    """Return the mask's voxels in the scan's axis order, by their order in the two NIfTI files.

    Reading turns the axes by what the affine says. Where one of the two affines says nothing, only the order in the
    file is common to both.
    """
    mine, theirs = mask.extra.get("nifti"), scan.extra.get("nifti")
    if mine is None or theirs is None or len(mask.spatial) != 3:
        return mask.array
    first = mask.array.ndim - 3
    turn = np.argsort(mine["order"])[list(theirs["order"])]
    return mask.array.transpose(*range(first), *(first + n for n in turn))


def _with_times_of(mask: Scan, scan: Scan, called: tuple[str, str]) -> Scan:
    """Return the mask with the scan's axes that are no space, which must have the same lengths."""
    if "c" in mask.axes:
        raise ScanError(f"{called[0]} has colours or channels, so it is no mask: save one channel of label values")
    here, there = _times(mask), _times(scan)
    if here == there:
        return mask
    spare = [letter for letter, n in here.items() if n == 1 and letter not in there]
    missing = [letter for letter, n in there.items() if n == 1 and letter not in here]
    left = mask.array[tuple(0 if letter in spare else slice(None) for letter in mask.axes)]
    axes = "".join(letter for letter in mask.axes if letter not in spare)
    mask = replace(mask, array=left.reshape((1,) * len(missing) + left.shape), axes="".join(missing) + axes)
    if _times(mask) != there:
        raise _misfit(mask, scan, called)
    return mask


def _times(scan: Scan) -> dict[str, int]:
    return {letter: int(n) for n, letter in zip(scan.array.shape, scan.axes, strict=True) if letter not in "zyxc"}


def _grid_shape(scan: Scan) -> Shape:
    return tuple(int(n) for n, letter in zip(scan.array.shape, scan.axes, strict=True) if letter != "c")


def _bare(shape: Sequence[int]) -> Shape:
    return tuple(n for n in shape if n != 1)


def _whole(scan: Scan) -> Matrix:
    """Return index -> place of all axes but channels; time keeps its index."""
    axes = scan.axes.replace("c", "")
    whole = np.eye(len(axes) + 1)
    at = [*(n for n, letter in enumerate(axes) if letter in "zyx"), len(axes)]
    whole[np.ix_(at, at)] = scan.world
    return whole


def _misfit(mask: Scan, scan: Scan, called: tuple[str, str]) -> MisfitError:
    has, needs = (" x ".join(map(str, _grid_shape(one))) for one in (mask, scan))
    text = f"{called[0]} has {has} pixels and {called[1]} has {needs}"
    if knows_place(scan) and not knows_place(mask):
        return MisfitError(
            f"{text}, and the mask does not say where it lies: choose the mask of this scan, or save it as NIfTI with "
            "its affine", has, needs,
        )  # fmt: skip
    return MisfitError(f"{text}: choose the mask of this scan", has, needs)


def _other_frame(mask: Scan, scan: Scan) -> str:
    """Return a sentence where the files say that the two were not measured in one coordinate system."""
    if frame_relation(mask, scan) is not FrameRelation.DIFFERENT:
        return ""
    return (
        "The mask names another frame of reference than the scan, as after the patient was moved: "
        "look whether it lies on the scan."
    )


# ---- how two grids lie -------------------------------------------------------------------------


def _reach(matrix: Matrix, shape: Sequence[int]) -> tuple[Matrix, Matrix]:
    """Return the lowest and highest place that the corners of a grid are mapped to, (n,) each."""
    corners = np.array([[*corner, 1] for corner in np.ndindex(*(2,) * len(shape))], np.float64)
    corners[:, :-1] *= np.array(shape) - 1
    ends = (corners @ matrix.T)[:, :-1]
    return ends.min(axis=0), ends.max(axis=0)


def _as_turn(where: GridMap) -> GridMap:
    """Return the map with order, signs and offset where rounding them finds the nearest voxel everywhere."""
    linear = where.to_mask[:-1, :-1]
    steps = np.round(linear)
    order = tuple(int(j) for j in np.abs(steps).argmax(axis=0))
    if (np.abs(steps).sum(axis=0) != 1).any() or (np.abs(steps).sum(axis=1) != 1).any():
        return where
    signs = tuple(int(steps[j, i]) for i, j in enumerate(order))
    # Rounded in the middle of what both share, where drifts of the two affines are smallest.
    low, high = _reach_back(where.to_mask, [slice(0, n) for n in where.source])
    last = np.array(where.shape) - 1.0
    middle = (np.clip(low, 0, last) + np.clip(high, 0, last)) / 2
    drift = where.to_mask[:-1, -1] + (linear - steps) @ middle
    offset = np.ceil(drift - 0.5 - TIE).astype(int)
    spans = [_span(n, where.source[j], s, int(offset[j])) for n, j, s in zip(where.shape, order, signs, strict=True)]
    if any(start >= stop for start, stop in spans):
        return where  # they touch by an edge or a corner only: voxel by voxel
    corners = np.array(list(np.ndindex(*(2,) * len(spans)))) * [stop - 1 - start for start, stop in spans]
    corners = corners + [start for start, _ in spans]
    apart = float(np.abs(corners @ (linear - steps).T + where.to_mask[:-1, -1] - offset).max())
    if apart > NEAREST:
        return where
    return replace(where, order=order, signs=signs, offset=tuple(int(offset[j]) for j in order), apart=apart)


def _span(length: int, source: int, sign: int, offset: int) -> tuple[int, int]:
    """Return the indices (start, stop) of 0..length-1 for which sign * index + offset lies in 0..source-1."""
    low, high = (-offset, source - offset) if sign > 0 else (offset - source + 1, offset + 1)
    return max(0, low), min(length, high)


def _turned(values: NDArray[Any], where: GridMap) -> NDArray[Any]:
    out = np.zeros(where.shape, values.dtype)
    spans = [where.span(i) for i in range(len(where.shape))]
    part = [slice(0)] * values.ndim
    for j, sign, offset, (start, stop) in zip(where.order, where.signs, where.offset, spans, strict=True):
        first, last = sorted((sign * start + offset, sign * (stop - 1) + offset))
        part[j] = slice(first, last + 1)
    turned = values[tuple(part)].transpose(where.order)
    out[tuple(slice(*span) for span in spans)] = turned[tuple(slice(None, None, sign) for sign in where.signs)]
    return out


def _nearest(values: NDArray[Any], where: GridMap) -> tuple[NDArray[Any], int, int]:
    """Return the nearest voxel's labels, how many labelled voxels lie outside, and how many pieces fell between."""
    from scipy import ndimage

    out = np.zeros(where.shape, values.dtype)
    boxes = ndimage.find_objects((values != 0).astype(np.uint8))
    if not boxes:
        return out, 0, 0
    box = boxes[0]
    found = np.ascontiguousarray(values[box])
    first = np.array([one.start for one in box])
    low, high = _reach_back(where.to_mask, box)
    start = np.clip(np.floor(low), 0, where.shape).astype(int)
    stop = np.clip(np.ceil(high) + 1, 0, where.shape).astype(int)
    lost = _outside(found, first, where) if (low < -0.5).any() or (high > np.array(where.shape) - 0.5).any() else 0
    if (stop <= start).any():
        return out, lost, 0
    linear = where.to_mask[:-1, :-1]
    offset = linear @ start + where.to_mask[:-1, -1] - first - TIE

    def sampled(array: NDArray[Any]) -> Any:
        return ndimage.affine_transform(
            array, linear, offset, output_shape=tuple(stop - start), order=0, mode="grid-constant", cval=0
        )

    out[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = sampled(_plain(found)).astype(values.dtype)
    pieces, count = ndimage.label(found, np.ones((3,) * found.ndim))
    seen = np.count_nonzero(np.bincount(sampled(pieces).ravel(), minlength=count + 1)[1:])
    return out, lost, 0 if lost else count - int(seen)


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values in a type that scipy interpolates."""
    return values.astype(np.uint8) if values.dtype == np.bool_ else values


def _reach_back(to_mask: Matrix, box: Sequence[slice]) -> tuple[Matrix, Matrix]:
    """Return the scan's lowest and highest index (float) that a box of the mask's voxels covers."""
    corners = np.array([[*corner, 1] for corner in np.ndindex(*(2,) * len(box))], np.float64)
    for i, one in enumerate(box):
        corners[:, i] = np.where(corners[:, i] > 0, one.stop - 0.5, one.start - 0.5)
    ends = (corners @ np.linalg.inv(to_mask).T)[:, :-1]
    return ends.min(axis=0), ends.max(axis=0)


def _outside(found: NDArray[Any], first: NDArray[Any], where: GridMap) -> int:
    """Count the labelled voxels whose centre lies outside the scan."""
    to_scan, count, limit = np.linalg.inv(where.to_mask), 0, np.array(where.shape) - 0.5
    for n, plane in enumerate(found):
        at = np.argwhere(plane != 0)
        at = np.column_stack([np.full(len(at), n), at]) + first
        places = at @ to_scan[:-1, :-1].T + to_scan[:-1, -1]
        count += int(((places < -0.5 - TIE) | (places > limit + TIE)).any(axis=1).sum())
    return count


# ---- the sentences -------------------------------------------------------------------------------


def _turn_sentence(where: GridMap, axes: str) -> str:
    axes = axes or "tzyx"[-len(where.shape) :]
    what = []
    if where.order != tuple(range(len(where.order))):
        what.append("axes reordered")
    flipped = [AXIS_NAMES.get(letter, letter) for letter, sign in zip(axes, where.signs, strict=False) if sign < 0]
    if flipped:
        what.append(f"{_and(flipped)} flipped")
    sizes = [(n, where.source[j], where.span(i)) for i, (n, j) in enumerate(zip(where.shape, where.order, strict=True))]
    if any(stop - start < n for n, _, (start, stop) in sizes):
        what.append("filled up with background")
    if any(stop - start < m for _, m, (start, stop) in sizes):
        what.append("cut to the scan")
    if where.apart > SAME:
        what.append(f"its voxels lie up to {where.apart:.2g} voxels beside the scan's, nearest neighbour")
    return f"The mask was moved onto the scan's grid ({', '.join(what) or 'shifted'})."


def _lost_sentences(lost: int, drawn: int, gone: int) -> list[str]:
    found = []
    if lost:
        found.append(f"{lost:,} of its {drawn:,} voxels lie outside the scan and were left out.")
    if gone:
        were = "1 piece of it is" if gone == 1 else f"{gone:,} pieces of it are"
        found.append(f"{were} smaller than the scan's voxels and fell between them.")
    return found


def _spacings(mask: Scan, scan: Scan) -> str:
    unit = "mm" if scan.units == "mm" else "units"
    mine, theirs = (" x ".join(f"{s:.3g}" for s in one.spacing) for one in (mask, scan))
    if mine == theirs:
        return ""
    return f"its voxels are {mine} {unit}, the scan's {theirs} {unit}"


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
