"""Two masks of one place: the figures against other programs, on whatever grids the masks lie."""

import csv
import itertools
import json

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_unet_tumour import scans
from napari_unet_tumour.engine.metrics import overlap as metrics
from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.measure import compare_masks, difference_names, write_agreement
from napari_unet_tumour.measure.agreement import hd95
from napari_unet_tumour.scans.scan import Scan

SPACING = (5.0, 1.0, 0.5)
CODES = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
]  # fmt: skip


def scan(array, name="a", affine=None, spacing=SPACING, units="mm", axes="zyx"):
    matrix = np.diag([*spacing[-array.ndim :], 1.0]) if affine is None else affine
    return Scan(array, axes[-array.ndim :], matrix, units, name)


def boxes():
    first, second = np.zeros((2, 8, 30, 40), np.uint8)
    first[2:5, 5:15, 10:30] = 1
    second[3:6, 7:17, 10:30] = 1
    return first, second


def test_dice_distance_and_volumes_of_two_boxes():
    first, second = boxes()
    found = compare_masks(scan(first), scan(second, "b"))
    (row,) = found.rows
    assert row.dice == metrics.dice(second, first) == pytest.approx(2 * 2 * 8 * 20 / (2 * 600))
    assert row.hd95 == pytest.approx(metrics.hd95(second, first, SPACING))
    assert (row.volume_first, row.volume_second, row.difference) == (1.5, 1.5, 0)
    assert (found.units, found.volume_units, found.notes) == ("mm", "ml", ())
    assert [np.count_nonzero(found.difference == n) for n in (1, 2, 3, 4)] == [320, 280, 280, 0]


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.tuples(*[st.floats(0.4, 6)] * 3), st.floats(0.05, 0.6))
def test_the_distance_is_that_of_monai(seed, spacing, share):
    rng = np.random.default_rng(seed)
    first, second = rng.random((2, 5, 9, 8)) < share
    expected = metrics.hd95(first, second, spacing)
    got = hd95(first, second, np.diag(spacing))
    assert (got is None and np.isnan(expected)) or got == pytest.approx(expected)


def test_the_distance_on_a_sheared_grid_is_the_true_one():
    """Gantry tilt: the spacing alone would say 5 mm."""
    first, second = np.zeros((2, 3, 9, 9), bool)
    first[0, 4, 4] = second[1, 4, 4] = True
    linear = np.array([[5.0, 0, 0], [3, 1, 0], [0, 0, 1]])
    assert hd95(first, second, linear) == pytest.approx(np.hypot(5, 3))


@pytest.mark.parametrize("codes", CODES)
def test_the_grid_a_mask_came_on_makes_no_difference(tmp_path, codes):
    first, second = (array.transpose(2, 1, 0) for array in boxes())
    affine = np.diag([0.5, 1, 5, 1.0])
    affine[:3, 3] = -10, 20, 5
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(codes))
    image = nibabel.Nifti1Image(second, affine)
    # Cut to its extent, too, as some programs save masks.
    for name, one in (("a", nibabel.Nifti1Image(first, affine)), ("b", image.slicer[10:30, 7:17, 3:6])):
        one.header.set_xyzt_units("mm")
        nibabel.save(one.as_reoriented(turn) if name == "b" else one, tmp_path / f"{name}.nii.gz")
    one, other = (scans.read_mask(tmp_path / f"{name}.nii.gz") for name in "ab")
    expected = compare_masks(scan(boxes()[0]), scan(boxes()[1], "b")).rows[0]
    for pair in ((one, other), (other, one)):
        found = compare_masks(*pair)
        assert found.rows[0].dice == pytest.approx(expected.dice)
        assert found.rows[0].hd95 == pytest.approx(expected.hd95)
        assert (found.rows[0].volume_first, found.rows[0].volume_second) == pytest.approx((1.5, 1.5))
        assert "put onto the grid of" in found.notes[0]


@pytest.mark.parametrize("turned", [False, True])
def test_what_lies_outside_the_other_ones_grid_counts(turned):
    """A mask that was cut to its extent must not hide what the other one marks elsewhere."""
    first, second = boxes()
    second[7, 25:30, 35:40] = 1
    cut = scan(first[2:5, 5:15, 10:30])
    cut.affine[:3, 3] = np.array([2, 5, 10]) * SPACING
    pair = (scan(second, "b"), cut) if turned else (cut, scan(second, "b"))
    found = compare_masks(*pair)
    assert found.rows[0].dice == pytest.approx(metrics.dice(first, second))
    assert found.rows[0].hd95 == pytest.approx(metrics.hd95(first, second, SPACING))
    assert np.count_nonzero(found.difference) == np.count_nonzero(first | second)
    place = found.grid.affine @ [*np.argwhere(found.difference)[-1], 1]
    assert place[:3] == pytest.approx(np.array([7, 29, 39]) * SPACING)


def test_coarse_and_fine_voxels_give_the_same_whichever_comes_first():
    fine = np.zeros((8, 60, 60), np.uint8)
    fine[2:6, 20:40, 20:40] = 1
    coarse = fine[::2, ::2, ::2].copy()
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = 0.5
    one, other = scan(fine, "fine", np.eye(4) * [1, 1, 1, 1]), scan(coarse, "coarse", affine)
    there, back = compare_masks(one, other), compare_masks(other, one)
    assert there.rows[0].dice == back.rows[0].dice > 0.99
    assert there.rows[0].volume_first == back.rows[0].volume_second == 1.6
    assert there.grid.array.shape == back.grid.array.shape == fine.shape
    assert there.notes == back.notes
    assert "nearest neighbour" in there.notes[0]


def test_several_labels_have_a_row_each_and_one_together():
    first, second = boxes()
    first[2:5, 5:15, 10:20] = 2
    second[6, 2:4, 2:4] = 7
    found = compare_masks(scan(first), scan(second, "b"), {1: "core", 2: "edge"})
    assert [(row.label, row.name) for row in found.rows] == [
        (None, "all labels"), (1, "core"), (2, "edge"), (7, "label 7"),
    ]  # fmt: skip
    assert found.rows[2].dice == 0
    assert (found.rows[2].hd95, found.rows[3].hd95, found.rows[3].difference_percent) == (None, None, None)
    assert found.rows[2].difference_percent == -100
    assert np.count_nonzero(found.difference == 4) == np.count_nonzero((first == 2) & (second == 1))


def test_one_label_each_is_compared_whatever_its_value():
    first, second = boxes()
    found = compare_masks(scan(first), scan(second * 255, "b"))
    assert found.rows[0].dice == pytest.approx(metrics.dice(first, second))
    assert "different values" in found.notes[0]


def test_empty_masks():
    first, _ = boxes()
    assert compare_masks(scan(first * 0), scan(first * 0, "b")).rows == ()
    row = compare_masks(scan(first), scan(first * 0, "b")).rows[0]
    assert (row.dice, row.hd95, row.difference_percent) == (0, None, -100)


def test_one_slice_has_its_border_in_the_plane():
    first, second = (array[3].astype(bool) for array in boxes())
    expected = metrics.hd95(first, second, SPACING[1:])
    assert compare_masks(scan(first[None]), scan(second[None], "b")).rows[0].hd95 == pytest.approx(expected)
    flat = compare_masks(scan(first), scan(second, "b"))
    assert flat.rows[0].hd95 == pytest.approx(expected)
    assert (flat.units, flat.volume_units) == ("mm", "pixels")


def test_one_voxel_and_time_points():
    one = np.ones((1, 1, 1), np.uint8)
    assert compare_masks(scan(one), scan(one, "b")).rows[0].hd95 == 0
    first, second = boxes()
    found = compare_masks(
        Scan(np.stack([first, first]), "tzyx", np.diag([*SPACING, 1.0]), "mm", "a"),
        Scan(np.stack([first, second]), "tzyx", np.diag([*SPACING, 1.0]), "mm", "b"),
    )
    assert [(row.frame, row.dice) for row in found.rows] == [((0,), 1.0), ((1,), metrics.dice(first, second))]


def test_another_place_is_refused_and_both_are_named():
    first, second = boxes()
    far = scan(second, "b")
    far.affine[0, 3] = 500
    with pytest.raises(ScanError, match=r"'b' lies elsewhere than 'a'.*choose two masks of one place"):
        compare_masks(scan(first), far)
    with pytest.raises(ScanError, match=r"'b' has 8 x 30 x 20 pixels and 'a' has 8 x 30 x 40.*choose two masks"):
        compare_masks(Scan(first, "zyx", name="a"), Scan(second[..., :20], "zyx", name="b"))


def test_files_hold_the_figures_and_are_whole_or_not_there(tmp_path):
    first, second = boxes()
    second[6, 2:4, 2:4] = 2
    found = compare_masks(scan(first), scan(second, "b"))
    write_agreement(tmp_path / "o.csv", found, ".csv")
    write_agreement(tmp_path / "o.json", found, ".json")
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], row["first"], row["second"]) for row in rows] == [
        ("", "a", "b"),
        ("1", "a", "b"),
        ("2", "a", "b"),
    ]
    assert float(rows[1]["dice"]) == pytest.approx(found.rows[1].dice, abs=1e-4)
    data = json.loads((tmp_path / "o.json").read_text())
    assert data["labels"][1]["hd95"] == found.rows[1].hd95
    assert "not a medical device" in data["disclaimer"]
    assert difference_names(found) == ["background", "both", "only a", "only b", "both, as different labels"]
    with pytest.raises(OutputError, match="cannot be written"):
        write_agreement(tmp_path / "o.csv" / "p.csv", found, ".csv")
