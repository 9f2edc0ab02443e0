"""Which slices are trained on, which choose the best model, and which are only for the score."""

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
    """A split: numbers of slices, no slice in two parts.

    Parameters
    ----------
    train, val, test : numpy.ndarray
        (n,) int64.
    seen : numpy.ndarray
        (n,) int64, slices of persons that are trained on, themselves held out: their score beside
        that of `test` shows what a split by slice hides. Empty unless the split is by person.
    how : str
        "slice", "person" or "cases".
    """

    train: Numbers
    val: Numbers
    test: Numbers
    seen: Numbers
    how: str


def by_slice(count: int, seed: int = 42, share: float = SHARE) -> DataSplit:
    """Split slices at random, whoever they belong to; leaks wherever a person has several slices.

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
    """Split persons, so that nobody is in two parts; of each kind about the same share.

    Parameters
    ----------
    persons, kinds : sequence of str
        Of every slice: whose it is, and its kind (tumour type, or "").
    """
    everybody = np.arange(len(persons))
    rest, test = _take_persons(everybody, persons, kinds, share, seed)
    train, val = _take_persons(rest, persons, kinds, share / (1 - share), seed + 1)
    return _hold_out_seen(_parts(train, val, test, "person"), persons, seed)


def by_cases(words: Sequence[str], persons: Sequence[str], kinds: Sequence[str], seed: int = 42) -> DataSplit:
    """Split as the cases file's column "split" says: "train" is trained on, all else is for the score.

    Slices marked "val" are the test part, unless some are marked "test"; what is not given is taken
    from the train persons.
    """
    said = np.array([word.strip().lower() for word in words])
    odd = sorted(set(said) - {"train", "val", "valid", "validation", "test"})
    if odd or not (said == "train").any() or (said == "train").all():
        found = odd[0] if odd else said[0]
        raise TrainingError(f"the cases file's split column says {found!r}: write train, val or test, with two of them")
    train, others = np.flatnonzero(said == "train"), np.flatnonzero(said != "train")
    _check_apart(train, others, persons)
    if (said == "test").any() and (said != "test")[others].any():
        val, test = others[said[others] != "test"], np.flatnonzero(said == "test")
    else:
        test = others
        train, val = _take_persons(train, persons, kinds, SHARE_OF_CASES, seed)
    return _hold_out_seen(_parts(train, val, test, "cases"), persons, seed)


def persons_from_names(names: Sequence[str]) -> list[str] | None:
    """Return each slice's person where the names tell: "P07_slice012" is P07's; None where they do not."""
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
    """Take a share of the persons of every kind; return the slices left and the slices taken."""
    chance = np.random.RandomState(seed)
    groups = _persons_by_kind(slices, persons, kinds)
    if sum(map(len, groups.values())) < 2:
        raise TrainingError("too few persons for a split by person: give at least 5, or split by slice, which leaks")
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
    """Hold out a few slices of persons that keep others in training."""
    count = Counter(persons[i] for i in parts.train)
    several = [int(i) for i in parts.train if count[persons[i]] >= 4]
    wanted = min(round(SHARE_SEEN * len(parts.train)), 100)
    if len(several) < wanted or wanted < 1:
        return parts
    seen = np.sort(np.random.RandomState(seed).permutation(several)[:wanted])
    return replace(parts, train=np.setdiff1d(parts.train, seen), seen=seen)


def _check_apart(train: Numbers, others: Numbers, persons: Sequence[str]) -> None:
    both = sorted({persons[i] for i in train} & {persons[i] for i in others})
    if both:
        raise TrainingError(
            f"the cases file's split has the person {both[0]} on both sides ({len(both)} in all): "
            "correct it, or use --split person"
        )
