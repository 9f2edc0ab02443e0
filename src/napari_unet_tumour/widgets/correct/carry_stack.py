"""What `corrections.carry` is given of a case: one stack of neighbouring slices; knows no Qt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet_tumour.base.compressed import CompressedArray
from napari_unet_tumour.corrections.stack import stack_range
from napari_unet_tumour.postprocess.following import Lessons, ScanAnswers, iter_following
from napari_unet_tumour.postprocess.threshold import keep_touching, mask_from_probability
from napari_unet_tumour.tiling.grid import needs_tiling
from napari_unet_tumour.widgets.layers import drawn_pixels
from napari_unet_tumour.widgets.layers.predictions import PREDICTIONS, PlanePrediction, PredictionCache
from napari_unet_tumour.widgets.layers.world import millimetres, spacing_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import SegmentSettings
    from napari_unet_tumour.widgets.correct.case import CasePart
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections


# So many slices are handed on at once after the first.
TOGETHER = 8
# Pixels around a lesion that was left out of a mask in which nothing of it may show again.
FAINT = 8


def stack_of(part: CasePart, plane: int) -> range:
    """Return the planes of a part that are neighbours of a plane in space; none where it has none."""
    return stack_range(part.layout, plane)


def spacing(part: CasePart) -> tuple[float | None, float | None, float | None]:
    """Return height and width of a pixel and the distance of the slices in mm, None where nobody has said them.

    A scale without a unit is taken to be in mm, as readers write it that know no units.
    """
    layout, image = part.layout, part.image
    kept = [axis for axis in range(len(layout.shape)) if axis != layout.channel]
    own = dict(zip(kept, kept if image.ndim == len(layout.shape) else range(image.ndim), strict=True))
    sides = spacing_of(image)
    known = any(millimetres(image.units[own[axis]]) is not None for axis in (layout.rows, layout.columns))
    if not known and all(side == 1.0 for side in sides):
        return None, None, None if layout.slice_distance else 0.0
    row, column = sides[own[layout.rows]], sides[own[layout.columns]]
    return row, column, layout.slice_distance * float(np.sqrt(row * column))


@dataclass(frozen=True, eq=False)
class CarryAnswers:
    """What slices of a stack are to show.

    Parameters
    ----------
    follow : list of PlanePrediction
        Those that a correction is carried to.
    outlined : list of PlanePrediction
        Others that are outlined as the corrected slices are.
    back : list of PlanePrediction
        Those that followed one which is no more: the network's own answer again, nothing where it was not asked.
    same : list of int
        Those that a correction is carried to and that show it already.
    same_outlined : list of int
        The same of the others.
    """

    follow: list[PlanePrediction] = field(default_factory=list)
    outlined: list[PlanePrediction] = field(default_factory=list)
    back: list[PlanePrediction] = field(default_factory=list)
    same: list[int] = field(default_factory=list)
    same_outlined: list[int] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class CarryStack:
    """A stack of neighbouring slices as it was when it was asked about.

    Parameters
    ----------
    part : CasePart
        Whose slices they are.
    planes : range
        Their numbers in the part.
    reviewed : dict of int to numpy.ndarray
        (H, W) uint8 masks by plane.
    own : dict of int to PlanePrediction
        By plane: what the network itself has said, never what was carried.
    shown : dict of int to PlanePrediction
        By plane: what is shown now.
    spec : ModelSpec
        The model's labels, its weights for carrying, and what it knows of the reader's habit.
    settings : SegmentSettings
        How a mask is made of a probability.
    spacing : tuple of float or None
        Height and width of a pixel and distance of the slices in mm.
    """

    part: CasePart
    planes: range
    reviewed: dict[int, NDArray[np.uint8]]
    own: dict[int, PlanePrediction]
    shown: dict[int, PlanePrediction]
    spec: ModelSpec
    settings: SegmentSettings
    spacing: tuple[float | None, float | None, float | None]

    @classmethod
    def of(
        cls, session: CaseCorrections, part: CasePart, planes: range, spec: ModelSpec, settings: SegmentSettings
    ) -> CarryStack:
        """Freeze a stack of a session; call it on the GUI thread."""
        ticked = [n for n in planes if session.is_reviewed(part.first + n)]
        masks = session.masks([part.first + n for n in ticked])
        reviewed = {n: _as_uint8(masks[part.first + n]) for n in ticked}
        cache, labels = part.cache, len(spec.labels) - 1
        found = {n: _own(part, cache, n, labels) for n in planes}
        own = {n: plane for n, plane in found.items() if plane is not None}
        shown = {} if cache is None else {n: cache.planes[n] for n in planes if n in cache.planes}
        return cls(part, planes, reviewed, own, shown, spec, settings, spacing(part))

    def __len__(self) -> int:
        return len(self.planes)

    def __getitem__(self, number: int) -> NDArray[Any]:
        """Return the grey values (C, H, W) of a slice, counted within the stack; only these are read."""
        return self.part.read(self.planes[number])

    def answers(self) -> CarryAnswers:
        """Return what slices are to show now, where that is new, all at once."""
        whole = CarryAnswers()
        for some in self.iter_answers():
            for one in fields(CarryAnswers):
                getattr(whole, one.name).extend(getattr(some, one.name))
        return whole

    def iter_answers(self, lessons: Lessons | None = None) -> Iterator[CarryAnswers]:
        """Yield what slices are to show now, where that is new: first those that a correction is carried to.

        Takes some 0.1 s for these, 10 ms for each other slice with a mask, and reads the image: for a background
        thread.
        """
        steps = iter_following(self._scan(), self.spec, lessons)
        found = {self.planes.start + n: answer for n, answer in next(steps).items()}
        follow, same = self._made(found)
        yield CarryAnswers(follow=follow, same=same)
        done, others = {*found}, CarryAnswers()
        for some in steps:
            found = {self.planes.start + n: answer for n, answer in some.items()}
            outlined, same = self._made(found)
            others.outlined.extend(plane for plane in outlined if self._shows_otherwise(plane))
            others.same_outlined.extend(same)
            done |= found.keys()
            if len(others.outlined) >= TOGETHER:
                yield others
                others = CarryAnswers()
        others.back.extend(self._back(n) for n, one in self.shown.items() if self._is_over(n, one, done))
        yield others

    def _shows_otherwise(self, plane: PlanePrediction) -> bool:
        """Tell whether a plane has another mask than what is shown."""
        shown = self.shown.get(plane.number)
        return shown is None or not np.array_equal(shown.mask.array(), plane.mask.array())

    def _made(self, found: Mapping[int, NDArray[np.uint8]]) -> tuple[list[PlanePrediction], list[int]]:
        """Return the planes of new probabilities, and the numbers of those that are shown already."""
        new = {n: self._carried(n, answer) for n, answer in found.items() if self._is_new(n, answer)}
        return [*new.values()], [n for n in found if n not in new]

    def _scan(self) -> ScanAnswers:
        """Return the stack as `iter_following` takes it, its slices counted from 0."""
        first, labels = self.planes.start, len(self.spec.labels) - 1
        # A model with other labels has said nothing of these.
        own = {n: one for n, one in self.own.items() if one.probability.shape[0] == labels}
        shape = (self.spec.in_channels, *self.part.layout.plane_shape)
        usable = not needs_tiling(shape, self.spec, self.settings)
        plain = {n: one for n, one in own.items() if usable and one.region is None and not one.derived}
        planes: Any = self  # a sequence, as far as it is read
        return ScanAnswers(
            planes=planes,
            reviewed={n - first: mask for n, mask in self.reviewed.items()},
            answers=_Unpacked({n - first: partial(self.whole, one) for n, one in own.items()}),
            spacing=self.spacing,
            settings=lambda n: self._model_settings(self.own[first + n]),
            plain=_Unpacked({n - first: partial(_plain, one) for n, one in plain.items()}),
            rest=_Unpacked({n - first: partial(self._shown_lesions, one) for n, one in plain.items()}),
        )

    def _model_settings(self, plane: PlanePrediction) -> SegmentSettings:
        """Return the settings that the reader's habit goes by: the threshold is the model's, whatever is chosen."""
        spec = self.spec
        return replace(
            self.settings, threshold=spec.threshold, min_object_size=spec.min_object_size, flip_tta=plane.flip_tta
        )

    def _shown_lesions(self, plane: PlanePrediction) -> NDArray[np.uint8]:
        """Return the network's answer to a plane without the lesions that were left out of its mask."""
        probability = _plain(plane)
        found = mask_from_probability(probability, self._model_settings(plane))
        kept = keep_touching(found, plane.mask.array()) > 0
        left_out = (found > 0) & ~kept
        if not left_out.any():
            return probability
        # Nothing of it stays: the threshold follows the highest probability, so that a faint rim would become a mask.
        around = ndimage.binary_dilation(left_out, iterations=FAINT) & ~kept
        return np.where(around | (not kept.any()), np.uint8(0), probability).astype(np.uint8)

    def whole(self, plane: PlanePrediction) -> NDArray[np.uint8]:
        """Return the probability (L, H, W) of a plane, 0 where it was not asked about."""
        return plane.on_plane(plane.probability.array(), self.part.layout.plane_shape)

    def _is_new(self, number: int, answer: NDArray[np.uint8]) -> bool:
        shown = self.shown.get(number)
        return shown is None or not shown.carried or not np.array_equal(shown.probability.array(), answer)

    def _carried(self, number: int, answer: NDArray[np.uint8]) -> PlanePrediction:
        own = self.own.get(number)
        flips = own is not None and own.flip_tta
        plane = PlanePrediction(number, None, CompressedArray(answer), CompressedArray(answer[0]), flips, carried=True)
        return decided(plane, self.settings)

    def _is_over(self, number: int, plane: PlanePrediction, found: Collection[int]) -> bool:
        """Tell whether a plane shows a carried answer that no correction stands behind any more."""
        gone = number not in found and number not in self.reviewed
        return plane.carried and gone and (number in self.own or bool(plane.mask.array().any()))

    def _back(self, number: int) -> PlanePrediction:
        """Return the network's own answer to a plane, nothing where it was not asked."""
        if number in self.own:
            own = decided(self.own[number], self.settings)
            # What was left out of its mask because it is isolated or unlikely stays out.
            shown = keep_touching(own.mask.array(), self.own[number].mask.array())
            return replace(own, mask=CompressedArray(shown))
        nothing = np.zeros((len(self.spec.labels) - 1, *self.part.layout.plane_shape), np.uint8)
        return PlanePrediction(number, None, CompressedArray(nothing), CompressedArray(nothing[0]), carried=True)


class _Unpacked(Mapping[int, "NDArray[np.uint8]"]):
    """Probabilities (L, H, W) by slice of a stack, unpacked when they are looked at."""

    def __init__(self, packed: Mapping[int, Callable[[], NDArray[np.uint8]]]) -> None:
        self._packed = packed
        self._unpack = lru_cache(maxsize=32)(lambda number: packed[number]())

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        return self._unpack(number)

    def __contains__(self, number: object) -> bool:
        return number in self._packed

    def __iter__(self) -> Iterator[int]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)


def _plain(plane: PlanePrediction) -> NDArray[np.uint8]:
    """Return the network's answer (L, H, W) to a whole plane before any habit."""
    return (plane.probability if plane.plain is None else plane.plain).array()


def keep_own(part: CasePart, plane: PlanePrediction | None) -> None:
    """Remember what the network wrote along another axis, before a carried answer takes its place."""
    if plane is None or part.mask is None:
        return
    cache = part.cache
    if cache is None:
        cache = PREDICTIONS[part.mask] = PredictionCache(part.layout)
    if plane.number not in cache.planes:
        cache.keep(plane)


def is_free(session: CaseCorrections, part: CasePart, number: int) -> bool:
    """Tell whether a plane is not a person's: reviewed, drawn, emptied, or with a carried answer that was undone."""
    mask, layout = part.mask, part.layout
    if mask is None or not part.whole:
        return False
    cache, case_number = part.cache, part.first + number
    shown = None if cache is None else cache.planes.get(number)
    if session.is_reviewed(case_number) or session.is_edited(case_number):
        return False
    if drawn_pixels.is_drawn(mask, layout, number) or drawn_pixels.is_erased(mask, layout, number):
        return False
    if cache is None or shown is None:
        return not session.journal.is_emptied(case_number)
    now = part.pixels(number)
    undone = cache.has_shown(number, now) and not np.array_equal(now, shown.mask.array())
    return not (shown.carried and undone)


def _own(part: CasePart, cache: PredictionCache | None, number: int, labels: int) -> PlanePrediction | None:
    """Return what the network has said of a plane; where it wrote along another axis, what it wrote there."""
    if cache is not None and number in cache.planes:
        return cache.own(number)
    if part.mask is None or not part.whole:
        return None
    written = np.ascontiguousarray(drawn_pixels.written(part.mask, part.layout, number))
    if not written.any():
        return None
    each = np.stack([np.where(written == label, np.uint8(255), np.uint8(0)) for label in range(1, labels + 1)])
    return PlanePrediction(number, None, CompressedArray(each), CompressedArray(written), derived=True)


def decided(plane: PlanePrediction, settings: SegmentSettings) -> PlanePrediction:
    """Return a plane with the mask that settings make of it."""
    return replace(plane, mask=CompressedArray(plane.decided(settings)))


def _as_uint8(mask: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a mask with values that no model has as background."""
    return np.where((mask >= 0) & (mask <= 255), mask, 0).astype(np.uint8)
