"""Carry corrected slices to their neighbours: grey values and distances, no training, no torch.

A pixel of a neighbouring slice belongs to a corrected lesion where it is as bright as the lesion's pixels were (the
log ratio of two histograms, inside and around the corrected outlines) and lies where the outline goes on (its signed
distance, interpolated between two corrected slices, shrunk beyond the last). Two numbers weigh the two. The network
says whether there is a lesion at all: where it saw the corrected lesion and sees nothing here, the lesion has ended.
A network that has learnt from the corrections has a say in every pixel too; before that, its outlines are another
reader's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet_tumour.base.labels import UNSURE
from napari_unet_tumour.corrections import grey_values
from napari_unet_tumour.corrections.signed_distance import Outline, distance_between

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Box = tuple[slice, slice]

# A plane whose pixel size is unknown is taken to show so many millimetres along its longer side.
FIELD_OF_VIEW_MM = 240.0
# A stack is taken to cover so much of the body, and its slices to lie at most the second number apart by that guess:
# headers that claim 1 mm for 24 slices of a head are common, and a correction would be carried far too far.
COVERED_MM, THICK_MM = 150.0, 6.5
# The grey values around a lesion are those within so many mm of its outline; it is looked for within the second.
AROUND_MM, WITHIN_MM = 25.0, 12.0
# Below this probability the network sees nothing; from the second on it has seen a corrected lesion.
NOTHING, SEEN = 5, 128
HALF = 128
# What is added to a probability (0..255) before its logarithm is taken.
LEAST = 0.5
# A piece of the network's answer was erased where less than this share of it was kept.
ERASED = 0.1
# A carried answer below this area is no better than a larger one of the network.
SPECK_MM2 = 50.0
# The threshold follows the surest pixel of a plane down to this share of it where mirror images disagree.
FOLLOWS_TO = 0.4
# A piece that lies this close (pixels) to the carried outline is the same lesion.
TOUCHING = 2


@dataclass(frozen=True)
class CarryWeights:
    """What `training/fit_carry.py` has learnt; a model file keeps its own as `ModelSpec.carry`.

    Parameters
    ----------
    distance : float
        Log odds per mm of signed distance.
    grey : float
        Log odds per unit of the log ratio of grey-value histograms.
    bias : float
        Log odds of a pixel that neither speaks of.
    shrink : float
        By how many mm the outline moves in per mm along the slices beyond the last corrected one.
    decay : float
        Distance along the slices, in mm, over which the outline's weight falls to 1 / e.
    reach : float
        How far, in mm along the slices, a correction is carried; at least one slice of at most this distance.
    network : float
        Log odds per unit of the network's own log odds: 0 for a network that has not learnt from corrections.
    """

    distance: float = 0.28
    grey: float = 1.53
    bias: float = 0.67
    shrink: float = 0.4
    decay: float = 20.0
    reach: float = 14.0
    network: float = 0.0

    @classmethod
    def from_dict(cls, found: Mapping[str, float]) -> CarryWeights:
        """Return the weights of a model file; what it does not name is as shipped."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: float(value) for name, value in found.items() if name in known})

    def to_dict(self) -> dict[str, float]:
        """Return the weights as a model file keeps them; the network's only where it has one."""
        return {name: value for name, value in asdict(self).items() if value or name != "network"}


@dataclass(frozen=True, eq=False)
class Carried:
    """The answer of `carry`.

    Parameters
    ----------
    probability : dict of int to numpy.ndarray
        (L, H, W) uint8, 0..255 for 0..1, of every slice that follows a correction, by number.
    """

    probability: dict[int, NDArray[np.uint8]] = field(default_factory=dict)

    @property
    def slices(self) -> tuple[int, ...]:
        """The slices that follow a correction, in order."""
        return tuple(sorted(self.probability))


def carry(
    planes: Sequence[NDArray[Any]],
    reviewed: Mapping[int, NDArray[np.uint8]],
    probability: Mapping[int, NDArray[np.uint8]],
    labels: int = 1,
    spacing: Sequence[float | None] = (None, None, None),
    weights: CarryWeights | None = None,
) -> Carried:
    """Answer the unreviewed neighbours of corrected slices anew.

    Parameters
    ----------
    planes : sequence of numpy.ndarray
        (N, H, W) or (N, C, H, W) grey values of one stack of neighbours, any real type, any displayed axis; only the
        slices within reach of a corrected one are read, so that it may be lazy.
    reviewed : mapping of int to numpy.ndarray
        (H, W) uint8 masks by slice: 0, labels, `UNSURE` (255) = says nothing.
    probability : mapping of int to numpy.ndarray
        (L, H, W) uint8, 0..255 for 0..1, the network's answer by slice; slices that it has not answered are left out.
        Give its own answer, not one that was carried before: the result depends on nothing that was carried earlier.
    labels : int
        L, how many labels the answer has. Labels beyond it are background here.
    spacing : sequence of float or None
        Height and width of a pixel and distance of the slices in mm; None where unknown. A distance of 0 says that
        the slices are no neighbours (flat images): nothing is carried.
    weights : CarryWeights, optional
        Those of the model; the shipped ones by default.

    Returns
    -------
    Carried
        New probabilities of the slices that follow a correction. Reviewed slices are never among them.
    """
    stack = _Stack.of(planes, reviewed, probability, labels, spacing)
    return Carried(stack.answers(weights or CarryWeights()) if stack else {})


def slices_in_reach(
    count: int, shape: Sequence[int], spacing: Sequence[float | None], weights: CarryWeights | None = None
) -> int:
    """Return how many slices far a correction is carried in a stack of `count` slices (H, W); 0 for no neighbours."""
    return _reach(_Spacing.of(spacing, count, shape), count, weights or CarryWeights())


def iter_evidence(
    planes: Sequence[NDArray[Any]],
    reviewed: Mapping[int, NDArray[np.uint8]],
    probability: Mapping[int, NDArray[np.uint8]],
    spacing: Sequence[float | None],
    weights: CarryWeights,
) -> Iterator[tuple[int, Box, NDArray[np.float64], NDArray[np.float64]]]:
    """Yield what the weights are learnt on: slice, box, expected distance and log ratio (h, w), for the first label.

    The arguments are those of `carry`; of the weights only `shrink`, `decay` and `reach` matter.
    """
    stack = _Stack.of(planes, reviewed, probability, 1, spacing)
    if stack is None:
        return
    reach = stack.reach(weights)
    lesion = _Lesion(stack, 1, weights, reach)
    for n in stack.near(reach):
        found = lesion.evidence(n)
        lesion.note(n, found is not None)
        if found is not None:
            yield n, stack.box, *found


@dataclass(frozen=True)
class _Spacing:
    """Height and width of a pixel, and distance of the slices, in mm; 0 = no neighbours."""

    pixel: tuple[float, float]
    step: float

    @classmethod
    def of(cls, spacing: Sequence[float | None], count: int, shape: Sequence[int]) -> _Spacing:
        """Fill in what is unknown; `count` slices of `shape` pixels."""
        row, column, step = (None if one is None or not np.isfinite(one) or one < 0 else one for one in spacing)
        side = FIELD_OF_VIEW_MM / max(shape)
        guess = min(COVERED_MM / count, THICK_MM)
        return cls((row or side, column or side), guess if step is None else step and max(step, guess))


class _Stack:
    """The slices of one call."""

    def __init__(
        self,
        planes: Sequence[NDArray[Any]],
        reviewed: dict[int, NDArray[np.uint8]],
        probability: Mapping[int, NDArray[np.uint8]],
        labels: int,
        spacing: _Spacing,
    ) -> None:
        self.planes = planes
        self.reviewed = reviewed
        self.probability = probability
        self.spacing = spacing
        self.labels = range(1, labels + 1)
        self.shape: tuple[int, int] = next(iter(reviewed.values())).shape
        self.box = self._box(max(WITHIN_MM, AROUND_MM))
        self._grey: dict[int, grey_values.Grey | None] = {}

    @classmethod
    def of(
        cls,
        planes: Sequence[NDArray[Any]],
        reviewed: Mapping[int, NDArray[np.uint8]],
        probability: Mapping[int, NDArray[np.uint8]],
        labels: int,
        spacing: Sequence[float | None],
    ) -> _Stack | None:
        """Return the stack, None where no slice has a neighbour or nothing is reviewed."""
        given = {n: mask for n, mask in reviewed.items() if 0 <= n < len(planes) and (mask != UNSURE).any()}
        if not given or len(planes) < 2:
            return None
        shape = next(iter(given.values())).shape
        return cls(planes, given, probability, labels, _Spacing.of(spacing, len(planes), shape))

    def reach(self, weights: CarryWeights) -> int:
        """Return how many slices far a correction is carried."""
        return _reach(self.spacing, len(self.planes), weights)

    def _box(self, margin: float) -> Box:
        """Return the rows and columns around everything that is drawn."""
        drawn = np.zeros(self.shape, bool)
        for mask in self.reviewed.values():
            drawn |= (mask != 0) & (mask != UNSURE)
        sides = []
        for axis, pixel in enumerate(self.spacing.pixel):
            at = np.flatnonzero(drawn.any(1 - axis))
            around = int(np.ceil(margin / pixel))
            low, high = (max(0, at[0] - around), at[-1] + around + 1) if at.size else (0, 0)
            sides.append(slice(int(low), int(high)))
        return sides[0], sides[1]

    def grey(self, n: int) -> grey_values.Grey | None:
        """Return the grey values (C, h, w) of a slice in the box, on a scale that slices share; None where blank."""
        if n not in self._grey:
            plane = np.asarray(self.planes[n])
            channels = [grey_values.scaled(one, self.box, self.spacing.pixel) for one in plane.reshape(-1, *self.shape)]
            kept = [one for one in channels if one is not None]
            self._grey[n] = np.stack(kept) if len(kept) == len(channels) else None
        return self._grey[n]

    def network_logit(self, n: int, label: int) -> NDArray[np.float64] | float:
        """Return the network's log odds (h, w) of a label against the background; 0 where it was not asked."""
        if n not in self.probability:
            return 0.0
        here = self.probability[n][:, *self.box].astype(np.float64)
        nothing = np.maximum(255 - here.sum(0), 0)
        logit: NDArray[np.float64] = np.log((here[label - 1] + LEAST) / (nothing + LEAST))
        return logit

    def answers(self, weights: CarryWeights) -> dict[int, NDArray[np.uint8]]:
        """Return the new probabilities by slice."""
        reach = self.reach(weights)
        lesions = [_Lesion(self, label, weights, reach) for label in self.labels]
        lesions = [lesion for lesion in lesions if lesion.outlines]
        found: dict[int, NDArray[np.uint8]] = {}
        for n in self.near(reach):
            logits = {one.label: got for one in lesions if (got := one.logit(n)) is not None}
            answer = self._answer(n, logits) if logits else None
            for lesion in lesions:
                lesion.note(n, answer is not None and lesion.label in logits)
            if answer is not None:
                found[n] = answer
        for n, erased in self._erased(reach).items():
            base = found.get(n, self.probability[n])
            found[n] = np.where(erased & ~self._drawn_near(n, found), np.uint8(0), base)
        known = self.probability
        return {n: answer for n, answer in found.items() if n not in known or not np.array_equal(answer, known[n])}

    def near(self, reach: int) -> list[int]:
        """Return the slices within reach that nobody has reviewed, the nearest first."""
        away = {
            n: min(abs(n - k) for k in self.reviewed)
            for n in {m for k in self.reviewed for m in range(k - reach, k + reach + 1)}
            if 0 <= n < len(self.planes) and n not in self.reviewed
        }
        return sorted(away, key=lambda n: (away[n], n))

    def _answer(self, n: int, logits: dict[int, NDArray[np.float64]]) -> NDArray[np.uint8] | None:
        """Return the probability (L, H, W) of a slice from log odds by label in the box; None where nothing shows."""
        base = self.probability.get(n)
        new = np.zeros((len(self.labels), *self.shape), np.uint8) if base is None else base.copy()
        carried = _quantised(_shares(logits))
        shown = np.zeros(self.shape, bool)
        shown[self.box] = sum(carried.values()) >= HALF
        asked = np.zeros(self.shape, bool)
        asked[self.box] = np.logical_or.reduce([np.isfinite(one) for one in logits.values()])
        size, before = np.count_nonzero(shown), np.count_nonzero((_pieces(new) > 0) & asked)
        if not size or (size * np.prod(self.spacing.pixel) < SPECK_MM2 and before > size):
            return None
        other = self._make_room(new, shown, asked)
        for label, values in carried.items():
            here = asked[self.box] & ~other[self.box]
            new[label - 1][self.box][here] = values[here]
        for label in set(self.labels) - set(carried):
            # What nobody corrected near here keeps its share of what is left.
            left = 255 - np.minimum(sum(one.astype(np.uint16) for one in carried.values()), 255)
            new[label - 1][self.box] = np.minimum(new[label - 1][self.box], left)
        return new

    def _make_room(
        self, new: NDArray[np.uint8], shown: NDArray[np.bool_], asked: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Remove the network's pieces that the carried lesion replaces; return the pixels of others, which stay."""
        pieces = _pieces(new)
        count = int(pieces.max(initial=0)) + 1
        sizes, inside = np.bincount(pieces.ravel(), minlength=count), np.bincount(pieces[asked], minlength=count)
        touching = np.zeros(count, bool)
        touching[pieces[ndimage.binary_dilation(shown, iterations=TOUCHING)]] = True
        stays = ~touching & (2 * inside < sizes)
        stays[0] = False
        replaced = (touching | (inside > 0)) & ~stays
        replaced[0] = False
        new[:, replaced[pieces]] = 0
        return np.asarray(stays[pieces])

    def _erased(self, reach: int) -> dict[int, NDArray[np.bool_]]:
        """Return the pixels by slice of what the network paints beside a piece that a person has erased.

        Only pieces that get no larger away from the reviewed slice: those that grow are a lesion that begins there.
        """
        found: dict[int, NDArray[np.bool_]] = {}
        for k, mask in self.reviewed.items():
            if k not in self.probability:
                continue
            gone = [p for p in _each(_pieces(self.probability[k])) if np.mean(mask[p] != 0) < ERASED]
            for step in (-1, 1):
                last = gone
                for n in range(k + step, k + step * (reach + 1), step):
                    if not last or n in self.reviewed or n not in self.probability:
                        break
                    last = [p for p in _each(_pieces(self.probability[n])) if any(_follows(p, one) for one in last)]
                    for piece in last:
                        found[n] = found.get(n, np.zeros(self.shape, bool)) | piece
        return found

    def _drawn_near(self, n: int, found: Mapping[int, NDArray[np.uint8]]) -> NDArray[np.bool_]:
        """Return the pieces of a slice's network answer that a person's drawing or a carried outline supports."""
        kept = np.zeros(self.shape, bool)
        for m in (n - 1, n + 1):
            if m in self.reviewed:
                kept |= (self.reviewed[m] != 0) & (self.reviewed[m] != UNSURE)
        if n in found:
            kept |= _together(found[n]) >= HALF
        pieces = _pieces(self.probability[n])
        return np.isin(pieces, np.setdiff1d(pieces[kept], 0))


class _Lesion:
    """What the reviewed slices say of one label."""

    def __init__(self, stack: _Stack, label: int, weights: CarryWeights, reach: int) -> None:
        self.stack, self.label, self.weights, self.reach = stack, label, weights, reach
        self.outlines: dict[int, Outline] = {}
        inside: Any = 0
        around: Any = 0
        for n, mask in stack.reviewed.items():
            part = mask[stack.box]
            values = stack.grey(n) if (part == label).any() else None
            if values is not None:
                distance = (outline := Outline(part == label, stack.spacing.pixel)).distance
                self.outlines[n] = outline
                inside = inside + grey_values.counts(values[:, part == label])
                around = around + grey_values.counts(
                    values[:, (distance < 0) & (distance > -AROUND_MM) & (part != UNSURE)]
                )
        self.ratio = grey_values.log_ratio(inside, around) if self.outlines else np.zeros((0, 0))
        self._follows = dict.fromkeys(self.outlines, True)

    def note(self, n: int, followed: bool) -> None:
        """Remember whether a slice followed: a lesion that has ended does not begin again beyond."""
        self._follows[n] = followed

    def logit(self, n: int) -> NDArray[np.float64] | None:
        """Return the log odds (h, w) of a slice's pixels in the box, -inf far away; None where nothing is carried."""
        found, w = self.evidence(n), self.weights
        if found is None:
            return None
        distance, likely = found
        seen = w.network * self.stack.network_logit(n, self.label) if w.network else 0.0
        return np.where(np.isfinite(distance), w.distance * distance + w.grey * likely + w.bias + seen, -np.inf)

    def evidence(self, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Return the weakened distance, -inf far away, and the log ratio (h, w); None where the lesion has ended."""
        below, above = self._beside(n)
        lesions = [k for k in (below, above) if k is not None and k in self.outlines]
        values = self.stack.grey(n) if lesions else None
        if values is None:
            return None
        nearest = min(lesions, key=lambda k: abs(k - n))
        along = abs(nearest - n) * self.stack.spacing.step
        distance = self._distance(n, below, above, nearest)
        if len(lesions) == 1 and not self._goes_on(n, nearest, distance):
            return None
        weak = np.exp(-along / self.weights.decay) * np.minimum(distance, WITHIN_MM)
        return np.where(distance > -WITHIN_MM, weak, -np.inf), grey_values.likely(
            values, self.ratio, self.stack.spacing.pixel
        )

    def _beside(self, n: int) -> tuple[int | None, int | None]:
        """Return the nearest reviewed slice within reach on either side."""
        below = [k for k in self.stack.reviewed if n - self.reach <= k < n]
        above = [k for k in self.stack.reviewed if n < k <= n + self.reach]
        return max(below, default=None), min(above, default=None)

    def _distance(self, n: int, below: int | None, above: int | None, nearest: int) -> NDArray[np.float64]:
        """Return the signed distance (h, w) in mm to where the outline is expected."""
        outline, steps = self.outlines[nearest], abs(nearest - n)
        if below is not None and above is not None and {below, above} <= self.outlines.keys():
            return distance_between(self.outlines[below], self.outlines[above], (n - below) / (above - below))
        shrunk = self.weights.shrink * steps * self.stack.spacing.step
        empty = above if nearest == below else below
        if empty is not None:  # the lesion ends on the way to it
            shrunk = max(shrunk, outline.distance.max() * steps / abs(empty - nearest))
        return outline.distance - shrunk

    def _goes_on(self, n: int, nearest: int, distance: NDArray[np.float64]) -> bool:
        """Tell whether the lesion of a corrected slice reaches a slice that has no corrected slice behind it."""
        step = 1 if n > nearest else -1
        if not all(self._follows.get(m, False) for m in range(nearest + step, n, step)):
            return False
        here, there = self.stack.probability.get(n), self.stack.probability.get(nearest)
        box = self.stack.box
        if here is not None and _together(here)[box][distance > -self.stack.spacing.step].max(initial=0) >= NOTHING:
            return True
        seen = there is not None and _together(there)[box][self.outlines[nearest].distance > 0].max(initial=0) >= SEEN
        return abs(n - nearest) == 1 and not seen


def _reach(spacing: _Spacing, count: int, weights: CarryWeights) -> int:
    return int(min(weights.reach / spacing.step + 1e-6, count)) if spacing.step else 0


def _shares(logits: dict[int, NDArray[np.float64]]) -> dict[int, NDArray[np.float64]]:
    """Return the probability of every label: softmax of the log odds against the background."""
    odds = {label: np.exp(np.clip(logit, -30, 30)) for label, logit in logits.items()}
    whole = 1 + sum(odds.values())
    return {label: one / whole for label, one in odds.items()}


def _quantised(shares: dict[int, NDArray[np.float64]]) -> dict[int, NDArray[np.uint8]]:
    """Return probabilities as uint8, the surest foreground pixel of the plane at 1.

    So a mask is the same whether or not the threshold follows the plane's maximum, see
    `postprocess.threshold.effective_threshold`.
    """
    together = sum(shares.values())
    surest = float(np.max(together))
    more = np.where(together > 0.5, 0.5 + (together - 0.5) * 0.5 / max(surest - 0.5, 1e-6), together)
    scale = 255 * more / np.maximum(together, 1e-12)
    return {label: np.round(np.clip(one * scale, 0, 255)).astype(np.uint8) for label, one in shares.items()}


def _together(probability: NDArray[np.uint8]) -> NDArray[np.uint16]:
    together: NDArray[np.uint16] = probability.sum(0, dtype=np.uint16)
    return together


def _pieces(probability: NDArray[np.uint8]) -> NDArray[np.int32]:
    together = _together(probability)
    level = HALF * np.clip(together.max(initial=0) / 255, FOLLOWS_TO, 1.0)
    found: NDArray[np.int32] = ndimage.label(together >= level, np.ones((3, 3)))[0]
    return found


def _each(pieces: NDArray[np.int32]) -> Iterator[NDArray[np.bool_]]:
    for number in range(1, int(pieces.max(initial=0)) + 1):
        yield pieces == number


def _follows(piece: NDArray[np.bool_], erased: NDArray[np.bool_]) -> bool:
    size = np.count_nonzero(piece)
    return bool(size <= np.count_nonzero(erased) and 2 * np.count_nonzero(piece & erased) > size)
