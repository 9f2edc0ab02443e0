"""Bring a scan's grey values onto another scan's grid, plane by plane; labels go by `placement`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Box = list[tuple[int, int]]


def lazily(array: Any, to_source: NDArray[np.float64], shape: Sequence[int], along: Sequence[int]) -> Any:
    """Bring an array onto another grid plane by plane, each read and interpolated when it is looked at.

    Parameters
    ----------
    array : array
        n axes, numpy or lazy; of a lazy one only the part around a plane is read.
    to_source : numpy.ndarray
        (n+1, n+1) float64, index in the new grid -> index in the array.
    shape : sequence of int
        The new grid.
    along : sequence of int
        Its axes that planes are numbered over.

    Returns
    -------
    dask.array.Array
        `shape` float32, interpolated linearly; outside the array its lowest value near the plane, 0 far from it.
    """
    import dask.array

    lazy: Any = dask.array

    def read(block_info: Any = None) -> NDArray[np.float32]:
        return _interpolated(array, to_source, block_info[None]["array-location"])

    chunks = tuple((1,) * n if axis in along else (n,) for axis, n in enumerate(shape))
    return lazy.map_blocks(read, chunks=chunks, dtype=np.float32, meta=np.empty((0,) * len(shape), np.float32))


def _interpolated(array: Any, to_source: NDArray[np.float64], box: Box) -> NDArray[np.float32]:
    """Return the array's values (float32) on a box of the new grid, given as (start, stop) per axis."""
    from scipy.ndimage import affine_transform

    shape = tuple(stop - start for start, stop in box)
    part = [slice(max(low, 0), high) for low, high in _reached(to_source, box)]
    near = np.asarray(array[tuple(part)]).astype(np.float32)
    if not near.size:
        return np.zeros(shape, np.float32)
    known = near[np.isfinite(near)]
    linear = to_source[:-1, :-1]
    offset = linear @ [start for start, _ in box] + to_source[:-1, -1] - [one.start for one in part]
    outside = float(known.min()) if known.size else 0.0
    return np.asarray(
        affine_transform(near, linear, offset, output_shape=shape, order=1, mode="grid-constant", cval=outside)
    )


def _reached(to_source: NDArray[np.float64], box: Box) -> Box:
    """Return the box of source indices that a box of the new grid needs, as (start, stop) per axis."""
    corners = np.array([[*corner, 1] for corner in np.ndindex(*(2,) * len(box))]) * [*(b - a - 1 for a, b in box), 1]
    corners[:, :-1] += [start for start, _ in box]
    ends = (corners @ to_source.T)[:, :-1]
    low, high = np.floor(ends.min(axis=0)) - 1, np.ceil(ends.max(axis=0)) + 2
    return [(int(a), max(int(b), 0)) for a, b in zip(low, high, strict=True)]
