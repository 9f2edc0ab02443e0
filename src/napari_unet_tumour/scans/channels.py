"""Several scans of one patient -> one scan with the channels of a model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.models.spec import ZEROS
from napari_unet_tumour.scans.resample import lazily

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.scans.scan import Scan

SAME = 1e-2  # voxels
AT_ONCE = 256 << 20  # bytes


def combine(given: Mapping[str, Scan], spec: ModelSpec, onto: Scan, along: Sequence[int]) -> Scan:
    """Stack scans as the channels of a model.

    Parameters
    ----------
    given : mapping of str to Scan
        Scans without colours by the model's channel names; those on another grid than `onto` are resampled to it by
        their places, linearly, plane by plane when they are looked at.
    spec : ModelSpec
        Names the channels, and says what fills in for those that are not given.
    onto : Scan
        Gives the grid.
    along : sequence of int
        The axes of `onto` that planes are numbered over.

    Returns
    -------
    Scan
        `onto` with an array (C, ...), lazy where it is large or resampled, and "c" before its axes.

    Raises
    ------
    ModelError
        A channel is unknown, or not given and not filled in.
    ScanError
        Two scans have no common place, or do not overlap.
    """
    order = sources(given, spec)
    parts = {name: _placed(scan, onto, along) for name, scan in given.items()}
    parts[ZEROS] = np.broadcast_to(np.uint8(0), onto.array.shape)
    return replace(onto, array=_stack([parts[name] for name in order], along), axes="c" + onto.axes)


def _stack(parts: list[Any], along: Sequence[int]) -> Any:
    """Return small arrays stacked, all others as a lazy array that is read plane by plane."""
    if all(isinstance(part, np.ndarray) for part in parts) and sum(part.nbytes for part in parts) <= AT_ONCE:
        return np.stack(parts)
    import dask.array

    lazy: Any = dask.array
    chunks = tuple(1 if axis in along else n for axis, n in enumerate(parts[0].shape))
    return lazy.stack([p if hasattr(p, "dask") else lazy.from_array(p, chunks, name=False) for p in parts])


def sources(given: Mapping[str, Any], spec: ModelSpec) -> list[str]:
    """Return for every channel of a model which given one it is taken from, or "zeros"; raises ModelError."""
    unknown = [name for name in given if name not in spec.channels]
    if unknown:
        raise ModelError(
            f"model '{spec.name}' has no channel '{unknown[0]}': its channels are {', '.join(spec.channels)}"
        )
    found = [name if name in given else spec.channel_fallbacks.get(name, "") for name in spec.channels]
    missing = [
        name for name, source in zip(spec.channels, found, strict=True) if source not in given and source != ZEROS
    ]
    if missing or not given:
        raise ModelError(
            f"model '{spec.name}' needs {spec.in_channels} channels ({', '.join(spec.channels)}), nothing is given for "
            f"{', '.join(missing or spec.channels)}: choose a scan for each, or another model"
        )
    return found


def _placed(scan: Scan, onto: Scan, along: Sequence[int]) -> Any:
    """Return the scan's array on the grid of `onto`: itself where the grids are one."""
    _check(scan, onto)
    to_source = np.linalg.inv(_whole(scan)) @ _whole(onto)
    shape, there = np.array(onto.array.shape), np.array(scan.array.shape)
    corners = np.array([[*corner, 1] for corner in np.ndindex(*(2,) * len(shape))]) * [*(shape - 1), 1]
    ends = (corners @ to_source.T)[:, :-1]
    if np.array_equal(shape, there) and np.abs(ends - corners[:, :-1]).max() <= SAME:
        return scan.array
    if (ends.max(axis=0) < -0.5).any() or (ends.min(axis=0) > there - 0.5).any():
        raise ScanError(f"{scan.name!r} lies elsewhere than {onto.name!r}, they do not overlap: choose another scan")
    return lazily(scan.array, to_source, tuple(onto.array.shape), along)


def _whole(scan: Scan) -> NDArray[np.float64]:
    """Return index -> place of all axes; time keeps its index."""
    whole = np.eye(len(scan.axes) + 1)
    at = [*scan.spatial, len(scan.axes)]
    whole[np.ix_(at, at)] = scan.world
    return whole


def _check(scan: Scan, onto: Scan) -> None:
    if "c" in scan.axes:
        raise ScanError(f"{scan.name!r} has colours or channels of its own: choose a grey scan for a channel")
    times = [[n for n, a in zip(s.array.shape, s.axes, strict=True) if a not in "zyx"] for s in (scan, onto)]
    if scan.axes != onto.axes or times[0] != times[1]:
        raise ScanError(
            f"{scan.name!r} has {_by(scan)} pixels ({scan.axes}) and {onto.name!r} {_by(onto)} ({onto.axes}): "
            "choose scans with the same axes"
        )
    if scan.units != onto.units:
        raise ScanError(
            f"{scan.name!r} is in {scan.units} and {onto.name!r} in {onto.units}: "
            "without a common place they cannot be brought together"
        )


def _by(scan: Scan) -> str:
    return " x ".join(str(n) for n in scan.array.shape)
