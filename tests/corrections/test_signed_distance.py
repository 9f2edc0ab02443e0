import numpy as np
import pytest

from napari_unet_tumour.corrections.signed_distance import Outline, distance_between


def disc(radius, centre, side=48):
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows - centre[0], columns - centre[1]) <= radius


def test_distance_is_in_the_unit_of_the_pixel_and_positive_inside():
    region = np.zeros((20, 20), bool)
    region[8:12, 5:15] = True
    outline = Outline(region, (2.0, 0.5))
    assert outline.distance[9, 10] == pytest.approx(2.5)  # three columns and two rows: the side is nearer across
    assert outline.distance[3, 10] == pytest.approx(-10.0)
    assert outline.centre == pytest.approx([9.5, 9.5])


def test_between_two_places_lies_the_middle():
    found = distance_between(Outline(disc(8, (16, 16))), Outline(disc(8, (30, 30))), 0.5) > 0
    truth = disc(8, (23, 23))
    assert 2 * np.sum(found & truth) / (np.sum(found) + np.sum(truth)) > 0.93
