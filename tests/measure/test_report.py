"""Reports of masks whose figures are known."""

import itertools

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from skimage.measure import label, regionprops

from napari_unet_tumour import __version__
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.measure import Brightness, measure
from napari_unet_tumour.scans.scan import Scan

EVERY = settings(max_examples=25, deadline=None)


def filled(shape, spacing, inside):
    """A mask of the voxels whose centre (mm) is inside."""
    z, y, x = (np.arange(n) * s for n, s in zip(shape, spacing, strict=True))
    return inside(z[:, None, None], y[:, None], x).astype(np.uint8)


def ball(shape, spacing, centre, radius):
    cz, cy, cx = centre
    return filled(shape, spacing, lambda z, y, x: (z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= radius**2)


@EVERY
@given(
    st.tuples(st.floats(0.8, 3), st.floats(0.4, 1.2), st.floats(0.4, 1.2)),
    st.floats(7, 14),
    st.tuples(st.floats(18, 22), st.floats(18, 22), st.floats(18, 22)),
)
def test_balls_are_within_a_voxel_of_the_exact_figures(spacing, radius, centre):
    mask = ball([int(40 / s) for s in spacing], spacing, centre, radius)
    lesion = measure(mask, spacing=spacing, slice_axis=0).lesions[0]
    assert lesion.volume == pytest.approx(mask.sum() * np.prod(spacing) / 1000)
    assert (lesion.volume * 1000 * 3 / 4 / np.pi) ** (1 / 3) == pytest.approx(radius, abs=max(spacing) / 2)
    off = np.abs(np.arange(len(mask)) * spacing[0] - centre[0]).min()
    widest = 2 * np.sqrt(radius**2 - off**2)
    pixel = max(spacing[1:])
    assert lesion.longest == pytest.approx(widest, abs=np.hypot(*spacing[1:]))
    assert lesion.perpendicular == pytest.approx(widest, abs=np.hypot(*spacing[1:]))
    assert np.sqrt(4 * lesion.area / np.pi) == pytest.approx(widest, abs=pixel)
    assert lesion.position == pytest.approx(centre, abs=max(spacing) / 2)
    assert lesion.slices == mask.any(axis=(1, 2)).sum()


@EVERY
@given(st.lists(st.floats(6, 15), min_size=3, max_size=3), st.floats(0, np.pi), st.floats(0, np.pi), st.floats(0.5, 1))
def test_tilted_ellipsoids_are_within_a_voxel_of_the_exact_figures(axes, tilt, turn, dx):
    spacing = (1.2, 1.0, dx)
    one = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    two = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    form = two @ one @ np.diag(np.array(axes) ** -2.0) @ one.T @ two.T
    places = np.stack(np.meshgrid(*(np.arange(int(36 / s)) * s for s in spacing), indexing="ij"), -1) - 18
    mask = np.einsum("...i,ij,...j", places, form, places) <= 1
    lesion = measure(mask, spacing=spacing, slice_axis=0).lesions[0]
    assert (lesion.volume * 1000 * 3 / 4 / np.pi) ** (1 / 3) == pytest.approx(np.prod(axes) ** (1 / 3), abs=0.5)
    minor, major = sorted(2 * np.linalg.eigvalsh(form[1:, 1:]) ** -0.5)
    assert lesion.longest == pytest.approx(major, abs=np.hypot(1, dx))
    assert lesion.perpendicular == pytest.approx(minor, abs=np.hypot(1, dx))


@EVERY
@given(st.tuples(*[st.floats(10, 22)] * 3), st.tuples(*[st.floats(0, 360)] * 3), st.floats(0.8, 3), st.floats(0.5, 1.2))
def test_boxes_tilted_in_space_are_within_a_voxel_of_the_exact_figures(sides, degrees, dz, dx):
    spacing = (dz, 1.0, dx)
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    axes = [np.arange(int(42 / s)) * s - 21 for s in spacing]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    lesion = measure((abs(places @ turn) <= np.array(sides) / 2).all(-1), spacing=spacing, slice_axis=0).lesions[0]
    assert (lesion.volume * 1000) ** (1 / 3) == pytest.approx(np.prod(sides) ** (1 / 3), abs=max(spacing))
    longest = max(widest_cut(turn, sides, z) for z in axes[0])
    assert lesion.longest == pytest.approx(longest, abs=np.hypot(1, dx))


def widest_cut(turn, sides, z):
    """The longest diameter of the polygon in which a plane of constant z cuts a turned box."""
    walls = [(sign * turn[1:, i], sides[i] / 2 - sign * turn[0, i] * z) for i in range(3) for sign in (1, -1)]
    found = [np.zeros(2)]
    for (one, a), (other, b) in itertools.combinations(walls, 2):
        if abs(np.linalg.det([one, other])) > 1e-9:
            point = np.linalg.solve([one, other], [a, b])
            if all(normal @ point <= reach + 1e-9 for normal, reach in walls):
                found.append(point)
    return max(np.hypot(*(p - q)) for p in found[1:] for q in found[1:]) if len(found) > 1 else 0.0


def test_an_upright_box_is_exact():
    mask = np.zeros((12, 40, 40), np.uint8)
    mask[3:7, 10:30, 5:20] = 2
    report = measure(mask, spacing=(4.0, 0.5, 0.8), labels=("background", "oedema", "core"), mask_name="box")
    lesion = report.lesions[0]
    assert (lesion.label, lesion.name, lesion.number, lesion.frame) == (2, "core", 1, ())
    assert lesion.volume == pytest.approx(4 * 20 * 15 * 4 * 0.5 * 0.8 / 1000)
    assert lesion.area == pytest.approx(20 * 15 * 0.5 * 0.8)
    assert (lesion.slices, lesion.area_slice, lesion.diameter_slice) == (4, 3, 3)
    assert lesion.longest == pytest.approx(np.hypot(20 * 0.5, 15 * 0.8))
    assert lesion.centroid == pytest.approx((4.5, 19.5, 12))
    assert lesion.position == pytest.approx((18, 9.75, 9.6))
    assert (report.units, report.volume_units, report.slice_axis, report.axes) == ("mm", "ml", "z", "zyx")
    assert (report.mask, report.version, report.spacing) == ("box", __version__, (4.0, 0.5, 0.8))
    empty, core = report.totals
    assert (empty.name, empty.lesions, empty.volume, empty.brightness) == ("oedema", 0, 0, Brightness())
    assert (core.name, core.lesions, core.volume, core.product_sum) == ("core", 1, lesion.volume, lesion.product)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float64])
def test_an_empty_mask_has_no_lesions(dtype):
    report = measure(np.zeros((3, 4, 5), dtype), np.zeros((3, 4, 5)), labels=("background", "tumour"))
    assert report.lesions == ()
    assert [(t.name, t.lesions, t.voxels, t.volume) for t in report.totals] == [("tumour", 0, 0, 0.0)]
    assert measure(np.zeros((4, 5), dtype)).totals == ()


def test_without_a_known_spacing_sizes_count_pixels():
    mask = np.zeros((6, 30, 30), np.uint8)
    mask[1:3, 5:25, 10] = 1
    scan = Scan(np.zeros(mask.shape), "zyx", np.diag([5.0, 2.0, 2.0, 1.0]), "pixel")
    for report in (measure(mask), measure(mask, scan), measure(mask, spacing=(5, 2, 2), units="pixel")):
        lesion = report.lesions[0]
        assert (report.units, report.volume_units, lesion.volume, lesion.area) == ("pixels", "pixels", 40, 20)
        assert (lesion.longest, lesion.measurable) == (pytest.approx(np.hypot(20, 1)), None)
        assert "pixels" in report.notes[0]
    assert measure(mask, scan).lesions[0].position == pytest.approx((7.5, 29, 20))


def test_a_2d_mask_has_areas_in_mm2_and_no_guessed_thickness():
    mask = np.zeros((30, 30), bool)
    mask[5:25, 10:15] = True
    report = measure(mask, spacing=(0.5, 2.0))
    lesion = report.lesions[0]
    assert (report.units, report.volume_units, report.slice_axis) == ("mm", "pixels", "")
    assert (lesion.area, lesion.volume, lesion.slices) == (pytest.approx(100), 100, 1)
    assert lesion.centroid == pytest.approx((14.5, 12))
    assert len(lesion.longest_line[0]) == 2
    assert "thickness" in report.notes[0]


def test_touching_lesions_are_one_by_corner_and_two_by_label():
    mask = np.zeros((4, 6, 6), np.uint8)
    mask[0, 0:2, 0:2] = mask[1, 2, 2] = 1  # joined by a corner in 3D
    mask[3, 5, 5] = 1
    mask[0, 0:2, 2:4] = 2  # shares a face with label 1
    report = measure(mask)
    assert [(one.number, one.label, one.voxels) for one in report.lesions] == [(1, 1, 5), (2, 1, 1), (3, 2, 4)]
    assert [(t.label, t.lesions, t.voxels) for t in report.totals] == [(1, 2, 6), (2, 1, 4)]
    assert [t.name for t in report.totals] == ["label 1", "label 2"]


@pytest.mark.parametrize(
    ("spacing", "chosen", "letter"),
    [((5, 1, 1), None, "z"), ((1, 1, 5), None, "x"), ((1, 1, 1), None, "z"), ((5, 1, 1), 1, "y"), ((5, 1, 1), -1, "x")],
)
def test_slices_lie_across_the_axis_with_the_largest_spacing(spacing, chosen, letter):
    mask = np.zeros((8, 20, 30), bool)
    mask[1:5, 2:12, 3:23] = True
    report = measure(mask, spacing=spacing, slice_axis=chosen)
    sides = dict(zip("zyx", (4, 10, 20), strict=True))
    lesion = report.lesions[0]
    assert (report.slice_axis, lesion.slices) == (letter, sides[letter])
    areas = {a: n * s for a, n, s in zip("zyx", (4, 10, 20), spacing, strict=True) if a != letter}
    assert lesion.area == pytest.approx(np.prod(list(areas.values())))
    for line in (lesion.longest_line, lesion.perpendicular_line):
        assert {end["zyx".index(letter)] for end in line} == {lesion.diameter_slice}
        assert np.linalg.norm(np.subtract(*line) * spacing) == pytest.approx(
            lesion.longest if line == lesion.longest_line else lesion.perpendicular
        )


def test_a_turned_and_sheared_grid_changes_no_size():
    mask = ball((20, 40, 40), (2, 1, 1), (20, 20, 20), 12)
    straight = measure(mask, affine=np.diag([2.0, 1, 1, 1])).lesions[0]
    angle = 0.4
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = 5, -7, 9
    turned = measure(mask, affine=turn @ np.diag([2.0, 1, 1, 1])).lesions[0]
    assert (turned.volume, turned.longest, turned.product) == pytest.approx(
        (straight.volume, straight.longest, straight.product)
    )
    assert turned.position == pytest.approx((turn @ [*straight.position, 1])[:3])
    gantry = np.diag([2.0, 1, 1, 1])
    gantry[1, 0] = 0.5  # every slice shifted along y: the slice itself and the volume stay
    tilted = measure(mask, affine=gantry, slice_axis=0).lesions[0]
    assert (tilted.volume, tilted.longest) == pytest.approx((straight.volume, straight.longest))


@pytest.mark.parametrize("lazy", [False, True])
def test_brightness_is_that_of_the_scan_under_the_lesion(lazy):
    rng = np.random.default_rng(0)
    mask = (rng.random((7, 20, 20)) > 0.8).astype(np.uint8) * rng.integers(1, 4, (7, 20, 20), np.uint8)
    image = rng.normal(100, 20, mask.shape).astype(np.float32)
    report = measure(mask, da.from_array(image, (3, 10, 20)) if lazy else image)
    found = np.zeros(mask.shape, int)
    for value in (1, 2, 3):
        found[mask == value] = label(mask == value, connectivity=3)[mask == value] + 1000 * value
    theirs = sorted((r.intensity_mean, r.area, *r.centroid) for r in regionprops(found, image))
    ours = sorted((o.brightness.mean, o.voxels, *o.centroid) for o in report.lesions)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    for total in report.totals:
        inside = image[mask == total.label].astype(float)
        b = total.brightness
        assert (b.mean, b.p5, b.p50, b.p95) == pytest.approx((inside.mean(), *np.percentile(inside, (5, 50, 95))))


def test_pixels_that_are_no_number_do_not_count():
    mask = np.ones((1, 2, 4), np.uint8)
    image = np.array([[[1, 2, 3, np.nan], [np.inf, -np.inf, np.nan, 6]]])
    assert measure(mask, image).lesions[0].brightness.mean == 3
    assert measure(mask, np.full(mask.shape, np.nan)).lesions[0].brightness == Brightness()
    assert measure(mask).lesions[0].brightness == Brightness()


def test_colours_are_averaged_and_alpha_is_left_out():
    mask = np.zeros((4, 5), np.uint8)
    mask[1:3, 1:3] = 1
    image = np.zeros((4, 5, 4), np.uint8)
    image[..., 0], image[..., 1], image[..., 2], image[..., 3] = 10, 20, 60, 255
    for scan in (image, Scan(image, "yxc"), Scan(np.moveaxis(image, -1, 0), "cyx")):
        assert measure(mask, scan).lesions[0].brightness.mean == 30


def test_every_time_point_is_measured_alone():
    mask = np.zeros((3, 4, 10, 10), np.uint8)
    mask[0, 1, 2:5, 2:5] = mask[2, 1, 2:8, 2:5] = 1
    scan = Scan(np.arange(mask.size).reshape(mask.shape), "tzyx", np.diag([3.0, 1, 1, 1]), "mm", "film")
    report = measure(mask, scan, labels={1: "tumour"})
    assert [(one.frame, one.voxels, one.number) for one in report.lesions] == [((0,), 9, 1), ((2,), 18, 2)]
    assert [(t.frame, t.lesions) for t in report.totals] == [((0,), 1), ((1,), 0), ((2,), 1)]
    assert report.lesions[1].longest_line[0][:2] == (2, 1)
    assert report.lesions[1].centroid == pytest.approx((2, 1, 4.5, 3))
    assert report.lesions[1].position == pytest.approx((3, 4.5, 3))
    assert (report.axes, report.scan) == ("tzyx", "film")


@pytest.mark.parametrize(("length", "measurable"), [(9, False), (10, True), (11, True)])
def test_measurable_from_ten_millimetres_on(length, measurable):
    mask = np.zeros((3, 30, 30), bool)
    mask[1, 3 : 3 + length, 4] = True
    assert measure(mask, spacing=(1, 1, 1)).lesions[0].measurable is measurable
    assert measure(mask, spacing=(1, 0.1, 0.1)).lesions[0].measurable is False


def test_thick_slices_are_noted():
    assert "RECIST" in measure(np.ones((2, 3, 3), bool), spacing=(6, 1, 1)).notes[0]
    assert measure(np.ones((2, 3, 3), bool), spacing=(5, 1, 1)).notes == ()


@pytest.mark.parametrize(
    ("mask", "scan", "options", "words"),
    [
        (np.zeros((3, 4, 5), int), np.zeros((3, 4, 6)), {}, "3 x 4 x 5 pixels and the scan 3 x 4 x 6"),
        (np.zeros((4, 5), int), Scan(np.zeros((3, 4, 5)), "zyx"), {}, "2 axes"),
        (np.zeros(5, int), None, {}, "two or three"),
        (np.zeros((0, 5), int), None, {}, "without pixels"),
        (np.zeros((3, 4, 5), int), None, {"spacing": (1, 1)}, "one per axis"),
        (np.zeros((3, 4, 5), int), None, {"spacing": (1, 0, 1)}, "spacing"),
        (np.zeros((3, 4, 5), int), None, {"spacing": (1, np.nan, 1)}, "spacing"),
        (np.zeros((3, 4, 5), int), None, {"units": "inch"}, "mm or pixel"),
        (np.zeros((2, 3, 4, 5), int), None, {"slice_axis": 0}, "axis 0"),
        (np.full((3, 4, 5), 0.5), None, {"mask_name": "T1.nii"}, "T1.nii holds the value 0.5"),
    ],
)
def test_what_does_not_fit_is_an_error_in_one_line(mask, scan, options, words):
    with pytest.raises(ScanError, match=words) as caught:
        measure(mask, scan, **options)
    assert "\n" not in str(caught.value)


def test_many_specks_and_a_full_mask():
    rng = np.random.default_rng(1)
    mask = rng.random((10, 60, 60)) > 0.95
    assert len(measure(mask).lesions) == label(mask, connectivity=3).max()
    full = measure(np.ones((3, 50, 50), np.uint8), spacing=(1, 1, 1)).lesions[0]
    assert (full.voxels, full.area) == (7500, pytest.approx(2500))


def test_a_scan_of_whole_numbers_is_refused_quickly():
    scan = np.random.default_rng(2).integers(0, 900, (10, 100, 100))
    with pytest.raises(ScanError, match="choose a mask, not a scan"):
        measure(scan)
