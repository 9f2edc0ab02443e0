import numpy as np
import pytest

from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.postprocess import edit_tools


def disc(radius, centre=(32, 32), side=64):
    rows, columns = np.mgrid[:side, :side]
    return (np.hypot(rows - centre[0], columns - centre[1]) <= radius).astype(np.uint8)


def dice(one, other):
    return 2 * np.sum((one > 0) & (other > 0)) / (np.sum(one > 0) + np.sum(other > 0))


def test_smooth_takes_a_hair_away_and_keeps_the_size():
    mask = disc(12)
    mask[32, 44:60] = 1
    new = edit_tools.smooth(mask)
    assert not new[32, 50:].any()
    assert dice(new, disc(12)) > 0.97
    assert np.array_equal(mask[32, 44:60], np.ones(16)), "the mask that was given is as it was"


def test_smooth_keeps_labels_and_unsure_pixels():
    mask = disc(12)
    mask[:, :32] *= 2
    mask[0:4, 0:4] = UNSURE
    new = edit_tools.smooth(mask)
    assert (new[0:4, 0:4] == UNSURE).all()
    assert (new[32, 25], new[32, 40]) == (2, 1)


def test_specks_go_and_the_lesion_stays():
    mask = disc(10)
    mask[2:4, 2:4] = 1
    assert np.array_equal(edit_tools.remove_specks(mask), disc(10))
    assert not edit_tools.remove_specks(np.zeros((8, 8), np.uint8)).any()


def test_holes_are_filled_with_their_own_label():
    mask = 3 * disc(12)
    mask[disc(4) > 0] = 0
    assert np.array_equal(edit_tools.fill_holes(mask), 3 * disc(12))


def test_between_moves_and_grows():
    new = edit_tools.interpolate_slices(disc(6, (20, 20)), disc(12, (40, 40)), 3)
    for step, mask in enumerate(new, start=1):
        at = 20 + 5 * step
        assert dice(mask, disc(6 + 1.5 * step, (at, at))) > 0.93
    assert new[0].dtype == np.uint8


def test_between_leaves_out_what_only_one_has():
    first, last = disc(8), disc(8)
    first[2:6, 2:6] = 2
    assert set(np.unique(edit_tools.interpolate_slices(first, last, 1)[0])) == {0, 1}
    assert not edit_tools.interpolate_slices(first * 0, last, 2)[1].any()


@pytest.mark.parametrize("count", [1, 3, 9])
def test_between_follows_the_image(count):
    # A ring that leaves the straight way by its own width.
    centres = [(32 + 5 * np.sin(np.pi * n / (count + 1)), 32) for n in range(count + 2)]
    rings = [disc(14, centre) - disc(9, centre) for centre in centres]
    images = [100 + 80 * ring + np.random.default_rng(n).normal(0, 8, ring.shape) for n, ring in enumerate(rings)]
    new, plain = (edit_tools.interpolate_slices(rings[0], rings[-1], count, given) for given in (images, ()))
    assert len(new) == count
    assert min(dice(mask, ring) for mask, ring in zip(new, rings[1:-1], strict=True)) > 0.85
    middle = count // 2
    assert dice(new[middle], rings[middle + 1]) > dice(plain[middle], rings[middle + 1]) + 0.15


def test_between_with_blank_images_is_as_without():
    first, last = disc(6, (20, 20)), disc(12, (40, 40))
    first[2:4, 2:4] = 2
    plain, new = (
        edit_tools.interpolate_slices(first, last, 3),
        edit_tools.interpolate_slices(first, last, 3, [np.zeros(first.shape)] * 5),
    )
    assert all(np.array_equal(one, other) for one, other in zip(new, plain, strict=True))


@pytest.mark.parametrize("noise", [0, 20])
def test_snap_finds_the_edge_nearby(noise):
    truth = disc(14)
    image = 100 + 80 * truth + np.random.default_rng(0).normal(0, noise, truth.shape)
    rough = disc(12, (34, 33))
    assert dice(edit_tools.snap_to_edges(rough, image), truth) > max(0.95, dice(rough, truth) + 0.03)


def test_snap_keeps_unsure_pixels_and_flat_images():
    mask = disc(10)
    mask[30:34, 40:46] = UNSURE
    new = edit_tools.snap_to_edges(mask, np.zeros(mask.shape))
    assert (new[30:34, 40:46] == UNSURE).all()
    assert dice(new == 1, mask == 1) > 0.7
