"""The tutorial's split to the slice, and splits that keep a person in one part."""

import hashlib

import numpy as np
import pytest

from napari_unet_tumour.engine.training import split
from napari_unet_tumour.errors import TrainingError

# First 16 hex digits of the SHA-256 of scikit-learn 1.7's answer for 3064 names, as int64.
OF_SCIKIT_LEARN = {"train": "58fa1feabbb08c3e", "val": "45caa9caaa1fc2b8", "test": "9040c515501aef77"}


def test_the_tutorials_split_is_scikit_learns():
    parts = split.by_slice(3064, seed=42)
    assert (len(parts.train), len(parts.val), len(parts.test)) == (1840, 612, 612)
    for name, expected in OF_SCIKIT_LEARN.items():
        numbers = getattr(parts, name).astype("<i8")
        assert hashlib.sha256(numbers.tobytes()).hexdigest()[:16] == expected, name


@pytest.mark.parametrize("count", [5, 17, 100, 3064])
@pytest.mark.parametrize("seed", [0, 42])
def test_agrees_with_scikit_learn_where_it_is_installed(count, seed):
    sklearn = pytest.importorskip("sklearn.model_selection")
    names = [f"{i}.png" for i in range(count)]
    held = int(count * 0.2)
    rest, val = sklearn.train_test_split(names, test_size=held, random_state=seed)
    train, test = sklearn.train_test_split(rest, test_size=held, random_state=seed)
    parts = split.by_slice(count, seed)
    for ours, theirs in ((parts.train, train), (parts.val, val), (parts.test, test)):
        assert [names[i] for i in ours] == theirs


def _cohort(persons=40, slices=10):
    who = [f"P{p:02d}" for p in range(persons) for _ in range(slices)]
    kinds = [("glioma", "meningioma", "pituitary")[p % 3] for p in range(persons) for _ in range(slices)]
    return who, kinds


def test_nobody_is_in_two_parts_and_every_slice_is_in_one():
    who, kinds = _cohort()
    parts = split.by_person(who, kinds, seed=1)
    groups = [{who[i] for i in part} for part in (parts.train, parts.val, parts.test)]
    assert len(set.union(*groups)) == sum(map(len, groups))
    together = np.concatenate([parts.train, parts.val, parts.test, parts.seen])
    assert sorted(together) == list(range(len(who)))
    assert 0.15 <= len(parts.test) / len(who) <= 0.25
    assert {kinds[i] for i in parts.test} == {kinds[i] for i in parts.val} == set(kinds)


def test_seen_slices_belong_to_persons_that_are_trained_on():
    who, kinds = _cohort()
    parts = split.by_person(who, kinds, seed=1)
    assert len(parts.seen)
    assert {who[i] for i in parts.seen} <= {who[i] for i in parts.train}
    assert not set(parts.seen) & set(parts.train)


def test_same_seed_same_split_other_seed_other_split():
    who, kinds = _cohort()
    first, again, other = (split.by_person(who, kinds, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)


def test_cases_file_decides_and_validation_comes_from_train_persons():
    who, kinds = _cohort()
    said = ["val" if person < "P08" else "train" for person in who]
    parts = split.by_cases(said, who, kinds)
    assert {said[i] for i in parts.test} == {"val"}
    assert len(parts.test) == said.count("val")
    assert {said[i] for i in parts.val} == {"train"}
    assert not {who[i] for i in parts.val} & {who[i] for i in parts.train}


def test_three_words_are_three_parts():
    who, kinds = _cohort(6)
    said = [("train", "val", "test")[int(person[1:]) // 2] for person in who]
    parts = split.by_cases(said, who, kinds)
    assert {said[i] for i in parts.val} == {"val"}
    assert {said[i] for i in parts.test} == {"test"}


def test_a_person_on_both_sides_is_refused():
    who, kinds = _cohort(6)
    said = ["train"] * len(who)
    said[0] = "val"
    with pytest.raises(TrainingError, match="P00 on both sides"):
        split.by_cases(said, who, kinds)


@pytest.mark.parametrize("word", ["train", "holdout"])
def test_a_split_column_without_two_parts_is_refused(word):
    who, kinds = _cohort(6)
    with pytest.raises(TrainingError, match=word):
        split.by_cases([word] * len(who), who, kinds)


def test_too_few_persons_or_slices():
    with pytest.raises(TrainingError, match="too few persons"):
        split.by_person(["A"] * 10, [""] * 10)
    with pytest.raises(TrainingError, match="too few persons"):
        split.by_person(["A"] * 5 + ["B"] * 5, [""] * 10)
    with pytest.raises(TrainingError, match="too few for"):
        split.by_slice(4)


def test_names_tell_persons_only_where_they_do():
    lgg = [f"TCGA_CS_{4900 + p}_19960909_{s}" for p in range(6) for s in range(3)]
    assert split.persons_from_names(lgg) == [name.rsplit("_", 1)[0] for name in lgg]
    assert split.persons_from_names([f"{i}" for i in range(50)]) is None
    assert split.persons_from_names([f"Tr-gl_{i:04d}" for i in range(50)]) is None
    assert split.persons_from_names([f"P{i}_1" for i in range(50)]) is None
    assert split.persons_from_names(["P1_1", "P1_2", "P2_1", "P2_2"]) is None
