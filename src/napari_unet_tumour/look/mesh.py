"""The surface of a mask as triangles, by marching cubes; runs in the worker process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# A label's box with more voxels is averaged over blocks first.
MOST_VOXELS = 1 << 22
MOST_LABELS = 64
INSIDE = 0.5
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles around the labels of a mask.

    Parameters
    ----------
    vertices : numpy.ndarray
        (n, 3) float32, in voxels of the mask; whole numbers are the centres of voxels.
    faces : numpy.ndarray
        (m, 3) int32, three vertices each.
    values : numpy.ndarray
        (n,) the label that a vertex belongs to.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    values: NDArray[np.int64]

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels that have a surface."""
        return tuple(int(label) for label in np.unique(self.values))


def box_of(mask: NDArray[Any]) -> Box | None:
    """Return the smallest box (z, y, x) that holds everything but background, None where there is nothing."""
    found = []
    part: Any = mask
    for axis in range(3):
        others = tuple(one for one in range(3) if one != axis)
        at = np.flatnonzero(np.any(part, axis=others))
        if not at.size:
            return None
        found.append(slice(int(at[0]), int(at[-1]) + 1))
        part = part[tuple(found[-1] if one == axis else slice(None) for one in range(3))]
    z, y, x = found
    return z, y, x


def mesh_of(
    part: NDArray[Any], start: Sequence[int], shape: Sequence[int], linear: NDArray[np.float64], leave_out: int | None
) -> Mesh:
    """Return the surface of each label.

    Parameters
    ----------
    part : numpy.ndarray
        (z, y, x) labels, a box of the mask.
    start, shape : sequence of int
        Where the box begins in the mask, and the size of the mask.
    linear : numpy.ndarray
        (3, 3) step in the world of one voxel along each axis: long steps are kept when blocks are averaged, and a
        mirrored world turns the triangles, so that they look outwards.
    leave_out : int or None
        A value that is no label, such as "unsure".

    Raises
    ------
    ScanError
        There is no label, or there are more than 64.
    """
    labels = [int(label) for label in np.unique(part) if label not in (0, leave_out)]
    if not labels:
        raise ScanError("it is empty: draw or segment something first")
    if len(labels) > MOST_LABELS:
        raise ScanError(f"it has {len(labels)} labels, a surface shows at most {MOST_LABELS}: merge some of them")
    vertices, faces, values, count = [], [], [], 0
    for label in labels:
        found, triangles = _surface(part == label, np.linalg.norm(linear, axis=0))
        vertices.append(np.clip(found + np.asarray(start), 0, np.asarray(shape) - 1))
        faces.append(triangles + count)
        values.append(np.full(len(found), label))
        count += len(found)
    every = np.concatenate(faces).astype(np.int32)
    every = every if np.linalg.det(linear) >= 0 else every[:, ::-1]
    return Mesh(np.concatenate(vertices).astype(np.float32), every, np.concatenate(values))


def _surface(inside: NDArray[np.bool_], spacing: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return vertices in voxels, and triangles, around what is inside."""
    from skimage.measure import marching_cubes

    box = box_of(inside)
    if box is None:
        return np.zeros((0, 3)), np.zeros((0, 3), np.intp)
    part = inside[box]
    blocks = block_sizes(part.shape, spacing)
    field = np.pad(_averaged(part, blocks), 1)
    # A lesion thinner than a block leaves no block that is half full.
    level = min(INSIDE, float(field.max()) / 2)
    vertices, faces, _, _ = marching_cubes(field, level)  # type: ignore[no-untyped-call]
    begin = np.array([one.start for one in box])
    return (vertices - 1 + 0.5) * blocks - 0.5 + begin, faces


def block_sizes(shape: Sequence[int], spacing: NDArray[np.float64]) -> tuple[int, ...]:
    """Return over how many voxels along each axis to average, so that at most `MOST_VOXELS` blocks remain.

    The axis with the smallest blocks, in millimetres, is thinned first.
    """
    blocks = np.ones(len(shape), int)
    while np.prod(np.ceil(np.array(shape) / blocks)) > MOST_VOXELS:
        blocks[int(np.argmin(np.where(blocks < np.array(shape), blocks * spacing, np.inf)))] += 1
    return tuple(int(one) for one in blocks)


def _averaged(inside: NDArray[np.bool_], blocks: tuple[int, ...]) -> NDArray[np.float32]:
    from skimage.measure import block_reduce

    if max(blocks) == 1:
        return inside.astype(np.float32)
    averaged: NDArray[np.float32] = block_reduce(inside.astype(np.float32), blocks, np.mean)  # type: ignore[no-untyped-call]
    return averaged
