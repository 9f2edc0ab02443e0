"""Which axes of an array are shown as a plane, and how to read and write one plane of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.lazy import computed
from napari_unet_tumour.errors import ScanError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Index = tuple[int | slice, ...]
Region = tuple[slice, slice]


@dataclass(frozen=True)
class SliceLayout:
    """The planes of an array.

    Every axis that is neither rows, columns nor channel is a slice axis; planes are numbered over
    the slice axes in C order. A mask has the array's axes without the channel axis.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array.
    rows, columns : int
        The axes that run down and across a plane, in either order.
    channel : int, optional
        The axis that holds channels or colours.
    slice_distance : float
        Distance of neighbouring planes along the last slice axis, in pixel sides; 0 where consecutive planes are not
        neighbours in space.
    """

    shape: tuple[int, ...]
    rows: int
    columns: int
    channel: int | None = None
    slice_distance: float = field(default=0.0, compare=False)

    @property
    def slice_axes(self) -> tuple[int, ...]:
        """The axes of the array that planes are numbered over."""
        return tuple(i for i in range(len(self.shape)) if i not in (self.rows, self.columns, self.channel))

    @property
    def planes(self) -> int:
        """Number of planes."""
        return math.prod(self.shape[axis] for axis in self.slice_axes)

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Height and width of a plane in pixels."""
        return self.shape[self.rows], self.shape[self.columns]

    @property
    def channels(self) -> int:
        """Number of channels, 1 without a channel axis."""
        return 1 if self.channel is None else self.shape[self.channel]

    @property
    def mask_shape(self) -> tuple[int, ...]:
        """Shape of a mask: the array's without the channel axis."""
        return tuple(length for axis, length in enumerate(self.shape) if axis != self.channel)

    def with_channels(self, count: int) -> SliceLayout:
        """Return the layout of `count` such arrays stacked as channels, channel axis first; plane numbers stay."""
        return replace(self, shape=(count, *self.shape), rows=self.rows + 1, columns=self.columns + 1, channel=0)

    def index(self, n: int, region: Region | None = None) -> Index:
        """Return the index of plane `n` of a mask, or of a region of it, in the order of `to_array_order`."""
        at = self._array_index(n, region)
        return tuple(entry for axis, entry in enumerate(at) if axis != self.channel)

    def read_planes(self, array: Any, planes: Sequence[int], region: Region | None = None) -> NDArray[Any]:
        """Read planes, or the same region of each; of a lazy array only these are computed.

        Returns
        -------
        numpy.ndarray
            (n, C, H, W), a native-endian copy with the array's type.
        """
        dtype = np.dtype(array.dtype).newbyteorder("=")
        rows, columns = (slice(0, length) for length in self.plane_shape) if region is None else region
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        taken = np.empty((len(planes), self.channels, *shape), dtype)
        for i, n in enumerate(planes):
            taken[i] = self._channels_first(computed(array[self._array_index(n, region)]))
        return taken

    def to_array_order(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return a plane (H, W) in the axis order of `mask[index(n)]`, and back."""
        return plane.T if self.rows > self.columns else plane

    def write_plane(self, mask: Any, n: int, plane: NDArray[Any], region: Region | None = None) -> None:
        """Write plane `n` (H, W), or a region of it, into a mask of `mask_shape`."""
        mask[self.index(n, region)] = self.to_array_order(plane)

    def read_plane_region(self, mask: Any, n: int, region: Region | None = None) -> NDArray[Any]:
        """Read plane `n` (H, W), or a region of it, from a mask of `mask_shape`."""
        return self.to_array_order(computed(mask[self.index(n, region)]))

    def _array_index(self, n: int, region: Region | None = None) -> Index:
        if not 0 <= n < self.planes:
            raise IndexError(f"plane {n} of {self.planes}")
        axes = self.slice_axes
        place = dict(zip(axes, np.unravel_index(n, [self.shape[a] for a in axes]), strict=True)) if axes else {}
        cut = {} if region is None else {self.rows: region[0], self.columns: region[1]}
        return tuple(
            int(place[axis]) if axis in place else cut.get(axis, slice(None)) for axis in range(len(self.shape))
        )

    def _channels_first(self, plane: NDArray[Any]) -> NDArray[Any]:
        left = [axis for axis in range(len(self.shape)) if axis not in self.slice_axes]
        order = [left.index(self.rows), left.index(self.columns)]
        if self.channel is None:
            return plane.transpose(order)[None]
        return plane.transpose([left.index(self.channel), *order])


def layout_of(
    shape: Sequence[int],
    axes: str | None = None,
    rows: int | None = None,
    columns: int | None = None,
    rgb: bool = False,
) -> SliceLayout:
    """Choose the planes of an array.

    Parameters
    ----------
    shape : sequence of int
        Shape of the array.
    axes : str, optional
        A letter per axis; "c" is the channel axis, "y" and "x" the plane unless `rows` or `columns` is given.
    rows, columns : int, optional
        The axes of a plane; negative ones count from the end. By default "y" and "x", else the last two that are not
        the channel axis.
    rgb : bool
        The last axis holds colours.

    Raises
    ------
    ScanError
        Fewer than two axes, an axis of 0 pixels, or axes that do not fit the shape.
    """
    shape = tuple(int(length) for length in shape)
    _check_shape(shape, axes)
    channel = _channel_axis(shape, axes, rgb)
    free = [axis for axis in range(len(shape)) if axis != channel]
    if len(free) < 2:
        raise ScanError(f"the scan has shape {shape}: a plane needs two axes beside the channels, choose an image")
    rows, columns = (_checked_axis(axis, shape, channel) for axis in (rows, columns))
    if rows is None and columns is None and axes and "y" in axes and "x" in axes:
        rows, columns = axes.index("y"), axes.index("x")
    if columns is None:
        columns = next(axis for axis in reversed(free) if axis != rows)
    if rows is None:
        rows = next(axis for axis in reversed(free) if axis != columns)
    if rows == columns:
        raise ScanError(f"axis {rows} cannot be both rows and columns: choose two different axes")
    return SliceLayout(shape, rows, columns, channel)


def with_slice_distance(layout: SliceLayout, along: int, spacing: Mapping[int, float] | Sequence[float]) -> SliceLayout:
    """Return a layout with the distance of its planes.

    Parameters
    ----------
    along : int
        The spatial axis that planes are numbered over. Planes are neighbours only along the last slice axis.
    spacing : mapping of int to float, or sequence of float
        Voxel spacing by axis, at least of `along`, rows and columns. Signs are ignored.
    """
    side = math.sqrt(abs(spacing[layout.rows] * spacing[layout.columns]))
    if layout.slice_axes[-1:] != (along,) or not side:
        return layout
    return replace(layout, slice_distance=abs(spacing[along]) / side)


def _check_shape(shape: tuple[int, ...], axes: str | None) -> None:
    if len(shape) < 2:
        raise ScanError(f"the scan has {len(shape)} axes: an image needs at least two, rows and columns")
    if 0 in shape:
        raise ScanError(f"the scan has shape {shape}, axis {shape.index(0)} has 0 pixels: choose a scan with pixels")
    if axes is not None and (len(axes) != len(shape) or len(set(axes)) != len(axes)):
        raise ScanError(f"the axes {axes!r} do not fit the shape {shape}: give one different letter per axis")


def _channel_axis(shape: tuple[int, ...], axes: str | None, rgb: bool) -> int | None:
    if axes is not None and "c" in axes:
        return axes.index("c")
    return len(shape) - 1 if rgb else None


def _checked_axis(axis: int | None, shape: tuple[int, ...], channel: int | None) -> int | None:
    if axis is None:
        return None
    if not -len(shape) <= axis < len(shape):
        raise ScanError(f"the scan has no axis {axis}: choose one from 0 to {len(shape) - 1}")
    if axis % len(shape) == channel:
        raise ScanError(f"axis {axis} holds the channels: choose another axis to show")
    return axis % len(shape)
