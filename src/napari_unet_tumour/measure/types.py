"""The measurements of lesions and labels: plain data."""

from __future__ import annotations

from dataclasses import dataclass

Point = tuple[float, ...]


@dataclass(frozen=True)
class Brightness:
    """Mean and percentiles of the scan's finite pixels in a lesion; None without a scan or finite pixels."""

    mean: float | None = None
    p5: float | None = None
    p50: float | None = None
    p95: float | None = None


@dataclass(frozen=True)
class MeasuredLesion:
    """One connected component of one label (in 3D by face, edge or corner).

    If `Report.units` is "mm", lengths are in mm, areas in mm² and the volume in ml (it needs three axes); otherwise
    all are in pixels. `diameters.py` defines the diameters.

    Parameters
    ----------
    number : int
        1, 2, ... in the report; by frame, then label, then size.
    label, name : int, str
        Pixel value and its name.
    frame : tuple of int
        Index along the axes that are not space (time), usually ().
    voxels : int
        Number of pixels.
    volume : float
        ml or pixels.
    slices : int
        Number of slices that show the lesion.
    area, area_slice : float, int
        Largest area in one slice, and that slice.
    longest, perpendicular, product : float
        Longest diameter within one slice, the longest perpendicular one in the same slice, and their product (RANO).
        `longest` is RECIST's diameter.
    diameter_slice : int
        The slice of the two diameters.
    measurable : bool or None
        Whether `longest` is at least 10 mm; None without millimetres.
    longest_line, perpendicular_line : tuple of tuple of float
        Ends of the diameters as index positions in the grid that was measured: the mask's, or the scan's if the mask
        was resampled to it.
    centroid, position : tuple of float
        Centre of gravity as index position in the same grid, and in world coordinates (spatial axes).
    brightness : Brightness
        Brightness of the scan within the lesion.
    """

    number: int
    label: int
    name: str
    frame: tuple[int, ...]
    voxels: int
    volume: float
    slices: int
    area: float
    area_slice: int
    longest: float
    perpendicular: float
    product: float
    diameter_slice: int
    measurable: bool | None
    longest_line: tuple[Point, Point]
    perpendicular_line: tuple[Point, Point]
    centroid: Point
    position: Point
    brightness: Brightness


@dataclass(frozen=True)
class Total:
    """All lesions of one label in one frame; `product_sum` is of the five largest products (RANO's targets)."""

    label: int
    name: str
    frame: tuple[int, ...]
    lesions: int
    voxels: int
    volume: float
    product_sum: float
    brightness: Brightness
