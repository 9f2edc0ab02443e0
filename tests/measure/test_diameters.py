"""Diameters against brute force, scikit-image and shapes whose diameters are known."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import regionprops

from napari_unet_tumour.measure import measure
from napari_unet_tumour.measure.diameters import plane_metric

EVERY = settings(max_examples=60, deadline=None)
spacings = st.floats(0.3, 4.0)
pictures = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 1))


def squares(picture):
    """The four corners of every pixel, in turn."""
    steps = np.array([(-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5)])
    return [centre + steps for centre in np.argwhere(picture)]


def sides_of(picture):
    """Normals and reaches of the grown hull's sides: of all lines through two centres with none beyond, and upright."""
    centres = np.argwhere(picture)
    found = {((1, 0)), ((-1, 0)), ((0, 1)), ((0, -1))}
    for one, other in itertools.permutations(centres, 2):
        row, column = other - one
        normal = (int(column), -int(row))
        if (centres @ normal).max() <= one @ normal:
            found.add((normal[0] // math.gcd(*normal), normal[1] // math.gcd(*normal)))
    return [(np.array(n), (centres @ n).max() + 0.5) for n in found]


def corners_of(sides):
    """The corners of the area that lies within all sides: every crossing of two sides that no other side cuts off."""
    found = []
    for (one, a), (other, b) in itertools.combinations(sides, 2):
        if one[0] * other[1] != one[1] * other[0]:
            point = np.linalg.solve([one, other], [a, b])
            if all(normal @ point <= reach + 1e-9 for normal, reach in sides):
                found.append(point)
    middle = np.mean(found, axis=0)
    return np.array(sorted(found, key=lambda p: np.arctan2(*(p - middle))))


def pairs_with_the_longest(points):
    found = [(np.hypot(*(p - q)), p, q) for p, q in itertools.combinations(points, 2)]
    longest = max(length for length, _, _ in found)
    return longest, [(p, q) for length, p, q in found if length > longest * (1 - 1e-9)]


def span(part, t):
    """The lowest and highest place of a convex part (n, 2) as (position, place) at a position, else nothing."""
    inside = []
    for (t0, s0), (t1, s1) in itertools.combinations(part, 2):
        if min(t0, t1) - 1e-9 <= t <= max(t0, t1) + 1e-9:
            inside += [s0, s1] if abs(t1 - t0) < 1e-9 else [s0 + (s1 - s0) * (t - t0) / (t1 - t0)]
    return (min(inside), max(inside)) if inside else None


def longest_across(parts, hull, along):
    """The longest span of the parts within the hull at a right angle to `along`, looked for wherever it may change."""
    turn = np.array([along, (-along[1], along[0])]).T
    parts, hull = [part @ turn for part in parts], hull @ turn
    places = {float(t) for part in [*parts, hull] for t in part[:, 0]} | set(crossings([*parts, hull]))
    places |= set(np.linspace(hull[:, 0].min(), hull[:, 0].max(), 60).tolist())
    best = 0.0
    for t in places:
        spans, limits = [s for part in parts if (s := span(part, t))], span(hull, t)
        if spans and limits:
            best = max(best, min(max(s[1] for s in spans), limits[1]) - max(min(s[0] for s in spans), limits[0]))
    return best


def crossings(parts):
    """The positions at which the last part's sides cross those of the others."""
    *others, hull = parts
    for one, two in zip(hull, np.roll(hull, -1, axis=0), strict=True):
        for part in others:
            for three, four in zip(part, np.roll(part, -1, axis=0), strict=True):
                matrix = np.stack([two - one, three - four], axis=1)
                if abs(np.linalg.det(matrix)) > 1e-9:
                    yield float(one[0] + np.linalg.solve(matrix, three - one)[0] * (two - one)[0])


@EVERY
@given(pictures, spacings, spacings)
def test_both_diameters_equal_brute_force(picture, dy, dx):
    for lesion in measure(picture, spacing=(dy, dx)).lesions:
        mine = np.zeros_like(picture)
        mine[tuple(piece_at(picture, lesion).T)] = 1
        hull = corners_of(sides_of(mine)) * (dy, dx)
        longest, pairs = pairs_with_the_longest(hull)
        assert lesion.longest == pytest.approx(longest)
        parts = [part * (dy, dx) for part in squares(mine)]
        across = [longest_across(parts, hull, (q - p) / np.hypot(*(q - p))) for p, q in pairs]
        assert lesion.perpendicular == pytest.approx(max(across), rel=1e-6)


def piece_at(picture, lesion):
    """The pixels of a lesion, grown from the pixel that its longest diameter starts on (not our own labelling)."""
    start = min(np.argwhere(picture), key=lambda p: np.abs(p - lesion.longest_line[0]).sum())
    seen, edge = {tuple(start)}, [tuple(start)]
    while edge:
        r, c = edge.pop()
        for step in itertools.product((-1, 0, 1), repeat=2):
            near = (r + step[0], c + step[1])
            if all(0 <= i < n for i, n in zip(near, picture.shape, strict=True)) and picture[near] and near not in seen:
                seen.add(near)
                edge.append(near)
    return np.array(sorted(seen))


@EVERY
@given(pictures, spacings, spacings)
def test_the_drawn_lines_have_the_lengths_and_the_right_angle(picture, dy, dx):
    for lesion in measure(picture, spacing=(dy, dx)).lesions:
        one, other = (np.subtract(*line) * (dy, dx) for line in (lesion.longest_line, lesion.perpendicular_line))
        assert np.hypot(*one) == pytest.approx(lesion.longest)
        assert np.hypot(*other) == pytest.approx(lesion.perpendicular)
        assert abs(one @ other) < 1e-6 * lesion.product
        assert lesion.product == pytest.approx(lesion.longest * lesion.perpendicular)
        assert lesion.perpendicular <= lesion.longest * (1 + 1e-9)


@EVERY
@given(pictures, spacings, spacings)
def test_flips_and_transposing_change_no_figure(picture, dy, dx):
    def figures(mask, spacing):
        found = measure(mask, spacing=spacing).lesions
        return sorted((one.voxels, round(one.longest, 6), round(one.perpendicular, 6)) for one in found)

    here = figures(picture, (dy, dx))
    assert figures(picture[::-1], (dy, dx)) == here
    assert figures(picture[:, ::-1], (dy, dx)) == here
    assert figures(picture.T, (dx, dy)) == here


@EVERY
@given(st.floats(3, 25), st.floats(3, 25), st.floats(0, np.pi), st.floats(0.5, 1.5))
def test_agrees_with_scikit_image(a, b, angle, dx):
    mask = filled_ellipse(a, b, angle, (1.0, dx), (30.2, 30.4))
    lesion = measure(mask, spacing=(1.0, dx)).lesions[0]
    theirs = regionprops(mask, spacing=(1.0, dx))[0].feret_diameter_max
    # Theirs fills the convex hull with pixels first, and measures to the middles of their edges.
    assert lesion.longest == pytest.approx(theirs, abs=1.5 * max(1.0, dx))


def filled_ellipse(a, b, angle, spacing, centre):
    """Half axes, angle and centre in mm; a pixel is in when its centre is."""
    shape = [int(np.ceil(60.8 / s)) for s in spacing]
    y, x = (np.arange(n) * s - c for n, s, c in zip(shape, spacing, centre, strict=True))
    along = y[:, None] * np.cos(angle) + x * np.sin(angle)
    across = -y[:, None] * np.sin(angle) + x * np.cos(angle)
    return ((along / a) ** 2 + (across / b) ** 2 <= 1).astype(np.uint8)


fractions = st.floats(0, 1)


@EVERY
@given(st.floats(8, 25), st.floats(0.4, 1), st.floats(0, np.pi), spacings.map(lambda s: s / 2), fractions, fractions)
def test_ellipses_are_within_a_pixel_of_the_exact_diameters(a, ratio, angle, dx, oy, ox):
    spacing = (1.0, dx)
    mask = filled_ellipse(a, a * ratio, angle, spacing, (29.5 + oy, 29.5 + ox))
    lesion = measure(mask, spacing=spacing).lesions[0]
    assert lesion.longest == pytest.approx(2 * a, abs=np.hypot(*spacing))
    assert lesion.perpendicular == pytest.approx(2 * a * ratio, abs=np.hypot(*spacing))


def filled_box(long, short, degrees, spacing, centre):
    """Sides and centre in mm; a pixel is in when its centre is."""
    angle, reach = np.radians(degrees), 1.5 * long
    y, x = (np.arange(-int(reach / s), int(reach / s)) * s - c for s, c in zip(spacing, centre, strict=True))
    along = y[:, None] * np.cos(angle) + x * np.sin(angle)
    across = -y[:, None] * np.sin(angle) + x * np.cos(angle)
    return (abs(along) <= long / 2) & (abs(across) <= short / 2)


BOXES = (st.floats(15, 40), st.floats(0.3, 1), st.floats(0, 180), st.floats(0.4, 1.6), fractions, fractions)


@EVERY
@given(*BOXES)
def test_boxes_are_within_a_pixel_of_the_exact_longest_diameter(a, ratio, degrees, dx, oy, ox):
    lesion = measure(filled_box(a, a * ratio, degrees, (1.0, dx), (oy, ox)), spacing=(1.0, dx)).lesions[0]
    assert lesion.longest == pytest.approx(a * np.hypot(1, ratio), abs=np.hypot(1.0, dx))


@EVERY
@given(*BOXES)
def test_tilted_boxes_are_within_a_pixel_of_the_exact_perpendicular_one(a, ratio, degrees, dx, oy, ox):
    # Nearly square, or with sides that hardly cross a row of pixels, many boxes have the same mask.
    assume(ratio <= 0.85 and a * ratio * abs(np.sin(2 * np.radians(degrees))) >= 4 * max(1.0, dx))
    lesion = measure(filled_box(a, a * ratio, degrees, (1.0, dx), (oy, ox)), spacing=(1.0, dx)).lesions[0]
    assert lesion.perpendicular == pytest.approx(across_box(a, a * ratio), abs=np.hypot(1.0, dx))


@EVERY
@given(*BOXES)
def test_no_box_is_further_off_than_its_sides_can_be_known(a, ratio, degrees, dx, oy, ox):
    lesion = measure(filled_box(a, a * ratio, degrees, (1.0, dx), (oy, ox)), spacing=(1.0, dx)).lesions[0]
    # The line across a diagonal runs slanting, so a pixel in a side counts more than once: bound the sides.
    pixel = np.hypot(1.0, dx)
    low, high = across_box(a + pixel, a * ratio - pixel), across_box(a - pixel, a * ratio + pixel)
    assert low <= lesion.perpendicular <= max(high, a * np.hypot(1, ratio) + pixel if ratio > 0.8 else high)


@pytest.mark.parametrize(("rows", "columns", "dx"), [(20, 10, 1.0), (7, 30, 0.4), (12, 12, 2.5), (1, 9, 1.0)])
def test_a_box_of_whole_pixels_is_exact(rows, columns, dx):
    mask = np.zeros((rows + 4, columns + 5), bool)
    mask[2 : 2 + rows, 3 : 3 + columns] = True
    lesion = measure(mask, spacing=(1.0, dx)).lesions[0]
    long, short = sorted((rows, columns * dx), reverse=True)
    assert lesion.longest == pytest.approx(np.hypot(long, short))
    assert lesion.perpendicular == pytest.approx(across_box(long, short))


def across_box(long, short):
    """The exact longest line at a right angle to the diagonal of a box."""
    return short * np.hypot(long, short) / long


def test_a_perpendicular_may_cross_a_hole_and_ends_on_the_outline():
    y, x = np.ogrid[-15:16, -20:21]
    ring = ((y / 12) ** 2 + (x / 18) ** 2 <= 1) & ((y / 9) ** 2 + (x / 15) ** 2 > 1)
    lesion = measure(ring).lesions[0]
    assert lesion.longest == pytest.approx(36, abs=0.5)
    assert lesion.perpendicular == pytest.approx(24, abs=0.5)


def test_pieces_of_one_lesion_in_a_slice_are_measured_together():
    mask = np.zeros((2, 9, 30), bool)
    mask[0, 4, 2:28] = True
    mask[1, 2:7, 2:8] = mask[1, 1:8, 20:28] = True
    lesion = measure(mask).lesions[0]
    assert (lesion.diameter_slice, lesion.slices) == (1, 2)
    assert lesion.longest == pytest.approx(np.hypot(26, 5), abs=1)


def test_an_oblique_plane_keeps_true_lengths():
    mask = np.zeros((9, 9), bool)
    mask[2:7, 4] = True
    sheared = np.array([[2.0, 0.5], [0.0, 1.0], [1.5, 0.0]])
    metric = plane_metric(sheared)
    assert metric.T @ metric == pytest.approx(sheared.T @ sheared)
    assert np.hypot(*(metric @ [5, 0])) == pytest.approx(5 * 2.5)
