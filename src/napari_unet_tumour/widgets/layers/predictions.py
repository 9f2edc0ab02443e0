"""What the network said, kept small in memory, so that the threshold moves without a second run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from napari_unet_tumour.base.compressed import CompressedArray
from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.postprocess.isolated import remove_isolated_components
from napari_unet_tumour.postprocess.lesion_check import remove_unlikely_lesions
from napari_unet_tumour.postprocess.threshold import keep_largest_component, mask_from_probability

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.settings import SegmentSettings
    from napari_unet_tumour.widgets.layers.image_source import Region


@dataclass(frozen=True, eq=False)
class PlanePrediction:
    """One segmented plane.

    Parameters
    ----------
    number : int
        Which plane of the layout.
    region : (slice, slice), optional
        The part that was segmented; the whole plane when None.
    probability : Packed
        (L, H, W) uint8, 0..255 = 0..1, one a label without background.
    mask : Packed
        (H, W) uint8, what was last written for it.
    flips : bool
        Whether the probability is the mean of a whole plane and its mirror image.
    carried : bool
        Whether it follows corrected slices (`corrections.carry`), and is not the network's own answer.
    limited : bool
        Whether a model's classifier has limited the probability, so that unlikely lesions are removed.
    plain : CompressedArray, optional
        The probability before the habit that the model's file keeps has moved outlines; None where it has not.
    derived : bool
        Whether it is not the network's answer to this plane: carried from corrections that the model's file keeps, or
        what was written along another axis.
    """

    number: int
    region: Region | None
    probability: CompressedArray
    mask: CompressedArray
    flip_tta: bool = False
    carried: bool = False
    limited: bool = False
    plain: CompressedArray | None = None
    derived: bool = False

    def decided(self, settings: SegmentSettings) -> NDArray[np.uint8]:
        """Return the mask (H, W) that settings make of it, asked as it was when it was segmented."""
        return mask_from_probability(self.probability.array(), replace(settings, flip_tta=self.flip_tta))

    def on_plane(self, values: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Return values (..., h, w) of the segmented part on the whole plane (..., H, W), 0 elsewhere."""
        if self.region is None:
            return values
        whole = np.zeros((*values.shape[:-2], *shape), values.dtype)
        whole[(..., *self.region)] = values
        return whole


class PredictionCache:
    """The planes of one mask layer and the masks that they have shown.

    Parameters
    ----------
    layout : Layout
        How planes lie in the mask.
    """

    def __init__(self, layout: SliceLayout) -> None:
        self.layout = layout
        self.planes: dict[int, PlanePrediction] = {}
        # Planes whose answer is known but not shown, since what is there is a person's.
        self.unwritten: set[int] = set()
        # How many answers of the network have come in.
        self.answers = 0
        self._seen: dict[int, set[bytes]] = {}
        # The network's answers to planes that show a carried one.
        self._replaced: dict[int, PlanePrediction] = {}

    @property
    def flip_tta(self) -> bool:
        """Whether any plane's mirror image was predicted too."""
        return any(plane.flip_tta for plane in self.planes.values())

    def keep(self, plane: PlanePrediction) -> None:
        """Remember a plane, in place of an earlier one; the network's own stays beside a carried one."""
        known = self.planes.get(plane.number)
        if not plane.carried:
            self._replaced.pop(plane.number, None)
            self.answers += known is None or known.probability is not plane.probability
        elif known is not None and not known.carried:
            self._replaced[plane.number] = known
        self.planes[plane.number] = plane
        self.see(plane.number, plane.mask.array())

    def keep_beneath(self, plane: PlanePrediction) -> None:
        """Remember what the network says of a plane that goes on showing a carried answer."""
        self._replaced[plane.number] = plane
        self.answers += 1

    def own(self, number: int) -> PlanePrediction | None:
        """Return what the network itself has said of a plane, whatever is shown; None where it was not asked."""
        known = self.planes.get(number)
        return self._replaced.get(number) if known is not None and known.carried else known

    def see(self, number: int, mask: NDArray[np.uint8]) -> None:
        """Remember that the plane has shown this mask (H, W) without any stroke of the person in it."""
        self._seen.setdefault(number, set()).add(_digest(mask))

    def has_shown(self, number: int, now: NDArray[Any]) -> bool:
        """Tell whether the plane has shown this mask (H, W) before, without any stroke of the person in it."""
        return now.max(initial=0) <= UNSURE and _digest(now.astype(np.uint8)) in self._seen.get(number, ())

    def strokes(self, number: int, now: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which pixels (H, W) of the mask as it is now are the person's own.

        Undo and redo bring back masks that the plane has shown before: nothing in those is a stroke.
        """
        if self.has_shown(number, now):
            return np.zeros(now.shape, bool)
        return np.not_equal(now, self.planes[number].mask.array())


# What is known of a mask layer, whichever widget has drawn it; ends with the layer.
PREDICTIONS: WeakKeyDictionary[Labels, PredictionCache] = WeakKeyDictionary()
# Planes of a mask layer that the person has ticked as reviewed: nothing but the person changes them. Counted as the
# last session did; `_drawn.py` knows them by place.
REVIEWED: WeakKeyDictionary[Labels, frozenset[int]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class MaskUpdate:
    """What settings make of a prediction.

    Parameters
    ----------
    changes : list of (Plane, numpy.ndarray)
        The planes that the mask layer shows otherwise, with the new mask (H, W).
    found : frozenset of int
        The planes that show anything.
    isolated_removed : int
        Pieces that were left out because one slice alone shows them.
    unlikely_removed : int
        Lesions that were left out because their slices together show them to be unlikely.
    """

    changes: list[tuple[PlanePrediction, NDArray[np.uint8]]]
    found: frozenset[int]
    isolated_removed: int
    unlikely_removed: int = 0


def update_mask(
    prediction: PredictionCache,
    shown: NDArray[np.uint8],
    settings: SegmentSettings,
    previewed: int | None = None,
    reviewed: Collection[int] = frozenset(),
) -> MaskUpdate:
    """Find the masks of all planes.

    Parameters
    ----------
    shown : numpy.ndarray
        The layer's array.
    previewed : int, optional
        A plane that counts as changed in any case, since what it shows is not what it holds.
    reviewed : collection of int
        Planes that the person has reviewed: what they show tells which pieces beside them stand alone.
    """
    layout, planes = prediction.layout, list(prediction.planes.values())
    drawn = {n: layout.to_array_order(shown[layout.index(n)]) for n in reviewed if n < layout.planes}
    new, isolated, unlikely = decide(planes, layout, settings, drawn)
    changes = [
        (replace(plane, mask=CompressedArray(mask)), mask)
        for plane, mask in zip(planes, new, strict=True)
        if plane.number == previewed or not np.array_equal(mask, _part(shown, layout, plane))
    ]
    found = frozenset(plane.number for plane, mask in zip(planes, new, strict=True) if mask.any())
    return MaskUpdate(changes, found, isolated, unlikely)


def decide(
    planes: Sequence[PlanePrediction],
    layout: SliceLayout,
    settings: SegmentSettings,
    drawn: dict[int, NDArray[np.uint8]],
) -> tuple[list[NDArray[np.uint8]], int, int]:
    """Return the masks (H, W) that settings make of planes of a volume, and the isolated and unlikely pieces left out.

    Parameters
    ----------
    drawn : dict of int to numpy.ndarray
        (H, W) of the planes that the person has reviewed.
    """
    new = [plane.decided(settings) for plane in planes]
    if len(planes) == 1:
        return ([keep_largest_component(new[0])] if settings.keep_largest else new), 0, 0
    beside = settings.remove_isolated or _checks_lesions(planes, settings)
    if settings.keep_largest or (beside and layout.slice_distance):
        return _together(planes, new, layout, settings, drawn)
    return new, 0, 0


def _checks_lesions(planes: Sequence[PlanePrediction], settings: SegmentSettings) -> bool:
    return settings.check_components and any(plane.limited for plane in planes)


def _together(
    planes: Sequence[PlanePrediction],
    found: list[NDArray[np.uint8]],
    layout: SliceLayout,
    settings: SegmentSettings,
    drawn: dict[int, NDArray[np.uint8]],
) -> tuple[list[NDArray[np.uint8]], int, int]:
    """Apply what all planes together decide; return their masks and the isolated and unlikely pieces left out."""
    whole = np.zeros(layout.mask_shape, np.uint8)
    for plane, mask in zip(planes, found, strict=True):
        _part(whole, layout, plane)[...] = mask
    if settings.remove_isolated or _checks_lesions(planes, settings):
        for n, mask in drawn.items():
            layout.write_plane(whole, n, np.where(mask == UNSURE, 0, mask))
    unlikely = _without_unlikely(whole, planes, layout, settings, drawn) if _checks_lesions(planes, settings) else 0
    isolated = 0
    if settings.remove_isolated:
        # A neighbour that was segmented in part might show a piece elsewhere.
        isolated = remove_isolated_components(
            whole, layout, [plane.number for plane in planes if plane.region is None], drawn
        )
    whole = keep_largest_component(whole) if settings.keep_largest else whole
    return [_part(whole, layout, plane).copy() for plane in planes], isolated, unlikely


def _without_unlikely(
    whole: NDArray[np.uint8],
    planes: Sequence[PlanePrediction],
    layout: SliceLayout,
    settings: SegmentSettings,
    drawn: dict[int, NDArray[np.uint8]],
) -> int:
    """Remove unlikely lesions; one that reaches into a slice that is not the checked network's answer stays."""
    checked = {plane.number: plane for plane in planes if plane.limited and plane.number not in drawn}
    others = {plane.number for plane in planes} - checked.keys() | drawn.keys()
    return remove_unlikely_lesions(whole, layout, lambda n: checked[n].probability.array(), settings, checked, others)


def _part(whole: NDArray[np.uint8], layout: SliceLayout, plane: PlanePrediction) -> NDArray[np.uint8]:
    view = layout.to_array_order(whole[layout.index(plane.number)])
    return view if plane.region is None else view[plane.region]


def _digest(mask: NDArray[np.uint8]) -> bytes:
    return blake2b(np.ascontiguousarray(mask).tobytes(), digest_size=8).digest()
