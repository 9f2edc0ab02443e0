"""Lesions of two dates: what became of each, whatever the grids are."""

import csv

import numpy as np
import pytest
from scipy import ndimage

from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.followup import ChangeKind, Placing, follow_up, write_changes
from napari_unet_tumour.followup.overlap import overlap_volumes
from napari_unet_tumour.scans.scan import Scan


def grid(spacing, shape, order=(0, 1, 2), flips=(1, 1, 1), origin=(0, 0, 0), turn=None):
    """Return (shape, world): axis n runs along the world axis order[n]."""
    world = np.zeros((4, 4))
    for n, axis in enumerate(order):
        world[axis, n] = spacing[n] * flips[n]
    world[:, 3] = (*origin, 1)
    return tuple(shape), world if turn is None else turn @ world


def drawn(shape, world, balls, name="mask", label=1):
    """Return a mask in which a voxel is drawn where its centre lies in one of the balls (centre, radius in mm)."""
    at = np.moveaxis(np.indices(shape), 0, -1) @ world[:3, :3].T + world[:3, 3]
    inside = np.zeros(shape, bool)
    for centre, radius in balls:
        inside |= np.linalg.norm(at - centre, axis=-1) <= radius
    return Scan(np.where(inside, label, 0).astype(np.uint8), "zyx", world, "mm", name)


def rotation(axis, degrees):
    from scipy.spatial.transform import Rotation

    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * np.array(axis) / np.linalg.norm(axis)).as_matrix()
    return turn


FINE = grid((1.0, 1.0, 1.0), (60, 60, 60))
OTHERS = {
    "same": FINE,
    "thick": grid((4.0, 0.8, 0.8), (15, 75, 75)),
    "turned axes": grid((0.9, 1.5, 3.0), (67, 40, 20), (2, 0, 1), (-1, 1, 1), (0, 0, 60)),
    "oblique": grid((1.3, 1.1, 2.1), (70, 70, 45), origin=(-15, -10, -20), turn=rotation((1, 2, 0.5), 17)),
    "cut": grid((1.0, 1.0, 1.0), (45, 50, 50), origin=(5, 5, 5)),
}
BEFORE = [((15, 15, 15), 6), ((15, 40, 15), 5), ((40, 15, 15), 7), ((40, 40, 36), 4), ((40, 40, 48), 4)]
# grown; gone; split into two; the last two merged; and a new one
AFTER = [
    ((16, 15, 15), 7), ((40, 15, 10), 3), ((40, 15, 19), 3), ((40, 40, 36), 5), ((40, 40, 42), 4), ((40, 40, 48), 5),
    ((20, 40, 45), 5),
]  # fmt: skip


@pytest.mark.parametrize("first", ["same", "oblique"])
@pytest.mark.parametrize("second", OTHERS)
def test_what_became_of_each_lesion(first, second):
    earlier, later = drawn(*OTHERS[first], BEFORE, "spring"), drawn(*OTHERS[second], AFTER, "autumn", 255)
    found = follow_up(earlier, later, {1: "tumour"})
    kinds = sorted(one.kind.value for one in found.lesions)
    assert kinds == ["changed", "gone", "merged", "new", "split"]
    for one in found.lesions:
        # Places are those of the patient, whatever the grid.
        for place, some in ((one.place_before, BEFORE), (one.place_after, AFTER)):
            if place is not None:
                assert min(np.linalg.norm(np.array(place) - centre) - radius for centre, radius in some) < 1
    changed = next(one for one in found.lesions if one.kind is ChangeKind.CHANGED)
    assert changed.volume_before == pytest.approx(4 / 3 * np.pi * 6**3 / 1000, rel=0.12)
    assert changed.volume_after == pytest.approx(4 / 3 * np.pi * 7**3 / 1000, rel=0.12)
    assert changed.volume_change == pytest.approx(100 * (changed.volume_after / changed.volume_before - 1))
    (split,) = (one for one in found.lesions if one.kind is ChangeKind.SPLIT)
    assert (len(split.before), len(split.after)) == (1, 2)
    assert sorted(n for one in found.lesions for n in one.before) == [1, 2, 3, 4, 5]
    assert sorted(n for one in found.lesions for n in one.after) == [1, 2, 3, 4, 5]
    assert found.comparison.changes[0].lesions_before == 5
    assert found.notes == ()


def test_a_rigid_transform_brings_the_later_mask_to_the_earlier_one():
    turn = rotation((0, 1, 1), 25)
    turn[:3, 3] = (30, -12, 8)
    shape, world = OTHERS["oblique"]
    later = drawn(shape, world, AFTER)
    moved = Scan(later.array, "zyx", turn @ world, "mm", "moved")
    straight = follow_up(drawn(*FINE, BEFORE), later)
    aligned = follow_up(drawn(*FINE, BEFORE), moved, None, Placing.ALIGNED, np.linalg.inv(turn))
    assert [(one.kind, one.before, one.after) for one in aligned.lesions] == [
        (one.kind, one.before, one.after) for one in straight.lesions
    ]
    first = aligned.lesions[0]
    assert (np.linalg.inv(turn) @ [*first.place_after, 1])[:3] == pytest.approx(straight.lesions[0].place_after)
    assert follow_up(drawn(*FINE, BEFORE), moved).lesions != aligned.lesions


@pytest.mark.parametrize("seed", range(6))
def test_overlap_on_one_grid_is_that_of_counting(seed):
    rng = np.random.default_rng(seed)
    maps = [ndimage.label(rng.random((7, 9, 8)) < 0.3, np.ones((3, 3, 3)) if seed % 2 else None)[0] for _ in range(2)]
    world = np.diag([3.0, 1.0, 0.5, 1.0]) @ rotation((1, 0, 2), 30 * seed)
    expected = np.zeros((maps[0].max() + 1, maps[1].max() + 1))
    np.add.at(expected, (maps[0].ravel(), maps[1].ravel()), 1.5)
    expected[0] = expected[:, 0] = 0
    np.testing.assert_allclose(overlap_volumes(maps[0], world, maps[1], world), expected)


@pytest.mark.parametrize("seed", range(8))
def test_overlap_on_random_grids_is_that_of_points_in_space(seed):
    """A million random points: in which voxel of either map does each lie?"""
    rng = np.random.default_rng(seed)
    maps, worlds = [], []
    for _ in range(2):
        turn = rotation(rng.normal(size=3), rng.uniform(0, 180))
        turn[:3, 3] = rng.uniform(-3, 3, 3)
        shape = rng.integers(3, 9, 3)
        middle = np.eye(4)
        middle[:3, 3] = -(shape - 1) / 2
        worlds.append(turn @ np.diag([*rng.uniform(2, 6, 3), 1.0]) @ middle)
        maps.append(rng.integers(0, 3, shape))
    reach = 40.0
    points = rng.uniform(-reach, reach, (1_000_000, 3))
    seen = []
    for one, world in zip(maps, worlds, strict=True):
        at = np.rint((points - world[:3, 3]) @ np.linalg.inv(world[:3, :3]).T).astype(int)
        inside = ((at >= 0) & (at < one.shape)).all(axis=1)
        seen.append(np.where(inside, one[tuple(np.where(inside[:, None], at, 0).T)], 0))
    expected = np.zeros((3, 3))
    np.add.at(expected, tuple(seen), (2 * reach) ** 3 / len(points))
    found = overlap_volumes(maps[0], worlds[0], maps[1], worlds[1])
    np.testing.assert_allclose(found[1:, 1:], expected[1:, 1:], atol=0.2 * expected[1:, 1:].sum() / 4)
    np.testing.assert_allclose(found.T, overlap_volumes(maps[1], worlds[1], maps[0], worlds[0]))


def test_a_thin_thick_voxel_between_the_centres_of_others_is_not_missed():
    one = np.ones((1, 1, 1), int)
    thin = np.array([[9.0, 0, 0, 0], [0, 0.2, 0, 1.4], [0, 0, 0.2, 1.4], [0, 0, 0, 1]])
    other = np.ones((10, 4, 4), int)
    found = overlap_volumes(one, thin, other, np.eye(4))
    assert found[1, 1] == pytest.approx(5 * 0.2 * 0.2)


def test_labels_are_matched_each_with_its_own():
    earlier = drawn(*FINE, BEFORE[:1])
    later = Scan(np.where(earlier.array, 2, 0).astype(np.uint8), "zyx", earlier.affine, "mm", "later")
    later.array[40:45, 40:45, 40:45] = 1
    assert sorted(one.kind.value for one in follow_up(earlier, later).lesions) == ["gone", "new", "new"]
    later.array[:] = np.where(later.array == 2, 2, 0)
    assert [one.kind.value for one in follow_up(earlier, later).lesions] == ["changed"]


def test_a_lesion_that_only_touches_another_one_is_not_that_one():
    earlier, later = np.zeros((2, 10, 40, 40), np.uint8)
    earlier[2:8, 5:20, 5:20] = 1
    later[2:8, 19:35, 19:35] = 1
    world = np.diag([3.0, 1.0, 1.0, 1.0])
    found = follow_up(Scan(earlier, "zyx", world, "mm", "a"), Scan(later, "zyx", world, "mm", "b"))
    assert {one.kind for one in found.lesions} == {ChangeKind.NEW, ChangeKind.GONE}
    assert "share" in found.notes[0]


def test_masks_far_apart_empty_ones_and_those_without_a_place():
    earlier = drawn(*FINE, BEFORE)
    far = drawn(*grid((1.0, 1.0, 1.0), (20, 20, 20), origin=(500, 0, 0)), [((510, 10, 10), 5)])
    found = follow_up(earlier, far)
    assert [one.kind.value for one in found.lesions] == ["new"] + ["gone"] * 5
    empty = drawn(*OTHERS["thick"], [])
    assert follow_up(empty, empty).lesions == ()
    assert {one.kind for one in follow_up(empty, earlier).lesions} == {ChangeKind.NEW}
    assert {one.kind for one in follow_up(earlier, empty).lesions} == {ChangeKind.GONE}
    with pytest.raises(ScanError, match="'nowhere' does not say where it lies"):
        follow_up(earlier, Scan(earlier.array, "zyx", None, "pixel", "nowhere"))
    with pytest.raises(ScanError, match="'flat' is not one volume"):
        follow_up(Scan(earlier.array[0], "yx", np.eye(3), "mm", "flat"), earlier)


def test_the_table_as_csv(tmp_path):
    found = follow_up(drawn(*FINE, BEFORE, "spring"), drawn(*OTHERS["thick"], AFTER, "autumn"))
    path = tmp_path / "changes.csv"
    write_changes(path, found)
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == [one.kind.value for one in found.lesions]
    assert [row["volume_after"] for row in rows] == [
        f"{one.volume_after:.4f}".rstrip("0").rstrip(".") for one in found.lesions
    ]
    assert (rows[0]["earlier"], rows[0]["later"], rows[0]["placing"]) == ("spring", "autumn", "not aligned")
    with pytest.raises(OutputError):
        write_changes(path / "no.csv", found)
