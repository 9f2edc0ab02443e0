"""Bring a scan or mask onto another scan's grid, by their places in the patient."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.errors import ScanError

if TYPE_CHECKING:
    from napari_unet_tumour.scans.scan import Scan


def same_grid(one: Scan, other: Scan, tolerance: float = 1e-2) -> bool:
    """Tell whether two scans have the same voxels: equal shape, no corner further apart than `tolerance` voxels."""
    if _shape(one) != _shape(other):
        return False
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in _shape(one)], [1], indexing="ij"), axis=-1).reshape(
        -1, len(one.world)
    )
    apart = np.abs(corners @ (one.world - other.world).T).max()
    return bool(apart <= tolerance * min(one.spacing))


def resample(scan: Scan, onto: Scan, *, labels: bool = False, outside: float = 0.0) -> Scan:
    """Return `scan` on the grid of `onto`.

    Parameters
    ----------
    scan : Scan
        Axes "zyx" or "yx", without time or colours.
    onto : Scan
        Gives shape, affine and units; as many spatial axes.
    labels : bool
        Take the nearest voxel's value, as label values must not be mixed; else interpolate linearly.
    outside : float
        Value where the scan has no voxels.

    Returns
    -------
    Scan
        Integer labels keep their dtype; else float32.

    Raises
    ------
    ScanError
        The scans have different axes, or one knows its place in mm and the other does not.
    """
    from scipy.ndimage import affine_transform

    _check(scan, onto)
    to_source = np.linalg.inv(scan.world) @ onto.world
    values = np.asarray(scan.array)
    values = values if labels else values.astype(np.float32)
    moved = affine_transform(
        values, to_source, output_shape=_shape(onto), order=0 if labels else 1, mode="grid-constant", cval=outside
    )
    return replace(scan, array=moved, affine=onto.affine, units=onto.units, extra=onto.extra)


def _shape(scan: Scan) -> tuple[int, ...]:
    return tuple(int(scan.array.shape[axis]) for axis in scan.spatial)


def _check(scan: Scan, onto: Scan) -> None:
    if scan.axes not in ("zyx", "yx") or len(scan.spatial) != len(onto.spatial):
        raise ScanError(
            f"{scan.name!r} has axes {scan.axes!r} and {onto.name!r} {onto.axes!r}: they cannot be brought together"
        )
    if scan.units != onto.units:
        raise ScanError(
            f"{scan.name!r} is in {scan.units} and {onto.name!r} in {onto.units}: "
            "without a common place they cannot be brought together"
        )
