from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans import read, read_mask

DIRECTIONS = [
    np.eye(3)[:, order] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]


def save(path, array, direction=None, packed=False):
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((0.8, 0.9, 5.0))
    image.SetOrigin((11.0, -22.0, 33.0))
    image.SetDirection((np.eye(3) if direction is None else direction).ravel().tolist())
    SimpleITK.WriteImage(image, str(path), packed)
    return image


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_every_voxel_lies_where_simpleitk_says(tmp_path, volume, suffix, direction):
    spin = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1.0]])
    image = save(tmp_path / f"a{suffix}", volume, spin @ direction)
    scan = read(tmp_path / f"a{suffix}")
    assert (scan.axes, scan.units) == ("zyx", "mm")
    for value in (0, 57, 209):
        k, r, c = (int(n) for n in np.argwhere(volume == value)[0])
        index = np.argwhere(scan.array == value)[0]
        place = (scan.world @ [*index, 1])[2::-1]
        assert place == pytest.approx(image.TransformIndexToPhysicalPoint((c, r, k)), abs=1e-3)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_every_dtype_opens(tmp_path, suffix, packed, dtype):
    array = np.arange(60).reshape(3, 4, 5).astype(dtype)
    save(tmp_path / f"a{suffix}", array, packed=packed)
    scan = read(tmp_path / f"a{suffix}")
    assert scan.array.dtype == dtype
    np.testing.assert_array_equal(scan.array, array)
    np.testing.assert_array_equal(read_mask(tmp_path / f"a{suffix}").array, array)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("packed", [False, True])
def test_damage_and_absurd_sizes_are_named(tmp_path, volume, suffix, packed):
    save(tmp_path / f"a{suffix}", volume, packed=packed)
    whole = (tmp_path / f"a{suffix}").read_bytes()
    cut = tmp_path / f"cut{suffix}"
    for length in (0, 3, 100, len(whole) - 20):
        cut.write_bytes(whole[:length])
        with pytest.raises(ScanError, match=rf"cut\{suffix} "):
            read(cut)
    cut.write_bytes(whole.replace(b"7 6 5", b"70000 60000 50000"))
    with pytest.raises(ScanError, match=rf"cut\{suffix} claims"):
        read(cut)
    cut.write_bytes(whole.replace(b"7 6 5", b"7 0 5"))
    with pytest.raises(ScanError, match=rf"cut\{suffix} has an axis without pixels"):
        read(cut)


def test_two_files_and_flat_ones_are_refused(tmp_path, volume):
    save(tmp_path / "a.nrrd", volume)
    text = (tmp_path / "a.nrrd").read_bytes()
    (tmp_path / "a.nrrd").write_bytes(text.replace(b"encoding: raw", b"data file: a.raw\nencoding: raw"))
    with pytest.raises(ScanError, match=r"a\.nrrd is a NRRD of a kind"):
        read(tmp_path / "a.nrrd")
    (tmp_path / "b.nrrd").write_bytes(text.replace(b"left-posterior-superior", b"scanner-xyz"))
    assert read(tmp_path / "b.nrrd").units == "pixel"


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_packed_file_whose_checksum_fails_is_refused(tmp_path, volume, suffix):
    save(tmp_path / f"a{suffix}", volume, packed=True)
    whole = bytearray((tmp_path / f"a{suffix}").read_bytes())
    whole[-5 if suffix == ".nrrd" else -1] ^= 1
    (tmp_path / f"a{suffix}").write_bytes(whole)
    with pytest.raises(ScanError, match=rf"a\{suffix} is cut or damaged"):
        read(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".NrrD", ".MHA"])
def test_suffixes_are_spelt_in_any_way(tmp_path, volume, suffix):
    save(tmp_path / f"a{suffix.lower()}", volume)
    (tmp_path / f"a{suffix.lower()}").rename(tmp_path / f"b{suffix}")
    np.testing.assert_array_equal(read(tmp_path / f"b{suffix}").array, volume)
