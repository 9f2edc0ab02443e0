"""Computes a part of a lazy array, on any thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def computed(part: Any) -> NDArray[Any]:
    """Return the values of an array, lazy or not.

    napari keeps what dask computes in a cache that is not made for several threads: while it shows a slice, a second
    computation would raise KeyError in either. So dask computes ours without it.
    """
    if hasattr(part, "__dask_graph__"):
        part = part.compute(callbacks=())
    return np.asarray(part)
