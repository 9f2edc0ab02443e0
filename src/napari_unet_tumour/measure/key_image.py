"""The picture of a lesion for a report: the slice of its diameters with its outline, both drawn in."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from napari_unet_tumour.look import grey_window
from napari_unet_tumour.look.directions import edge_letters
from napari_unet_tumour.scans.placement import knows_place

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.measure.report import Report
    from napari_unet_tumour.measure.types import MeasuredLesion, Point
    from napari_unet_tumour.scans.scan import Scan

SIDE = 420
OUTLINE, LONGEST, PERPENDICULAR, LETTER = "#ff3b30", "#ffcc00", "#00c7be", "#ffd60a"
# Radiologists see the patient from the feet, from the left, or from the front.
DOWN, RIGHT = "PF", "LP"


def key_image(report: Report, lesion: MeasuredLesion, mask: Scan, image: NDArray[Any] | None = None) -> bytes:
    """Draw the slice of a lesion's diameters.

    Parameters
    ----------
    report : Report
        Holds the lesion.
    mask : Scan
        Label values in the grid that was measured.
    image : numpy.ndarray, optional
        Grey values of the mask's shape; black without it.

    Returns
    -------
    bytes
        A PNG with square pixels of space, the longer side `SIDE` pixels.
    """
    index, kept = _plane_of(report, lesion, mask)
    labels = np.asarray(mask.array[index])
    grey = np.zeros(labels.shape) if image is None else np.asarray(image[index], np.float64)
    spacing = dict(zip(mask.spatial, report.spacing, strict=True))
    steps = np.array([spacing[axis] for axis in kept])
    scale = SIDE / float((steps * labels.shape).max()) * steps
    letters = _letters(mask, kept)
    flips = (letters != "" and letters[1] not in DOWN, letters != "" and letters[3] not in RIGHT)
    picture = _grey(grey, scale, flips)
    draw = ImageDraw.Draw(picture)

    def place(points: Any) -> list[tuple[float, float]]:
        at = (np.asarray(points, np.float64) + 0.5) * scale
        size = np.array(picture.size[::-1])
        at = np.where(flips, size - at, at)
        return [(float(column), float(row)) for row, column in at]

    for contour in _contours(labels == lesion.label):
        draw.line(place(contour), fill=OUTLINE, width=2)
    for line, colour in ((lesion.longest_line, LONGEST), (lesion.perpendicular_line, PERPENDICULAR)):
        draw.line(place([_in_plane(end, kept) for end in line]), fill=colour, width=2)
    _write_letters(draw, picture.size, letters, flips)
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _plane_of(report: Report, lesion: MeasuredLesion, mask: Scan) -> tuple[tuple[Any, ...], list[int]]:
    """Return what cuts the slice out of the mask, and the axes that are its rows and columns."""
    frames = iter(lesion.frame)
    index: list[Any] = []
    for letter in report.axes:
        if letter not in "zyx":
            index.append(next(frames))
        else:
            index.append(lesion.diameter_slice if letter == report.slice_axis else slice(None))
    return tuple(index), [axis for axis, part in enumerate(index) if isinstance(part, slice)]


def _in_plane(point: Point, kept: list[int]) -> list[float]:
    return [point[axis] for axis in kept]


def _letters(mask: Scan, kept: list[int]) -> str:
    """Return the letters at top, bottom, left and right, "" where the mask does not know the patient."""
    if len(mask.spatial) != 3 or mask.units != "mm" or not knows_place(mask):
        return ""
    down, right = (mask.spatial.index(axis) for axis in kept)
    return edge_letters(mask.world[:-1, :-1], np.eye(3), down, right)


def _grey(values: NDArray[np.float64], scale: NDArray[np.float64], flips: tuple[bool, bool]) -> Image.Image:
    window = grey_window.automatic(grey_window.sample(values))
    shown = np.nan_to_num((values - window.low) / window.width, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    rows, columns = (max(1, round(n * step)) for n, step in zip(values.shape, scale, strict=True))
    turned = shown[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    picture = Image.fromarray((255 * turned).astype(np.uint8))
    return picture.resize((columns, rows), Image.Resampling.BICUBIC).convert("RGB")


def _contours(where: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    from skimage.measure import find_contours

    found: Any = find_contours(np.pad(where, 1).astype(float), 0.5)  # type: ignore[no-untyped-call]
    return [contour - 1 for contour in found]


def _write_letters(draw: ImageDraw.ImageDraw, size: tuple[int, int], letters: str, flips: tuple[bool, bool]) -> None:
    if not letters:
        return
    top, bottom, left, right = tuple(letters)
    top, bottom = (bottom, top) if flips[0] else (top, bottom)
    left, right = (right, left) if flips[1] else (left, right)
    wide, high = size
    places = {"mt": (wide / 2, 4), "mb": (wide / 2, high - 4), "lm": (4, high / 2), "rm": (wide - 4, high / 2)}
    for letter, (anchor, at) in zip((top, bottom, left, right), places.items(), strict=True):
        draw.text(at, letter, fill=LETTER, anchor=anchor, font_size=16)
