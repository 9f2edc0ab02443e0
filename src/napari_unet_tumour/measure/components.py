"""Connected components of a mask by run lengths: needs no second volume in memory, and reports progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.settings import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

SLAB = 16
# The half of the 26-neighbourhood in earlier rows, as (plane, row) steps; a run touches three columns in each.
EARLIER_ROWS = ((0, -1), (-1, -1), (-1, 0), (-1, 1))


@dataclass(frozen=True, eq=False)
class RunLengths:
    """Runs of equal non-zero pixels along the last axis, in array order.

    Parameters
    ----------
    plane, row : numpy.ndarray
        (n,) int64, plane and row of the run.
    start, stop : numpy.ndarray
        (n,) int64, first column and the column after the last.
    value : numpy.ndarray
        (n,) int64, the label.
    """

    plane: Ints
    row: Ints
    start: Ints
    stop: Ints
    value: Ints

    def __len__(self) -> int:
        return len(self.plane)

    @property
    def length(self) -> Ints:
        """Pixels in every run."""
        return self.stop - self.start

    def take(self, which: Any) -> RunLengths:
        """Return the runs that an index, slice or bool array selects."""
        return RunLengths(self.plane[which], self.row[which], self.start[which], self.stop[which], self.value[which])


def iter_runs(volume: Any, name: str = "the mask") -> Generator[Progress, None, RunLengths]:
    """Find the runs of a volume, a few planes at a time.

    Parameters
    ----------
    volume : numpy.ndarray or dask.array.Array
        (planes, rows, columns) whole numbers of any dtype; 0 is background.
    name : str
        Name of the mask in errors.

    Yields
    ------
    Progress
        Once per slab of planes.

    Returns
    -------
    RunLengths

    Raises
    ------
    ScanError
        If a pixel is not a whole number.
    """
    planes = volume.shape[0]
    found = [_no_runs()]
    for first in range(0, planes, SLAB):
        slab = np.ascontiguousarray(volume[first : first + SLAB])
        found += [_runs_of(plane, first + i, name) for i, plane in enumerate(slab) if plane.any()]
        yield Progress(min(first + SLAB, planes), planes, "looking for lesions")
    return RunLengths(*(np.concatenate(parts) for parts in zip(*map(_columns, found), strict=True)))


def _columns(runs: RunLengths) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    return runs.plane, runs.row, runs.start, runs.stop, runs.value


def _no_runs() -> RunLengths:
    return RunLengths(*(np.empty(0, np.int64) for _ in range(5)))


def _runs_of(plane: NDArray[Any], number: int, name: str) -> RunLengths:
    rows = np.flatnonzero(plane.any(axis=1))
    padded = np.zeros((len(rows), plane.shape[1] + 2), plane.dtype)
    padded[:, 1:-1] = plane[rows]
    row, column = np.nonzero(padded[:, 1:] != padded[:, :-1])
    value = padded[row, column + 1]
    starts = np.flatnonzero(value)
    value = value[starts]
    if value.dtype.kind not in "biu":
        odd = value[~np.isfinite(value) | (value != np.round(value))]
        if len(odd):
            raise ScanError(f"{name} holds the value {odd[0]:g}: a mask has whole numbers, 0 for none; choose a mask")
    # The change after a run's start is its end, because rows are padded with zeros.
    return RunLengths(
        np.full(len(starts), number, np.int64),
        rows[row[starts]].astype(np.int64),
        column[starts].astype(np.int64),
        column[starts + 1].astype(np.int64),
        value.astype(np.int64),
    )


def components_of(runs: RunLengths) -> Ints:
    """Return the component of every run; runs of one label that touch by face, edge or corner are connected.

    Returns
    -------
    numpy.ndarray
        (n,) int64, number of the component, 0, 1, ...
    """
    if not len(runs):
        return np.empty(0, np.int64)
    height, width = int(runs.row.max()) + 3, int(runs.stop.max()) + 2
    line = runs.plane * height + runs.row + 1
    starts, stops = line * width + runs.start, line * width + runs.stop
    pairs = [_touching(line + step * height + by, runs, width, starts, stops) for step, by in EARLIER_ROWS]
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    same = runs.value[one] == runs.value[other]
    one, other = one[same], other[same]
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(runs), len(runs)))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _touching(line: Ints, runs: RunLengths, width: int, starts: Ints, stops: Ints) -> tuple[Ints, Ints]:
    """Return the pairs (run, run in row `line` that touches it by face, edge or corner)."""
    first = np.searchsorted(stops, line * width + runs.start, "left")
    after = np.searchsorted(starts, line * width + runs.stop, "right")
    count = np.maximum(after - first, 0)
    one = np.repeat(np.arange(len(runs)), count)
    return one, np.arange(len(one)) - np.repeat(np.cumsum(count) - count - first, count)
