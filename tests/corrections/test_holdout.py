"""Hold-out by scan and person: what is held out once is never trained on, in no scan of that person."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.corrections import Record, ReviewedSlice, Store
from napari_unet_tumour.corrections.holdout import HELD_OUT, TRAIN, assign_role, place_of
from napari_unet_tumour.corrections.matching import exclude_leaks, matching_slices

SHAPE = [24, 256, 256]


def stack(scan, planes=24, start=0.0, step=5.0, person="p"):
    return Record(scan, [planes, 256, 256], planes, person, [start, 0.0, 0.0, step, 0.0, 0.0])


def test_every_third_of_a_scan_is_held_out_from_the_third_on():
    given_: list[str] = []
    for _ in range(9):
        given_.append(assign_role(True, given_))
    assert [n for n, one in enumerate(given_) if one == HELD_OUT] == [2, 5, 8]
    assert assign_role(False, [TRAIN, TRAIN]) == "empty"


def test_the_third_is_counted_over_all_scans_of_a_person_but_the_first_of_a_scan_is_learnt_from():
    assert assign_role(True, [], elsewhere=[TRAIN, TRAIN]) == TRAIN
    assert assign_role(True, [TRAIN], elsewhere=[TRAIN, TRAIN]) == HELD_OUT
    assert assign_role(True, [TRAIN, HELD_OUT], elsewhere=[TRAIN, TRAIN]) == TRAIN


def test_another_sequence_of_a_study_has_the_same_roles():
    t1, t2 = stack("t1"), stack("t2")
    for n in (10, 11, 12):
        t1.tick(n, True)
    t2.tick(12, True, kin=[t1])
    t2.tick(11, True, kin=[t1])
    assert (t1.roles[12], t2.roles) == (HELD_OUT, {12: HELD_OUT, 11: TRAIN})
    empty = stack("t2")
    empty.tick(12, False, kin=[t1])
    assert empty.roles[12] == HELD_OUT, "nothing is learnt from its twin, a true negative neither"


def test_thinner_slices_at_the_place_of_one_that_is_held_out_are_held_out_too():
    t1, fine = stack("t1"), stack("fine", planes=120, step=1.0)
    assert matching_slices(fine, 52, t1) == [10]
    assert matching_slices(t1, 10, fine) == [48, 49, 50, 51, 52]
    assert matching_slices(t1, 10, stack("shifted", start=2.0)) == [10]
    assert matching_slices(t1, 10, stack("between", start=2.5)) == [9, 10]
    assert matching_slices(t1, 10, stack("elsewhere", start=900.0)) == []
    assert matching_slices(t1, 10, stack("upside down", start=115.0, step=-5.0)) == [13]
    sagittal = Record("sagittal", SHAPE, 24, "p", [0.0, 0.0, 0.0, 0.0, 0.0, 5.0])
    assert matching_slices(t1, 10, sagittal) == []


def test_without_places_the_number_counts_where_the_stacks_are_alike():
    one, other = Record("a", SHAPE, 24, "p"), Record("b", SHAPE, 24, "p")
    assert matching_slices(one, 7, other) == [7]
    assert matching_slices(one, 7, replace(other, shape=[30, 256, 256], planes=30)) == []
    flat = Record("c", [256, 256], 1, "p")
    assert matching_slices(flat, 0, replace(flat, scan="d")) == [], "flat images are slices of their own"


def test_strangers_have_no_twins():
    assert matching_slices(stack("a"), 7, stack("b", person="q")) == []
    assert matching_slices(stack("a", person=""), 7, stack("b", person="")) == []
    assert matching_slices(stack("a"), 7, stack("a")) == []


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 23), st.booleans()), max_size=60))
def test_no_order_of_ticks_trains_on_the_place_of_a_slice_that_is_held_out(ticks):
    """Two sequences, thin slices, slices between, a date without a place, of one person; a round after each tick."""
    scans = {
        "a": stack("a"),
        "b": stack("b", start=2.0),
        "c": stack("c", planes=48, step=2.5),
        "d": stack("d", start=2.5),
        "e": Record("e", SHAPE, 24, "p"),
    }
    roles: dict[tuple[str, int], str] = {}
    trained: set[tuple[str, int]] = set()
    image, mask = np.zeros((1, 1, 1)), np.ones((1, 1), np.uint8)
    for name, plane, foreground in ticks:
        scans[name].tick(plane, foreground, kin=[one for one in scans.values() if one.scan != name])
        now = {(s, n): what for s in scans for n, what in scans[s].roles.items()}
        assert all((now[one] == HELD_OUT) == (what == HELD_OUT) for one, what in roles.items()), "a role is for good"
        roles = now
        given_ = [ReviewedSlice(s, n, image, mask, what == HELD_OUT) for (s, n), what in roles.items()]
        trained |= {(one.scan, one.slice) for one in exclude_leaks(given_, scans.values()) if not one.held_out}
    for name, plane in (one for one, what in roles.items() if what == HELD_OUT):
        near = {(other, n) for other in scans for n in matching_slices(scans[name], plane, scans[other])}
        assert not trained & (near | {(name, plane)})


def test_between_one_that_is_held_out_and_one_that_is_learnt_from_it_is_neither():
    t1, between = stack("t1"), stack("between", start=2.5)
    for n in (8, 9, 10):
        t1.tick(n, True)
    between.tick(9, True, kin=[t1])
    assert (matching_slices(between, 9, t1), between.held_out) == ([9, 10], [])
    one = ReviewedSlice("between", 9, np.zeros((1, 1, 1)), np.ones((1, 1), np.uint8))
    assert exclude_leaks([one], [t1, between]) == []


def test_two_dates_of_one_person_after_a_restart(tmp_path):
    before, after = stack("2020"), stack("2021", planes=26, start=-3.0)
    for n in (10, 11, 12):
        before.tick(n, True)
    Store(tmp_path).save(before)
    kin = [one for one in Store(tmp_path).every() if one.person == after.person]
    assert kin[0].roles == before.roles
    assert kin[0].place == before.place
    after.tick(12, True, kin=kin)
    assert matching_slices(after, 12, before) == [11]
    after.tick(13, True, kin=kin)
    assert after.roles == {12: TRAIN, 13: HELD_OUT}


def test_the_last_guard_leaves_out_what_an_older_journal_gave_to_both():
    one, other = stack("a"), stack("b")
    one.roles, other.roles = {4: HELD_OUT, 5: TRAIN}, {4: TRAIN, 5: TRAIN}
    image, mask = np.zeros((1, 4, 4)), np.ones((4, 4), np.uint8)
    given_ = [ReviewedSlice("a", 4, image, mask, True), *(ReviewedSlice("b", n, image, mask) for n in (4, 5))]
    given_.append(ReviewedSlice("nobody's", 4, image, mask))
    assert [(c.scan, c.slice) for c in exclude_leaks(given_, [one, other])] == [("a", 4), ("b", 5), ("nobody's", 4)]


def test_the_place_of_a_stack():
    affine = np.array([[5.0, 0, 0, 30], [0, 0.5, 0, -20], [0, 0, 0.5, 10], [0, 0, 0, 1]])
    layout = layout_of((24, 101, 201))
    assert place_of(affine, "zyx", "mm", layout) == [30, 5, 60, 5, 0, 0]
    assert place_of(affine, "zyx", "pixel", layout) == []
    across = layout_of((24, 101, 201), rows=0, columns=1)
    assert place_of(affine, "zyx", "mm", across) == [87.5, 5, 10, 0, 0, 0.5]
    assert place_of(affine, "tzyx", "mm", layout_of((3, 24, 101, 201))) == []
    assert place_of(np.eye(3), "yx", "mm", layout_of((101, 201))) == []
