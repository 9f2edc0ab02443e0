"""Letters at the edges of a screen, against nibabel for all 48 orientations."""

import itertools

import nibabel
import numpy as np
import pytest

from napari_unet_tumour.look.directions import direction_letter, edge_letters
from napari_unet_tumour.look.label_size import label_size
from napari_unet_tumour.scans import geometry

CODES = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
]  # fmt: skip
# nibabel's letters for head and feet are those of superior and inferior.
OTHER = {"R": "L", "L": "R", "A": "P", "P": "A", "H": "F", "F": "H"}


def affine_of(codes, tilt=0.0):
    """A NIfTI affine whose voxel axes run towards these directions, perhaps a little oblique."""
    turn = nibabel.orientations.inv_ornt_aff(
        nibabel.orientations.ornt_transform(
            nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
        ),
        (9, 9, 9),
    )
    spin = np.eye(4)
    spin[:2, :2] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    return spin @ turn @ np.diag([0.7, 1.3, 4.0, 1])


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("tilt", [0.0, 0.5])
def test_all_orientations_are_those_of_nibabel(codes, tilt):
    """The array is shown as it is: a row down, a column to the right, whichever axes are on screen."""
    ras = affine_of(codes, tilt)
    towards = [{"S": "H", "I": "F"}.get(one, one) for one in nibabel.aff2axcodes(ras)]
    patient = geometry.from_lps(np.diag([-1.0, -1, 1, 1]) @ ras, (0, 1, 2))[:3, :3]
    for down, right in itertools.permutations(range(3), 2):
        for signs in itertools.product((1, -1), repeat=2):
            found = edge_letters(patient, np.eye(3), down, right, signs)
            top, left = OTHER[towards[down]], OTHER[towards[right]]
            expected = [top, OTHER[top]][:: signs[0]] + [left, OTHER[left]][:: signs[1]]
            assert found == "".join(expected)


@pytest.mark.parametrize("codes", CODES)
def test_a_layer_that_lies_in_the_patients_space_has_the_same_letters_for_all(codes):
    """As our reader places layers: the world is the patient, (z, y, x) in LPS+."""
    ras = affine_of(codes)
    patient = geometry.from_ras(ras, geometry.closest_order(ras))[:3, :3]
    assert edge_letters(patient, patient, 1, 2) == "APRL"
    assert edge_letters(patient, patient, 0, 2) == "FHRL"
    assert edge_letters(patient, patient, 0, 1) == "FHAP"
    flipped = patient * [[1], [1], [-1]]
    assert edge_letters(patient, flipped, 1, 2) == "APLR", "the layer was flipped in the window"


def test_a_vector_without_length_has_no_letter():
    assert direction_letter((0, 0, 0)) == ""
    assert direction_letter((0, np.nan, 0)) == ""
    assert direction_letter((0.1, 0, -3)) == "R"


def test_sizes_of_a_label():
    mask = np.zeros((4, 10, 10), np.uint8)
    mask[1, 2:5, 2:6], mask[2, 0, 0] = 3, 1
    size = label_size(mask, 3, np.diag([5.0, 2, 0.5]), (1, slice(None), slice(None)))
    assert (size.volume, size.area, size.mm) == (pytest.approx(0.06), pytest.approx(12), True)
    assert str(size) == "0.06 ml, 12 mm² on this slice"
    across = label_size(mask, 3, np.diag([5.0, 2, 0.5]), (slice(None), 3, slice(None)))
    assert across.area == pytest.approx(10)
    sheared = np.array([[5.0, 0, 0], [0, 2, 0.3], [0, 0, 0.5]])
    assert label_size(mask, 3, sheared, (1, slice(None), slice(None))).area == pytest.approx(12)
    assert str(label_size(mask, 3, None, None)) == "12 voxels"
    assert str(label_size(mask, 3, None, (0, slice(None), slice(None)))) == "12 voxels, 0 pixels on this slice"
