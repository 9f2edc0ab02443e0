"""Before and after a fine-tuning: outlines side by side on a slice, and the figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter
from qtpy.QtWidgets import QSizePolicy, QWidget
from scipy import ndimage

from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.models.tuned_scores import NOWHERE, in_mm, mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from qtpy.QtGui import QKeyEvent, QMouseEvent, QPaintEvent

    from napari_unet_tumour.corrections import FineTuneOutcome

BEFORE, AFTER, TRUTH = (255, 59, 48), (52, 199, 89), (255, 255, 255)
HIGH, CAPTION, MARGIN_PX, ASPECT = 158, 16, 24, 1.3
FAR = "hd95"
MEASURES = (("dice", "Dice", "{:.3f}"), ("iou", "IoU", "{:.3f}"), ("hd95", "HD95", "{:.1f}"))


@dataclass(frozen=True, eq=False)
class ComparisonPicture:
    """A slice with the masks of both models.

    Parameters
    ----------
    title : str
        E.g. "Slice 12, kept for scoring".
    image : numpy.ndarray
        (H, W) grey values, any real type.
    before, after : numpy.ndarray
        (H, W) uint8 masks.
    truth : numpy.ndarray, optional
        (H, W) uint8, what the person has drawn, where the slice is reviewed.
    """

    title: str
    image: NDArray[Any]
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    truth: NDArray[np.uint8] | None = None


class BeforeAfterView(QWidget):
    """Two pictures side by side; a click shows the next slice."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[ComparisonPicture] = []
        self.at = 0
        self._pair: tuple[QImage, QImage] | None = None
        self.setMinimumHeight(HIGH)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Before and after")
        self.setToolTip(
            "Red: before. Green: after. White: yours, where the slice is reviewed. Click or arrow keys: next."
        )

    def sizeHint(self) -> QSize:
        """Return the size that shows every part."""
        return QSize(280, HIGH)

    def fill(self, pictures: list[ComparisonPicture]) -> None:
        """Show these slices, the first one first."""
        self.pictures, self.at = pictures, 0
        self._show()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Show the next slice."""
        self._turn(1)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Show the next slice or the one before."""
        steps = {Qt.Key.Key_Right: 1, Qt.Key.Key_Space: 1, Qt.Key.Key_Left: -1}
        step = 0 if event is None else steps.get(Qt.Key(event.key()), 0)
        if step:
            self._turn(step)
        elif event is not None:
            event.ignore()

    def _turn(self, step: int) -> None:
        if self.pictures:
            self.at = (self.at + step) % len(self.pictures)
            self._show()

    def _show(self) -> None:
        self._pair = _pair(self.pictures[self.at]) if self.pictures else None
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the pictures and what they show."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        if self._pair is not None:
            half = self.width() / 2
            for n, (image, name, ink) in enumerate(zip(self._pair, ("before", "after"), (BEFORE, AFTER), strict=True)):
                self._draw(painter, image, QRectF(n * half, 0, half - 3 * (n == 0), self.height() - CAPTION))
                painter.setPen(QColor(*ink))
                painter.drawText(QRectF(n * half + 4, 2, half, 16), Qt.AlignmentFlag.AlignLeft, name)
            self._caption(painter)
        painter.end()

    def _draw(self, painter: QPainter, image: QImage, box: QRectF) -> None:
        painter.fillRect(box, QColor("black"))
        zoom = min(box.width() / image.width(), box.height() / image.height())
        wide, high = image.width() * zoom, image.height() * zoom
        painter.drawImage(
            QRectF(box.center().x() - wide / 2, box.center().y() - high / 2, wide, high), image, QRectF(image.rect())
        )

    def _caption(self, painter: QPainter) -> None:
        more = f"  ({self.at + 1} of {len(self.pictures)}, click for the next)" if len(self.pictures) > 1 else ""
        painter.setPen(self.palette().windowText().color())
        font = painter.font()
        font.setPointSizeF(max(6.5, font.pointSizeF() * 0.85))
        painter.setFont(font)
        box = QRectF(0, self.height() - CAPTION, self.width(), CAPTION)
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, self.pictures[self.at].title + more)


def _pair(picture: ComparisonPicture) -> tuple[QImage, QImage]:
    """Draw both outlines on the part of the slice where there is something to see."""
    masks = [picture.before, picture.after] + ([] if picture.truth is None else [picture.truth])
    box = _box(np.any([mask > 0 for mask in masks], axis=0))
    grey = _grey(picture.image[box])
    scale = max(1, round(300 / max(grey.shape)))
    big = np.repeat(np.repeat(grey, scale, 0), scale, 1)
    truth = None if picture.truth is None else picture.truth[box]
    before, after = (
        _drawn(big, truth, mask[box], ink, scale) for mask, ink in ((picture.before, BEFORE), (picture.after, AFTER))
    )
    return before, after


def _box(found: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return a box around what is found, as wide as the picture's frame; the whole where nothing is."""
    if not found.any():
        return slice(None), slice(None)
    rows, columns = np.nonzero(found)
    half = max(np.ptp(rows), np.ptp(columns)) // 2 + MARGIN_PX
    middle = ((rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2)
    first, second = (
        slice(max(0, m - round(half * share)), m + round(half * share) + 1)
        for m, share in zip(middle, (1, ASPECT), strict=True)
    )
    return first, second


def _grey(image: NDArray[Any]) -> NDArray[np.uint8]:
    values = np.nan_to_num(np.asarray(image, np.float64))
    low, high = np.percentile(values, (1, 99.5))
    scaled: NDArray[np.uint8] = np.clip(255 * (values - low) / max(high - low, 1e-9), 0, 255).astype(np.uint8)
    return scaled


def _drawn(
    grey: NDArray[np.uint8], truth: NDArray[np.uint8] | None, mask: NDArray[np.uint8], ink: Any, scale: int
) -> QImage:
    picture = np.repeat(grey[..., None], 3, 2)
    if truth is not None:
        picture[_outline(truth, scale, 1)] = TRUTH
    picture[_outline(mask, scale, 2 if scale > 1 else 1)] = ink
    high, wide = grey.shape
    return QImage(np.ascontiguousarray(picture).tobytes(), wide, high, 3 * wide, QImage.Format.Format_RGB888).copy()


def _outline(mask: NDArray[np.uint8], scale: int, wide: int) -> NDArray[np.bool_]:
    big, line = np.repeat(np.repeat(mask, scale, 0), scale, 1), np.zeros(1, bool)
    for label in np.setdiff1d(mask, (0, UNSURE)):
        region = big == label
        line = line | (region & ~ndimage.binary_erosion(region, iterations=wide))
    return np.broadcast_to(line, big.shape)


def figures(tuned: FineTuneOutcome, pixel_mm: Mapping[str, float] = NOWHERE) -> list[tuple[str, list[str]]]:
    """Return the rows of the table: what they are of, and before -> after of every measure.

    Parameters
    ----------
    pixel_mm : mapping of str to float
        By scan: side of its square pixels in mm; of others distances are in pixels.
    """
    rows = []
    for name, found in (("Kept for scoring", tuned.held_out), ("Reference", tuned.reference)):
        if found:
            rows.append((f"{name} ({len(found)})", _cells(found, pixel_mm)))
            rows += _by_label(found, pixel_mm)
    return rows


def _by_label(found: list[dict[str, Any]], pixel_mm: Mapping[str, float]) -> list[tuple[str, list[str]]]:
    """Return a row for every label of the truth, where the model has several."""
    names = {name: None for row in found for name in row["before"].get("by_label", ())}
    rows = []
    for name in names:
        own = [{"scan": row.get("scan"), **{when: row[when]["by_label"][name] for when in ("before", "after")}}
               for row in found if name in row["before"]["by_label"]]  # fmt: skip
        rows.append((f"{name} ({len(own)})", _cells(own, pixel_mm)))
    return rows


def _cells(rows: list[dict[str, Any]], pixel_mm: Mapping[str, float]) -> list[str]:
    placed, unit = in_mm(rows, pixel_mm)
    far = any(mean(placed, when, FAR) is not None for when in ("before", "after"))
    return [_summary_of(placed, key, how) + (f" {unit}" if key == FAR and far else "") for key, _, how in MEASURES]


def _summary_of(rows: list[dict[str, Any]], key: str, how: str) -> str:
    before, after = (mean(rows, when, key) for when in ("before", "after"))
    words = ["–" if value is None else how.format(value) for value in (before, after)]
    return " → ".join(words)
