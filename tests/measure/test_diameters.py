"""Diameters against brute force, scikit-image and shapes whose diameters are known."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import regionprops

from napari_unet_tumour.measure import measure
from napari_unet_tumour.measure.diameters import plane_metric

EVERY = settings(max_examples=60, deadline=None)
spacings = st.floats(0.3, 4.0)
pictures = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 1))


def middles(picture):
    """The middles of all pixel edges, inner ones too."""
    steps = [(0, 0.5), (0, -0.5), (0.5, 0), (-0.5, 0)]
    return np.array([(r + a, c + b) for r, c in np.argwhere(picture) for a, b in steps])


def pairs_with_the_longest(points):
    found = [(np.hypot(*(p - q)), p, q) for p, q in itertools.combinations(points, 2)]
    longest = max(length for length, _, _ in found)
    return longest, [(p, q) for length, p, q in found if length > longest * (1 - 1e-9)]


def cells(picture):
    """The convex parts of the shape between four pixel centres each: set centres and the middles of cut sides."""
    padded = np.pad(picture, 1)
    for r, c in np.ndindex(padded.shape[0] - 1, padded.shape[1] - 1):
        corners = [(r, c), (r, c + 1), (r + 1, c + 1), (r + 1, c)]
        part = [corner for corner in corners if padded[corner]]
        for one, other in zip(corners, corners[1:] + corners[:1], strict=True):
            if padded[one] != padded[other]:
                part.append(((one[0] + other[0]) / 2, (one[1] + other[1]) / 2))
        if len(part) > 1:
            yield np.array(part) - 1.0


def longest_across(parts, along):
    """The longest span at a right angle to `along`, looked for at every corner of every part."""
    turned = [part @ np.array([along, (-along[1], along[0])]).T for part in parts]
    best = 0.0
    for t in {round(float(t), 12) for part in turned for t in part[:, 0]}:
        inside = []
        for part in turned:
            for (t0, s0), (t1, s1) in itertools.combinations(part, 2):
                if min(t0, t1) - 1e-9 <= t <= max(t0, t1) + 1e-9:
                    inside += [s0, s1] if abs(t1 - t0) < 1e-9 else [s0 + (s1 - s0) * (t - t0) / (t1 - t0)]
        best = max(best, max(inside) - min(inside))
    return best


@EVERY
@given(pictures, spacings, spacings)
def test_both_diameters_equal_brute_force(picture, dy, dx):
    for lesion in measure(picture, spacing=(dy, dx)).lesions:
        mine = np.zeros_like(picture)
        mine[tuple(piece_at(picture, lesion).T)] = 1
        longest, pairs = pairs_with_the_longest(middles(mine) * (dy, dx))
        assert lesion.longest == pytest.approx(longest)
        parts = [part * (dy, dx) for part in cells(mine)]
        across = [longest_across(parts, (q - p) / np.hypot(*(q - p))) for p, q in pairs]
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
    # Theirs fills the convex hull with pixels first, which adds up to half a pixel at both ends.
    assert lesion.longest - 1e-6 <= theirs <= lesion.longest + max(1.0, dx)


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
def test_ellipses_are_within_a_pixel_of_the_exact_longest_diameter(a, ratio, angle, dx, oy, ox):
    spacing = (1.0, dx)
    mask = filled_ellipse(a, a * ratio, angle, spacing, (29.5 + oy, 29.5 + ox))
    lesion = measure(mask, spacing=spacing).lesions[0]
    assert lesion.longest == pytest.approx(2 * a, abs=max(spacing))
    assert lesion.perpendicular == pytest.approx(2 * a * ratio, abs=np.hypot(*spacing))


@EVERY
@given(st.floats(20, 40), st.floats(0.3, 1), st.floats(0, np.pi), st.floats(0.4, 1.6), fractions, fractions)
def test_tilted_boxes_are_as_exact_as_their_pixels_allow(a, ratio, angle, dx, oy, ox):
    y, x = np.arange(62)[:, None] - 30 - oy, np.arange(int(62 / dx)) * dx - 30 - ox
    along, across = y * np.cos(angle) + x * np.sin(angle), -y * np.sin(angle) + x * np.cos(angle)
    mask = (abs(along) <= a / 2) & (abs(across) <= a * ratio / 2)
    lesion = measure(mask, spacing=(1.0, dx)).lesions[0]
    # A side is known to a pixel, and the outline cuts half a pixel off the corners of an upright box.
    pixel, diagonal = 1.5 * np.hypot(1.0, dx), a * np.hypot(1, ratio)
    assert lesion.longest == pytest.approx(diagonal, abs=pixel)
    # The line across a diagonal runs slanting, so a pixel in a side counts more than once: bound the sides.
    low, high = across_box(a + pixel, a * ratio - pixel), across_box(a - pixel, a * ratio + pixel)
    assert low <= lesion.perpendicular <= max(high, diagonal + pixel if a * ratio + pixel > a - pixel else high)


def across_box(long, short):
    """The exact longest line at a right angle to the diagonal of a box."""
    return short * np.hypot(long, short) / long


def test_the_convention_on_small_shapes():
    figures = {
        (1, 1): (1, 1),
        (1, 5): (5, 1),
        (5, 1): (5, 1),
    }
    for shape, (longest, perpendicular) in figures.items():
        lesion = measure(np.ones(shape, bool)).lesions[0]
        assert (lesion.longest, lesion.perpendicular) == pytest.approx((longest, perpendicular))


def test_a_perpendicular_may_cross_a_hole_and_ends_on_the_outline():
    y, x = np.ogrid[-15:16, -20:21]
    ring = ((y / 12) ** 2 + (x / 18) ** 2 <= 1) & ((y / 9) ** 2 + (x / 15) ** 2 > 1)
    lesion = measure(ring).lesions[0]
    assert lesion.longest == pytest.approx(37, abs=0.1)
    assert lesion.perpendicular == pytest.approx(25, abs=0.5)


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
