from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy.ndimage import affine_transform

from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.scans import channels
from napari_unet_tumour.scans.channels import combine
from napari_unet_tumour.scans.mr_sequences import guess, sequence_from_timing, sequence_of
from napari_unet_tumour.scans.resample import lazily
from napari_unet_tumour.scans.scan import Scan

TWO = ModelSpec("two", "unet", channels=("T1", "FLAIR"))


def turned(angle: float, spacing=(5.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, :3] = affine[:3, :3] * spacing
    affine[:3, 3] = origin
    return affine


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 900, (6, 20, 24)).astype(np.int16)


def test_scans_on_one_grid_are_stacked_as_they_are(volume):
    t1, flair = (Scan(array, "zyx", turned(0.3), "mm", "s") for array in (volume, volume + 1))
    whole = combine({"FLAIR": flair, "T1": t1}, TWO, flair, (0,))
    assert whole.axes == "czyx"
    assert whole.array.dtype == np.int16
    np.testing.assert_array_equal(whole.array, [volume, volume + 1])
    np.testing.assert_array_equal(whole.affine, flair.affine)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("along", [(0,), (1,), (2,)])
def test_other_grids_are_resampled_as_a_whole_volume_would_be(volume, lazy, along):
    array = da.from_array(volume, (1, 20, 24)) if lazy else volume
    onto = Scan(np.zeros((9, 15, 17), np.int16), "zyx", turned(0.0, (3, 1.2, 1.3), (1.0, 0.5, -0.2)), "mm", "t1")
    flair = Scan(array, "zyx", turned(0.1), "mm", "flair")
    found = np.asarray(combine({"T1": onto, "FLAIR": flair}, TWO, onto, along).array[1])
    to_source = np.linalg.inv(flair.affine) @ onto.affine
    whole = affine_transform(
        volume.astype(np.float32), to_source, output_shape=onto.array.shape, order=1, mode="grid-constant", cval=-1e6
    )
    inside = whole > 0
    assert inside.mean() > 0.5
    np.testing.assert_allclose(found[inside], whole[inside], rtol=1e-4, atol=1e-2)
    assert found.min() >= 0


def test_only_the_part_around_a_plane_is_read(volume):
    read = []

    def note(block, block_info=None):
        read.append(block_info[0]["array-location"][0][0])
        return block

    array = da.from_array(volume, (1, 20, 24)).map_blocks(note, dtype=volume.dtype, meta=volume[:0])
    found = lazily(array, np.diag([0.5, 1, 1, 1.0]), (11, 20, 24), (0,))
    assert not read
    np.testing.assert_allclose(found[5].compute(), (volume[2].astype(float) + volume[3]) / 2)
    assert max(read) <= 4
    np.testing.assert_allclose(found.compute()[::2], volume, rtol=1e-6)


def test_large_scans_are_not_copied(volume, monkeypatch):
    monkeypatch.setattr(channels, "AT_ONCE", 100)
    t1 = Scan(volume, "zyx", None, "pixel", "t1")
    whole = combine({"T1": t1, "FLAIR": t1}, TWO, t1, (0,))
    assert not isinstance(whole.array, np.ndarray)
    np.testing.assert_array_equal(np.asarray(whole.array), [volume, volume])


def test_what_is_missing_is_filled_as_the_model_says(volume):
    t1 = Scan(volume, "zyx", None, "pixel", "t1")
    spec = ModelSpec("m", "unet", channels=("T1", "T1ce", "T2"), channel_fallbacks={"T1ce": "T1", "T2": "zeros"})
    found = combine({"T1": t1}, spec, t1, (0,)).array
    np.testing.assert_array_equal(found, [volume, volume, np.zeros_like(volume)])
    with pytest.raises(ModelError, match=r"needs 3 channels \(T1, T1ce, T2\), nothing is given for T1, T1ce:"):
        combine({"T2": t1}, spec, t1, (0,))
    with pytest.raises(ModelError, match="nothing is given for T1, T1ce"):
        combine({}, spec, t1, (0,))
    with pytest.raises(ModelError, match="has no channel 'T7': its channels are T1, T1ce, T2"):
        combine({"T1": t1, "T7": t1}, spec, t1, (0,))


@pytest.mark.parametrize(
    ("scan", "words"),
    [
        (Scan(np.zeros((3, 4, 5)), "zyx", None, "pixel", "b"), "'b' is in pixel and 'a' in mm"),
        (Scan(np.zeros((4, 5)), "yx", np.eye(3), "mm", "b"), r"'b' has 4 x 5 pixels \(yx\)"),
        (Scan(np.zeros((2, 3, 4, 5)), "tzyx", np.eye(4), "mm", "b"), "choose scans with the same axes"),
        (Scan(np.zeros((3, 4, 5, 3)), "zyxc", np.eye(4), "mm", "b"), "colours or channels of its own"),
        (Scan(np.zeros((3, 4, 5)), "zyx", turned(0, origin=(0, 99, 0)), "mm", "b"), "do not overlap"),
    ],
)
def test_scans_that_do_not_lie_together_are_named(scan, words):
    first = Scan(np.zeros((3, 4, 5)), "zyx", np.eye(4), "mm", "a")
    with pytest.raises(ScanError, match=words) as caught:
        combine({"T1": first, "FLAIR": scan}, TWO, first, (0,))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("BraTS2021_00001_t1ce.nii", "T1ce"), ("BraTS-GLI-00001-000-t1c", "T1ce"), ("x-t1n", "T1"), ("x-t2f", "FLAIR"),
        ("T2W_TSE", "T2"), ("AX FLAIR", "FLAIR"), ("T2 FLAIR sag", "FLAIR"), ("t1 mprage post gad", "T1ce"),
        ("T1 +C", "T1ce"), ("t10 days", ""), ("head", ""), ("Flair_mask", "FLAIR"),
        ("sub-01_dwi", "DWI"), ("ADC map", "ADC"), ("AX SWI", "SWI"), ("PDw tse", "PD"), ("3D TOF", "TOF"), ("spd", ""),
    ],
)  # fmt: skip
def test_names_of_sequences_are_understood(name, sequence):
    assert sequence_of(name) == sequence


@pytest.mark.parametrize(
    ("times", "sequence"),
    [
        ((9, 550, None), "T1"), ((2.9, 2300, 900), "T1"), ((100, 5000, 0), "T2"), ((395, 5000, 1800), "FLAIR"),
        ((80, 3000, None, 1000), "DWI"), ((20, 28, None), ""), ((12, 3000, None), ""), ((None, 500, None), ""),
        ((12, None, None), ""), ((8, 2000, 2000), ""),
    ],
)  # fmt: skip
def test_the_timing_of_a_scanner_tells_the_weighting(times, sequence):
    assert sequence_from_timing(*times) == sequence


def test_a_guess_is_made_only_where_one_name_fits():
    assert guess(("T1", "FLAIR"), ["a t1", "b t1", "flair"]) == {"FLAIR": "flair"}
    assert guess(("ADC", "T1"), ["patient adc", "patient dwi"]) == {"ADC": "patient adc"}
