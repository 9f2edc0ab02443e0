"""What corrected slices change on the others of their scan: carried outlines, and the reader's habit everywhere else.

The rule of `postprocess.outline_habit` is fitted to the corrected slices, in addition to what earlier scans have taught
the model. It outlines the network's answers anew; these are what `corrections.carry` mixes with, and what the slices
show that no correction is carried to. It needs no torch, and costs some 10 ms per slice with a mask.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.labels import UNSURE
from napari_unet_tumour.corrections.carry import CarryWeights, carry
from napari_unet_tumour.corrections.remembered import learnt_slices
from napari_unet_tumour.corrections.stack import checksum
from napari_unet_tumour.postprocess.outline_features import outline_pixels
from napari_unet_tumour.postprocess.outline_habit import SAY, Lesson, can_learn, lesson_of, outlined, rule_of
from napari_unet_tumour.postprocess.threshold import mask_from_probability

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import SegmentSettings

    Values = NDArray[np.float64]
    Mask = NDArray[np.uint8]

# So many corrected slices are remembered with their pixels.
MOST_LESSONS = 64


@dataclass(frozen=True, eq=False)
class ScanAnswers:
    """A stack of neighbouring slices, what is corrected in it, and what the network has said of it.

    Parameters
    ----------
    planes : sequence of numpy.ndarray
        (N, C, H, W) raw grey values of any real type; may be lazy.
    reviewed : mapping of int to numpy.ndarray
        (H, W) uint8 masks by slice: 0, labels, `UNSURE` = says nothing.
    answers : mapping of int to numpy.ndarray
        (L, H, W) uint8, 0..255 for 0..1, what the model answers by slice; never what was carried before.
    spacing : tuple of float or None
        As `corrections.carry.carry` takes it.
    settings : callable
        Returns with which settings a slice was segmented; the threshold and the smallest object are the model's.
    plain : mapping of int to numpy.ndarray
        The network's answers before a habit that the model file keeps, where a habit may be learnt and used.
    rest : mapping of int to numpy.ndarray
        The same for the slices that may be outlined anew; a lesion that is not shown there is left out.
    """

    planes: Sequence[NDArray[Any]]
    reviewed: Mapping[int, Mask]
    answers: Mapping[int, Mask]
    spacing: Sequence[float | None]
    settings: Callable[[int], SegmentSettings]
    plain: Mapping[int, Mask]
    rest: Mapping[int, Mask]


class Lessons:
    """What corrected slices say of how the reader outlines; each is looked at once."""

    def __init__(self) -> None:
        self._lock = Lock()  # a call that nobody waits for any more may still be under way
        self._known: OrderedDict[bytes, Lesson | None] = OrderedDict()

    def of(
        self, plane: NDArray[Any], probability: Mask, mask: Mask, spec: ModelSpec, settings: SegmentSettings
    ) -> Lesson | None:
        """Return what a corrected slice says, see `outline_habit.lesson_of`."""
        digest = blake2b(repr(settings).encode(), digest_size=16)
        for values in (plane, probability, mask):
            digest.update(np.ascontiguousarray(values).tobytes())
        key = digest.digest()
        with self._lock:
            if key not in self._known:
                self._known[key] = lesson_of(plane, probability, mask, spec, settings)
            self._known.move_to_end(key)
            while len(self._known) > MOST_LESSONS:
                self._known.popitem(last=False)
            return self._known[key]


def iter_following(scan: ScanAnswers, spec: ModelSpec, lessons: Lessons | None = None) -> Iterator[dict[int, Mask]]:
    """Yield the new probabilities (L, H, W) by slice: first of those that a correction is carried to, then each other.

    The others come with the nearest to a corrected slice first, and only where the habit changes them. Slices without
    a mask get none, and reviewed slices are never among them.

    Parameters
    ----------
    spec : ModelSpec
        The model's description.
    lessons : Lessons, optional
        Kept from one call to the next, so that one more corrected slice adds one small matrix.
    """
    weights = CarryWeights.from_dict(spec.carry)
    rule = _rule(scan, spec, lessons or Lessons())
    answers: Mapping[int, Mask] = scan.answers
    if rule is not None:
        weights, answers = replace(weights, network=SAY), _Outlined(scan, rule)
    found = carry(scan.planes, scan.reviewed, answers, len(spec.labels) - 1, scan.spacing, weights).probability
    yield found
    if rule is None:
        return
    for n in sorted(scan.rest, key=lambda n: (min(abs(n - k) for k in scan.reviewed), n)):
        if n in found or n in scan.reviewed:
            continue
        new = _outlined(scan, n, scan.rest[n], rule)
        if new is not None and not np.array_equal(new, scan.answers[n]):
            yield {n: new}


class _Outlined(Mapping[int, "Mask"]):
    """The network's answers, outlined by a rule when they are looked at; on reviewed slices as they are."""

    def __init__(self, scan: ScanAnswers, rule: Values) -> None:
        self._scan, self._rule = scan, rule
        self._known: dict[int, Mask] = {}

    def __getitem__(self, n: int) -> Mask:
        if n in self._scan.reviewed or n not in self._scan.plain:
            return self._scan.answers[n]
        if n not in self._known:
            # A lesion that was left out of the mask, e.g. since one slice alone shows it, has no say in its neighbours.
            own = self._scan.rest.get(n, self._scan.plain[n])
            new = _outlined(self._scan, n, own, self._rule)
            self._known[n] = own if new is None else new
        return self._known[n]

    def __contains__(self, n: object) -> bool:
        return n in self._scan.answers

    def __iter__(self) -> Iterator[int]:
        return iter(self._scan.answers)

    def __len__(self) -> int:
        return len(self._scan.answers)


def _outlined(scan: ScanAnswers, n: int, probability: Mask, rule: Values) -> Mask | None:
    """Return a slice's answer with a rule applied; None where it has no mask, or is blank."""
    settings = scan.settings(n)
    found = outline_pixels(scan.planes[n], probability, settings)
    return None if found is None else outlined(found, probability, rule, settings)


def _rule(scan: ScanAnswers, spec: ModelSpec, lessons: Lessons) -> Values | None:
    """Return the rule that this scan's corrected slices and earlier scans give; None where the former say nothing.

    Slices that the model was fine-tuned on say nothing anew: what they have to say is in the model's habit, which holds
    in their own scan whatever it looks like.
    """
    several = any(np.any((mask > 1) & (mask != UNSURE)) for mask in scan.reviewed.values())
    if several or not can_learn(spec) or scan.spacing[2] == 0:
        return None
    learnt = learnt_slices(spec.corrected)
    fresh: dict[int, Lesson] = {}
    taught: list[int] = []
    for n, mask in scan.reviewed.items():
        if n in scan.plain and mask.any():
            plane = scan.planes[n]
            if learnt and checksum(plane) in learnt:
                taught.append(n)
                continue
            lesson = lessons.of(plane, scan.plain[n], mask, spec, scan.settings(n))
            if lesson is not None:
                fresh[n] = lesson
    if not fresh and not taught:
        return None
    # Earlier scans say nothing of another part of the tumour.
    same = scan.settings(min([*fresh, *taught])).part == spec.part
    known = spec.habit.get("scans", ()) if same else ()
    matrices = [*(one.matrix for one in fresh.values()), *(np.asarray(one["matrix"]) for one in known)]
    vectors = [*(one.vector for one in fresh.values()), *(np.asarray(one["vector"]) for one in known)]
    if not matrices:
        return None
    rule = rule_of(np.sum(matrices, 0), np.sum(vectors, 0))
    return rule if _helps(scan, fresh, rule) else None


def _helps(scan: ScanAnswers, fresh: Mapping[int, Lesson], rule: Values) -> bool:
    """Tell whether the corrected slices would have been outlined no worse; where they contradict each other, not so."""
    gained = 0.0
    for n, lesson in fresh.items():
        settings, mask = scan.settings(n), scan.reviewed[n]
        new = outlined(lesson.pixels, scan.plain[n], rule, settings)
        gained += _dice(mask_from_probability(new, settings), mask)
        gained -= _dice(mask_from_probability(scan.answers[n], settings), mask)
    return gained >= 0


def _dice(shown: Mask, mask: Mask) -> float:
    one, other, known = shown > 0, mask > 0, mask != UNSURE
    sizes = [int(np.count_nonzero(some & known)) for some in (one & other, one, other)]
    return 2 * sizes[0] / max(sizes[1] + sizes[2], 1)
