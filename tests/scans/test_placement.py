"""Masks on other grids than their scan's, against SimpleITK and nibabel."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_unet_tumour import scans
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans.placement import knows_place, move_labels, put_on_scan, to_grid
from napari_unet_tumour.scans.scan import Scan

ORIENTATIONS = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
]  # fmt: skip


def affine(spacing=(3.0, 1.0, 1.2), origin=(-10.0, 5.0, 20.0), angle=0.0, tilt=0.0):
    """Index -> place, turned about the first and the last axis."""
    turn, lean = np.eye(4), np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    lean[:2, :2] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    shift = np.eye(4)
    shift[:3, 3] = origin
    return shift @ turn @ lean @ np.diag([*spacing, 1.0])


def labels(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 4, shape, np.uint8)


def as_itk(scan: Scan) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(np.asarray(scan.array))
    image.SetSpacing(scan.spacing[::-1])
    image.SetOrigin(scan.world[2::-1, 3].tolist())
    image.SetDirection((scan.world[:3, :3] / scan.spacing)[::-1, ::-1].ravel().tolist())
    return image


def not_between(mask, scan):
    """Voxels of the scan whose nearest voxel of the mask is no matter of rounding."""
    index = np.argwhere(np.ones(scan.array.shape)) @ np.eye(3, 4) + [0, 0, 0, 1]
    at = (index @ (np.linalg.inv(mask.affine) @ scan.affine).T)[:, :3].reshape(*scan.array.shape, 3)
    return (np.abs(at - np.floor(at) - 0.5) > 1e-3).all(axis=-1)


signed = st.tuples(*[st.tuples(st.floats(0.6, 3.0), st.sampled_from([-1, 1])).map(lambda p: p[0] * p[1])] * 3)
# In hundredths: ITK cannot invert a matrix that holds a denormal number.
grids = st.builds(
    affine,
    signed,
    st.tuples(*[st.floats(-4.0, 4.0)] * 3),
    st.integers(-300, 300).map(lambda n: n / 100),
    st.integers(-60, 60).map(lambda n: n / 100),
)


@settings(max_examples=40, deadline=None)
@given(grids, grids, st.integers(0, 99))
@example(affine((1.0, -1.0, -1.0), (0.0, 0.0, 0.0), 0.0, -0.19), affine((1.0, 1.0, -1.0), (0.0, 0.0, 0.0)), 0)
@example(affine((2.0, 2.0, -1.0), (0.0, 0.0, 0.0)), affine((1.0, -1.0, 1.0), (0.0, 0.0, 0.0), 0.0, -0.26), 12)
def test_simpleitk_finds_the_same_labels_for_any_two_grids(one, other, seed):
    mask = Scan(labels((6, 9, 8), seed), "zyx", one, "mm", "mask")
    scan = Scan(np.zeros((7, 10, 6)), "zyx", other, "mm", "scan")
    theirs = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(as_itk(mask), as_itk(scan), SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0)
    )
    sure = not_between(mask, scan)
    if not theirs[sure].any():
        return  # refused, or a matter of rounding: other tests
    placed = put_on_scan(mask, scan)
    np.testing.assert_array_equal(placed.mask.array[sure], theirs[sure])
    assert "resampled" in placed.note or "moved" in placed.note
    np.testing.assert_array_equal(placed.mask.affine, other)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_all_48_orientations_of_a_file_come_back_exactly(tmp_path, codes):
    there = np.diag([-1.1, -0.9, 3.0, 1.0])
    there[:3, 3] = 20, 24, -10
    tilt = np.eye(4)
    tilt[:3, :3] = [[0.99, 0.0, -0.141], [0.0, 1.0, 0.0], [0.141, 0.0, 0.99]]
    image = nibabel.Nifti1Image(labels((7, 6, 5)), tilt @ there)
    image.header.set_xyzt_units("mm")
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(codes)
    )
    nibabel.save(image, tmp_path / "scan.nii")
    nibabel.save(image.as_reoriented(turn), tmp_path / "mask.nii")
    scan = scans.read(tmp_path / "scan.nii")
    placed = put_on_scan(scans.read_mask(tmp_path / "mask.nii"), scan)
    np.testing.assert_array_equal(placed.mask.array, scan.array)
    assert placed.lost == 0
    assert ("flipped" in placed.note) or placed.note == ""
    np.testing.assert_array_equal(scans.read_mask(tmp_path / "mask.nii", onto=scan).array, scan.array)


def test_a_moved_mask_is_written_onto_the_scans_grid(tmp_path):
    image = nibabel.Nifti1Image(labels((7, 6, 5)), np.diag([-1.1, -0.9, 3.0, 1.0]))
    nibabel.save(image, tmp_path / "scan.nii")
    nibabel.save(nibabel.as_closest_canonical(image), tmp_path / "mask.nii")
    placed = scans.read_mask(tmp_path / "mask.nii", onto=scans.read(tmp_path / "scan.nii"))
    assert placed.extra["notes"] == ("The mask was moved onto the scan's grid (rows and columns flipped).",)
    back = nibabel.load(scans.write_mask(tmp_path / "back.nii", placed.array, placed))
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(back.dataobj), np.asarray(image.dataobj))


@pytest.mark.parametrize("wobble", [0.0, 1e-5, 0.004])
def test_nothing_is_said_where_the_grids_agree(wobble):
    mask = Scan(labels((6, 9, 8)), "zyx", affine(angle=0.3) + wobble * np.eye(4, 4, 1), "mm", "mask")
    placed = put_on_scan(mask, Scan(np.zeros((6, 9, 8)), "zyx", affine(angle=0.3), "mm"))
    assert placed.note == ""
    assert placed.mask.array is mask.array


def cropped(mask, low, high):
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    there = mask.affine.copy()
    there[:3, 3] = (mask.affine @ [*low, 1])[:3]
    return Scan(mask.array[box], "zyx", there, "mm", "crop")


def test_a_mask_cropped_to_its_extent_is_filled_up():
    drawn = np.zeros((6, 9, 8), np.uint8)
    drawn[2:4, 3:7, 1:5] = 2
    whole = Scan(drawn, "zyx", affine(angle=0.2, tilt=0.1), "mm", "whole")
    placed = put_on_scan(cropped(whole, (2, 3, 1), (4, 7, 5)), whole)
    np.testing.assert_array_equal(placed.mask.array, drawn)
    assert placed.note == "The mask was moved onto the scan's grid (filled up with background)."


def test_what_lies_outside_the_scan_is_counted():
    mask = Scan(np.ones((6, 9, 8), np.uint8), "zyx", affine(), "mm", "mask")
    small = cropped(Scan(np.zeros((6, 9, 8)), "zyx", affine(), "mm"), (0, 0, 0), (5, 9, 8))
    placed = put_on_scan(mask, small)
    assert placed.lost == 9 * 8
    assert placed.note.endswith("(cut to the scan). 72 of its 432 voxels lie outside the scan and were left out.")
    turned = Scan(small.array, "zyx", affine(angle=0.02), "mm", "turned")
    placed = put_on_scan(mask, turned)
    assert placed.lost > 0
    assert f"{placed.lost} of its 432 voxels lie outside" in placed.note


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_thin_and_thick_slices_take_the_nearest_and_say_so(factor):
    drawn = np.zeros((5, 12, 12), np.uint8)
    drawn[1:4, 3:8, 3:8] = 1
    fine = Scan(drawn.repeat(5, axis=0), "zyx", affine((1, 1, 1), (0, 0, 0)), "mm", "fine")
    thick = Scan(drawn, "zyx", affine((5, 1, 1), (2, 0, 0)), "mm", "thick")
    mask, scan = (fine, thick) if factor < 1 else (thick, fine)
    placed = put_on_scan(mask, scan)
    np.testing.assert_array_equal(placed.mask.array, scan.array)
    assert "nearest neighbour" in placed.note
    assert "its voxels are" in placed.note


def test_a_lesion_between_the_slices_of_the_scan_is_said_to_be_gone():
    drawn = np.zeros((25, 12, 12), np.uint8)
    drawn[10:15, 2:6, 2:6] = 1
    drawn[4:6, 8:10, 8:10] = 1
    mask = Scan(drawn, "zyx", affine((1, 1, 1), (0, 0, 0)), "mm", "mask")
    placed = put_on_scan(mask, Scan(np.zeros((5, 12, 12)), "zyx", affine((5, 1, 1), (2, 0, 0)), "mm"))
    assert "1 piece of it is smaller than the scan's voxels" in placed.note


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (affine(origin=(500, 0, 0)), "'mask' lies elsewhere than 'scan', they do not overlap"),
        (affine(origin=(-10 + 3 * 4, 5, 20)), "what 'mask' marks lies outside 'scan'"),
    ],
)
def test_a_mask_of_another_place_is_refused(place, words):
    drawn = np.zeros((6, 9, 8), np.uint8)
    drawn[4, 4, 4] = 1
    with pytest.raises(ScanError, match=words) as error:
        put_on_scan(Scan(drawn, "zyx", place, "mm", "mask"), Scan(np.zeros((6, 9, 8)), "zyx", affine(), "mm", "scan"))
    assert "\n" not in str(error.value)


def test_without_a_place_voxels_go_by_index_and_shapes_must_match():
    mask, scan = Scan(labels((6, 9, 8)), "zyx", name="mask"), Scan(np.zeros((6, 9, 8)), "zyx", affine(), "mm", "scan")
    placed = put_on_scan(mask, scan)
    np.testing.assert_array_equal(placed.mask.array, mask.array)
    assert placed.note == "The mask does not say where it lies: the mask was taken voxel by voxel."
    assert put_on_scan(mask, Scan(np.zeros((6, 9, 8)), "zyx")).note == ""
    for lone in (Scan(labels((6, 8, 9)), "zyx", name="mask"), Scan(labels((9, 8)), "yx", name="mask")):
        with pytest.raises(ScanError, match=r"'mask' has .* pixels and 'scan' has 6 x 9 x 8"):
            put_on_scan(lone, scan)


def test_a_single_slice_takes_a_picture():
    picture, scan = labels((9, 8)), Scan(np.zeros((1, 9, 8)), "zyx", affine(), "mm", "scan")
    np.testing.assert_array_equal(put_on_scan(Scan(picture, "yx", name="m"), scan).mask.array, picture[None])


def test_a_tiff_with_spacing_has_no_place(tmp_path):
    mask = labels((6, 9, 8))
    scans.write_mask(tmp_path / "mask.tif", mask, Scan(mask, "zyx", affine((3, 1, 1), (0, 0, 0)), "mm"))
    read = scans.read_mask(tmp_path / "mask.tif")
    assert not knows_place(read)
    placed = put_on_scan(read, Scan(np.zeros((6, 9, 8)), "zyx", affine(angle=1.0), "mm", "scan"))
    np.testing.assert_array_equal(placed.mask.array, mask)


def nifti(path, array, where):
    nibabel.save(nibabel.Nifti1Image(array, where), path)
    return path


def test_a_mask_saved_without_an_affine_keeps_the_files_axis_order(tmp_path):
    """A sagittal scan and `Nifti1Image(mask, np.eye(4))`: the arrays run alike in the files, not once they are read."""
    sagittal = np.array([[0, 0, 1.2, -60], [-1.1, 0, 0, 70], [0, -1.1, 0, 80], [0, 0, 0, 1.0]])
    drawn = labels((8, 8, 8))
    scan = scans.read(nifti(tmp_path / "scan.nii", drawn.astype(np.int16), sagittal))
    mask = scans.read_mask(nifti(tmp_path / "mask.nii", drawn, np.eye(4)))
    np.testing.assert_array_equal(put_on_scan(mask, scan).mask.array, scan.array)


def test_a_scan_of_1_mm_at_the_origin_and_its_canonical_mask(tmp_path):
    """Spacing 1 and origin 0 look like a default; turned the same grid has an origin."""
    image = nibabel.Nifti1Image(labels((7, 6, 5)), np.diag([-1.0, -1.0, 1.0, 1.0]))
    nibabel.save(image, tmp_path / "scan.nii")
    nibabel.save(nibabel.as_closest_canonical(image), tmp_path / "mask.nii")
    one, other = (scans.read_mask(tmp_path / f"{name}.nii") for name in ("scan", "mask"))
    assert one.units != other.units
    np.testing.assert_array_equal(put_on_scan(other, one).mask.array, one.array)
    np.testing.assert_array_equal(put_on_scan(one, other).mask.array, other.array)


@pytest.mark.parametrize("codes", [(0, 0), (1, 1)])
def test_a_scan_without_sform_and_qform_has_no_place_but_its_canonical_mask_is_turned(tmp_path, codes):
    """Programs make up other places for such a scan: nibabel centres it, ITK begins at 0."""
    drawn = labels((7, 6, 5))
    image = nibabel.Nifti1Image(drawn.astype(np.int16), None)
    image.header.set_zooms((1.0, 1.2, 3.0))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "scan.nii")
    scan = scans.read(tmp_path / "scan.nii")
    assert not knows_place(scan)
    np.testing.assert_allclose(sorted(scan.spacing), [1.0, 1.2, 3.0], atol=1e-6)
    itk = nibabel.Nifti1Image(drawn, np.diag([-1.0, -1.2, 3.0, 1.0]))
    itk.set_sform(itk.affine, codes[0])
    itk.set_qform(itk.affine, codes[1])
    nibabel.save(itk, tmp_path / "itk.nii")
    nibabel.save(
        nibabel.as_closest_canonical(nibabel.Nifti1Image(drawn, nibabel.load(tmp_path / "scan.nii").affine)),
        tmp_path / "canonical.nii",
    )
    for name in ("itk", "canonical"):
        mask = scans.read_mask(tmp_path / f"{name}.nii")
        np.testing.assert_array_equal(put_on_scan(mask, scan).mask.array, scan.array)


def test_time_points_keep_their_index_and_their_number():
    film = Scan(labels((3, 6, 9, 8)), "tzyx", affine(), "mm", "film")
    flipped = affine() @ np.array([[1.0, 0, 0, 0], [0, -1, 0, 8], [0, 0, 1, 0], [0, 0, 0, 1]])
    placed = put_on_scan(film, Scan(np.zeros((3, 6, 9, 8, 3)), "tzyxc", flipped, "mm", "scan"))
    np.testing.assert_array_equal(placed.mask.array, film.array[:, :, ::-1])
    assert placed.note == "The mask was moved onto the scan's grid (rows flipped)."
    once = Scan(film.array[:1], "tzyx", affine(), "mm", "once")
    np.testing.assert_array_equal(
        put_on_scan(once, Scan(np.zeros((6, 9, 8)), "zyx", affine(), "mm")).mask.array, film.array[0]
    )
    with pytest.raises(ScanError, match="'film' has 3 x 6 x 9 x 8 pixels and 'scan' has 6 x 9 x 8"):
        put_on_scan(film, Scan(np.zeros((6, 9, 8)), "zyx", affine(), "mm", "scan"))


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int16, np.uint16, np.int32])
def test_any_integer_type_keeps_its_labels(kind):
    mask = Scan(labels((6, 9, 8)).astype(kind), "zyx", affine(angle=0.3), "mm", "mask")
    placed = put_on_scan(mask, Scan(np.zeros((6, 9, 8)), "zyx", affine(), "mm"))
    assert placed.mask.array.dtype == kind
    assert set(np.unique(placed.mask.array)) <= set(np.unique(mask.array))


def test_arrays_of_two_axes_too():
    where = to_grid((4, 5), np.diag([1.0, 1, 1]), (5, 4), np.array([[0, 1.0, 0], [-1, 0, 4], [0, 0, 1]]))
    drawn = labels((4, 5))
    placed = move_labels(drawn, where)
    np.testing.assert_array_equal(placed.array, drawn.T[::-1])
    assert placed.note == "The mask was moved onto the scan's grid (axes reordered, rows flipped)."
