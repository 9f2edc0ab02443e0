"""From probabilities to a mask; fast enough to follow a threshold slider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.settings import SegmentSettings


# Lowest fraction of the threshold, for planes where the slice and its mirror image disagree.
MIN_THRESHOLD_SCALE = 0.4


def mask_from_probability(probability: NDArray[np.uint8], settings: SegmentSettings) -> NDArray[np.uint8]:
    """Return the mask of a plane.

    A pixel is foreground if the sum over the labels reaches `effective_threshold`; it then gets the likeliest label.
    Components with fewer than `settings.min_object_size` pixels are removed.

    Parameters
    ----------
    probability : numpy.ndarray
        (L, H, W) uint8, 0..255 for 0..1, one layer per label; no layer for the background.

    Returns
    -------
    numpy.ndarray
        (H, W) uint8, 0 = background, 1..L = label.
    """
    together = probability[0] if len(probability) == 1 else probability.sum(axis=0, dtype=np.uint32)
    marked = together >= effective_threshold(together, settings)
    likeliest = np.uint8(1) if len(probability) == 1 else (1 + probability.argmax(axis=0)).astype(np.uint8)
    mask = np.where(marked, likeliest, np.uint8(0))
    return _remove_small(mask, settings.min_object_size) if settings.min_object_size > 1 and mask.any() else mask


def effective_threshold(together: NDArray[Any], settings: SegmentSettings) -> int:
    """Return the value, 1..255, from which a pixel of a plane is foreground.

    With `flip_tta` the probability is the mean over the slice and its mirror image, so a lesion found in only one of
    them cannot exceed 0.5. The threshold is therefore scaled by the plane's maximum, but by at least
    `MIN_THRESHOLD_SCALE`, so a plane where both are unsure stays empty.

    Parameters
    ----------
    together : numpy.ndarray
        (H, W) of any unsigned type, the sum over the labels, 0..255 for 0..1.
    """
    level = level_at(float(together.max(initial=0)) / 255, settings.threshold, raised=settings.flip_tta)
    return max(1, round(level * 255))


def level_at(highest: float, threshold: float, raised: bool) -> float:
    """Return the probability from which a pixel is foreground, see `effective_threshold`.

    Parameters
    ----------
    highest : float
        The highest probability in the plane, 0..1.
    threshold : float
        The threshold of the settings.
    raised : bool
        Whether the probability is the mean over the slice and its mirror image.
    """
    return threshold * min(max(highest, MIN_THRESHOLD_SCALE), 1.0) if raised else threshold


def keep_largest_component(mask: NDArray[Any]) -> NDArray[Any]:
    """Return a copy with only the largest connected component of each label; any number of axes.

    Diagonal neighbours are connected. Of several equally large components the first stays.
    """
    kept = np.zeros_like(mask)
    for label in _labels(mask):
        pieces, sizes = _pieces(mask == label)
        kept[pieces == 1 + sizes[1:].argmax()] = label
    return kept


def keep_touching(mask: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """Return a copy of a mask with only the connected components that share a pixel with another mask."""
    pieces, sizes = _pieces(mask > 0)
    touched = np.zeros(len(sizes), bool)
    touched[pieces[other > 0]] = True
    return np.where(touched[pieces], mask, np.zeros_like(mask))


def _remove_small(mask: NDArray[np.uint8], smallest: int) -> NDArray[np.uint8]:
    kept = mask.copy()
    for label in _labels(mask):
        pieces, sizes = _pieces(mask == label)
        kept[(sizes < smallest)[pieces] & (pieces > 0)] = 0
    return kept


def remove_small_objects_blockwise(mask: Any, layout: SliceLayout, n: int, smallest: int, side: int = 2048) -> None:
    """Remove small components from plane `n` of a mask that may be on disk, reading one block at a time.

    Each block is read with a margin of `smallest` pixels. A component that reaches from the block to the end of the
    margin has at least that many pixels; all others are seen whole.

    Parameters
    ----------
    mask : array-like
        uint8 of `layout.mask_shape`, numpy or zarr.
    smallest : int
        Components with fewer pixels are removed.
    side : int
        Side of a block without its margin.
    """
    height, width = layout.plane_shape
    for top in range(0, height, side):
        for left in range(0, width, side):
            low = (max(0, top - smallest), max(0, left - smallest))
            high = (min(height, top + side + smallest), min(width, left + side + smallest))
            seen = layout.read_plane_region(mask, n, (slice(low[0], high[0]), slice(low[1], high[1])))
            if not seen.any():
                continue
            inner = (slice(top, min(top + side, height)), slice(left, min(left + side, width)))
            local = tuple(slice(part.start - at, part.stop - at) for part, at in zip(inner, low, strict=True))
            kept = _remove_small(seen, smallest)[local]
            if not np.array_equal(kept, seen[local]):
                layout.write_plane(mask, n, kept, inner)


def _labels(mask: NDArray[Any]) -> NDArray[Any]:
    labels: NDArray[Any] = np.setdiff1d(mask, 0)
    return labels


def _pieces(where: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    from scipy import ndimage  # takes half a second

    pieces, _ = ndimage.label(where, structure=np.ones((3,) * where.ndim))
    return pieces, np.bincount(pieces.ravel())
