"""Lower the probability of components that a model's classifier does not take for a tumour, on the scan's own grid.

numpy only: predictions of torch and of ONNX Runtime both pass through here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_unet_tumour.postprocess.threshold import level_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.models.spec import ModelSpec


class Frame(Protocol):
    """Where a plane lies within the network's working image, see `runtime.preprocess.Frame`."""

    @property
    def native(self) -> tuple[int, int]:
        """(H, W) of the scan's plane."""

    @property
    def inner(self) -> tuple[int, int]:
        """(h, w) of the resized plane."""

    @property
    def window(self) -> tuple[slice, slice]:
        """The resized plane's rows and columns in the working image."""


def has_classifier(spec: ModelSpec) -> bool:
    """Tell whether a model's components are checked: it has a classifier and one label."""
    return bool(spec.components) and len(spec.labels) == 2


def lower_unlikely(
    found: NDArray[np.uint8],
    working: NDArray[np.float32],
    own: NDArray[np.float32],
    mirrored: NDArray[np.float32] | None,
    frame: Frame,
    spec: ModelSpec,
) -> None:
    """Lower, in place, the probability of components that are no tumour, and limit that of doubtful ones.

    A component that stays has a probability of 1/2 + likelihood/2 at most: `lesion_check` decides by it whether the
    component goes, where neighbouring slices show it too.

    For a model with a gated branch only the base network's prediction is lowered; what was learnt from corrections
    stays.

    Parameters
    ----------
    found : numpy.ndarray
        (L, H, W) uint8, the probability on the scan's grid, 0..255 for 0..1; changed.
    working : numpy.ndarray
        (C, h, w) float32, the normalised image as the network saw it.
    own, mirrored : numpy.ndarray
        (L, h, w) float32, the probability of the slice and of its mirror image; None without test-time augmentation.
    frame : Frame
        Where the slice lies in the working image.
    spec : ModelSpec
        Of a model with a classifier, see `has_classifier`.
    """
    other = own if mirrored is None else mirrored
    highest = float(((own[0] + other[0]) / 2).max())
    if highest < level_at(highest, spec.threshold, raised=mirrored is not None):
        return
    # Imported only if there is a component to check: scipy and scikit-image take a while to load.
    from napari_unet_tumour.postprocess.component_classifier import Slice, limits
    from napari_unet_tumour.scans.training_match import is_unlike

    scale = frame.inner[0] * frame.inner[1] / (frame.native[0] * frame.native[1])
    shown = Slice(working.mean(0), own[0], other[0], mirrored is not None)
    unlike = bool(spec.typical) and is_unlike(working[(slice(None), *frame.window)], spec.typical)
    made = limits(shown, spec.components, spec.threshold, spec.min_object_size * scale, unlike=unlike)
    if made is not None:
        factor, limit = (_native(one[frame.window], frame.native) for one in (made.factor, made.limit))
        found[0] = _limited(np.rint(found[0] * factor), 255 * limit, spec.threshold, mirrored is not None)


def _limited(
    values: NDArray[np.float32], limit: NDArray[np.float32], threshold: float, raised: bool
) -> NDArray[np.float32]:
    """Limit values (H, W) 0..255 so that the mask at the model's own threshold stays the same.

    That threshold follows the highest value, so where the highest one falls, the others fall in proportion.
    """
    highest, limited = float(values.max()), np.minimum(values, limit)
    share = float(limited.max()) / highest if raised and highest else 1.0
    found = np.rint(np.minimum(values * np.float32(share), limit))
    before, now = (round(255 * level_at(top / 255, threshold, raised)) for top in (highest, float(found.max())))
    kept = np.where(values >= before, np.maximum(found, now), np.minimum(found, now - 1))
    return np.asarray(kept.clip(0, 255), np.float32)


def _native(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    rows, columns = ((np.arange(n) * 2 + 1) * m // (2 * n) for n, m in zip(shape, values.shape, strict=True))
    return values[np.ix_(rows, columns)]
