"""Split slices into a training, a validation and a test part."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

SHARE = 0.2
SHARE_OF_CASES = 0.1
SHARE_SEEN = 0.04
FEWEST_PERSONS = 5


@dataclass(frozen=True, eq=False)
class DataSplit:
    """A split: numbers of slices; no slice is in two parts.

    Parameters
    ----------
    train, val, test : numpy.ndarray
        (n,) int64.
    seen : numpy.ndarray
        (n,) int64, held-out slices of training persons: the difference of their score to that of `test`
        shows what a split by slice hides. Empty unless the split is by person.
    how : str
        "slice", "person" or "cases".
    """

    train: Numbers
    val: Numbers
    test: Numbers
    seen: Numbers
    how: str


def by_slice(count: int, seed: int = 42, share: float = SHARE) -> DataSplit:
    """Split slices at random, regardless of the person; the test score is too high if persons have several slices.

    The same parts as scikit-learn's `train_test_split(names, test_size=int(count * share),
    random_state=seed)`, called twice, first for `val` and then for `test`, as the tutorial does.
    """
    held = int(count * share)
    if held < 1 or count - 2 * held < 1:
        raise TrainingError(f"{count} images are too few for a training, a validation and a test part: give at least 5")
    order = np.random.RandomState(seed).permutation(count)
    val, rest = order[:held], order[held:]
    order = np.random.RandomState(seed).permutation(len(rest))
    return _parts(rest[order[held:]], val, rest[order[:held]], "slice")


def by_person(persons: Sequence[str], kinds: Sequence[str], seed: int = 42, share: float = SHARE) -> DataSplit:
    """Split persons, so that nobody is in two parts, with about the same fraction of each kind.

    Parameters
    ----------
    persons, kinds : sequence of str
        Person and kind (tumour type, or "") of every slice.
    """
    everybody = np.arange(len(persons))
    rest, test = _take_persons(everybody, persons, kinds, share, seed)
    train, val = _take_persons(rest, persons, kinds, share / (1 - share), seed + 1)
    return _hold_out_seen(_parts(train, val, test, "person"), persons, seed)


def by_cases(words: Sequence[str], persons: Sequence[str], kinds: Sequence[str], seed: int = 42) -> DataSplit:
    """Split by the column "split" of the cases file.

    Slices marked "val" are the test part, unless some are marked "test"; a missing part is taken from the training
    persons.
    """
    part = np.array([word.strip().lower() for word in words])
    odd = sorted(set(part) - {"train", "val", "valid", "validation", "test"})
    if odd or not (part == "train").any() or (part == "train").all():
        found = odd[0] if odd else part[0]
        raise TrainingError(f"the cases file's split column says {found!r}: write train, val or test, with two of them")
    train, others = np.flatnonzero(part == "train"), np.flatnonzero(part != "train")
    _check_disjoint(train, others, persons)
    if (part == "test").any() and (part != "test")[others].any():
        val, test = others[part[others] != "test"], np.flatnonzero(part == "test")
    else:
        test = others
        train, val = _take_persons(train, persons, kinds, SHARE_OF_CASES, seed)
    return _hold_out_seen(_parts(train, val, test, "cases"), persons, seed)


def persons_from_names(names: Sequence[str]) -> list[str] | None:
    """Return each slice's person from names such as "P07_slice012"; None if the names do not follow such a pattern."""
    found = [re.fullmatch(r"(.*\d.*?)[-_. ]+(?:slice|img|z|s)?[-_. ]*\d+", name, re.IGNORECASE) for name in names]
    persons = [match[1] for match in found if match]
    several = len(set(persons)) < len(names)
    enough = len(set(persons)) >= FEWEST_PERSONS
    return persons if len(persons) == len(names) and several and enough else None


def _parts(train: Iterable[int], val: Iterable[int], test: Iterable[int], how: str) -> DataSplit:
    a, b, c = (np.asarray(list(part), np.int64) for part in (train, val, test))
    return DataSplit(a, b, c, np.empty(0, np.int64), how)


def _take_persons(
    slices: Numbers, persons: Sequence[str], kinds: Sequence[str], share: float, seed: int
) -> tuple[Numbers, Numbers]:
    """Take a fraction of the persons of every kind; return the slices left and the slices taken."""
    chance = np.random.RandomState(seed)
    groups = _persons_by_kind(slices, persons, kinds)
    if sum(map(len, groups.values())) < 2:
        raise TrainingError("too few persons for a split by person: give at least 5, or use --split slice")
    taken: set[str] = set()
    for kind in sorted(groups):
        group = sorted(groups[kind])
        taken |= {group[i] for i in chance.permutation(len(group))[: round(share * len(group))]}
    if not taken:
        largest = max(sorted(groups), key=lambda kind: len(groups[kind]))
        taken = {sorted(groups[largest])[chance.randint(len(groups[largest]))]}
    out = np.array([persons[i] in taken for i in slices])
    return slices[~out], slices[out]


def _persons_by_kind(slices: Numbers, persons: Sequence[str], kinds: Sequence[str]) -> dict[str, set[str]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for i in slices:
        counts[persons[i]][kinds[i]] += 1
    groups: dict[str, set[str]] = defaultdict(set)
    for person, count in counts.items():
        groups[max(sorted(count), key=lambda kind: count[kind])].add(person)
    return groups


def _hold_out_seen(parts: DataSplit, persons: Sequence[str], seed: int) -> DataSplit:
    """Hold out a few slices of persons that have at least three more in training."""
    count = Counter(persons[i] for i in parts.train)
    several = [int(i) for i in parts.train if count[persons[i]] >= 4]
    wanted = min(round(SHARE_SEEN * len(parts.train)), 100)
    if len(several) < wanted or wanted < 1:
        return parts
    seen = np.sort(np.random.RandomState(seed).permutation(several)[:wanted])
    return replace(parts, train=np.setdiff1d(parts.train, seen), seen=seen)


def _check_disjoint(train: Numbers, others: Numbers, persons: Sequence[str]) -> None:
    both = sorted({persons[i] for i in train} & {persons[i] for i in others})
    if both:
        raise TrainingError(
            f"the cases file's split has the person {both[0]} on both sides ({len(both)} in all): "
            "correct it, or use --split person"
        )
