"""The same lesion on other grids: the figures must not depend on the grid that the mask came on."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_unet_tumour import scans
from napari_unet_tumour.measure import measure

CENTRE, RADII = np.array([3.0, -4.0, 6.0]), np.array([9.0, 7.0, 11.0])
SLOPE = np.array([3.0, 5.0, 7.0])
CODES = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
]  # fmt: skip


def grid(spacing, shape, angles):
    """Voxel -> place (RAS), centred at the origin."""
    (a, b), spin, lean = angles, np.eye(3), np.eye(3)
    spin[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    lean[1:, 1:] = [[np.cos(b), -np.sin(b)], [np.sin(b), np.cos(b)]]
    affine = np.eye(4)
    affine[:3, :3] = spin @ lean @ np.diag(spacing)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine


def places(affine, shape):
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) @ affine[:3, :3].T + affine[:3, 3]


def save(path, array, affine, codes=None):
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    if codes:
        wanted = nibabel.orientations.axcodes2ornt(codes)
        image = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), wanted))
    nibabel.save(image, path)


def lesion(at):
    return (((at - CENTRE) / RADII) ** 2).sum(axis=-1) <= 1


spacings = st.tuples(*[st.floats(0.8, 2.0)] * 2, st.floats(1.0, 4.0))
angles = st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("grids")


def found(folder):
    scan, mask = scans.read(folder / "scan.nii"), scans.read_mask(folder / "mask.nii")
    report = measure(mask, scan)
    (one,) = report.lesions
    return one, report


def grow(spacing):
    """A shape whose grid holds the lesion, however it is turned."""
    return tuple(int(np.ceil(44 / s)) for s in spacing)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spacings, angles, st.sampled_from(CODES), st.sampled_from(CODES), st.booleans())
def test_turned_and_cropped_grids_give_the_very_same_figures(folder, spacing, angles, one, other, crop):
    shape = grow(spacing)
    affine = grid(spacing, shape, angles)
    at = places(affine, shape)
    drawn = lesion(at)
    save(folder / "scan.nii", (1000 + at @ SLOPE).astype(np.float32), affine, one)
    save(folder / "mask.nii", drawn.astype(np.uint8), affine, one)
    plain, report = found(folder)
    assert not any("grid" in note for note in report.notes)
    if crop:
        low = np.argwhere(drawn).min(axis=0)
        high = np.argwhere(drawn).max(axis=0) + 1
        drawn = drawn[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        affine = affine.copy()
        affine[:3, 3] += affine[:3, :3] @ low
    save(folder / "mask.nii", drawn.astype(np.uint8), affine, other)
    moved, _ = found(folder)
    assert moved == plain


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spacings, angles, spacings, angles, st.sampled_from(CODES), st.sampled_from(CODES))
def test_any_other_grid_gives_the_same_figures_within_a_voxel(folder, here, turn, there, lean, one, other):
    shape, affine = grow(here), grid(here, grow(here), turn)
    at = places(affine, shape)
    save(folder / "scan.nii", (1000 + at @ SLOPE).astype(np.float32), affine, one)
    save(folder / "mask.nii", lesion(at).astype(np.uint8), affine, one)
    plain, _ = found(folder)
    theirs = grid(there, grow(there), lean)
    save(folder / "mask.nii", lesion(places(theirs, grow(there))).astype(np.uint8), theirs, other)
    moved, _ = found(folder)
    voxel = float(np.linalg.norm(there) + np.linalg.norm(here))
    assert moved.longest == pytest.approx(plain.longest, abs=voxel)
    assert moved.perpendicular == pytest.approx(plain.perpendicular, abs=voxel)
    assert np.linalg.norm(np.subtract(moved.position, plain.position)) < 0.5 * np.linalg.norm(there)
    # The scan's values rise by so much per mm that a lesion a voxel off has another mean.
    assert moved.brightness.mean == pytest.approx(plain.brightness.mean, abs=0.5 * np.abs(SLOPE) @ there)
    # Half a voxel of the mask all over the ellipsoid.
    shell = [np.prod(RADII + s * np.linalg.norm(there) / 2) for s in (-1, 1)]
    assert shell[0] / np.prod(RADII) < moved.volume / plain.volume < shell[1] / np.prod(RADII)
