from __future__ import annotations

import gzip
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.scans import read, write_mask

if TYPE_CHECKING:
    from pathlib import Path

ORIENTATIONS = [
    "".join(letters[i] for i in order)
    for letters in itertools.product("LR", "AP", "IS")
    for order in itertools.permutations(range(3))
]


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None, unit: str = "mm") -> Path:
    image = nibabel.Nifti1Image(array, np.diag([0.9, 0.8, 5.0, 1.0]) if affine is None else affine)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def oriented(name: str, angle: float = 0.0) -> np.ndarray:
    """RAS+ affine of a (5, 6, 7) voxel array with axes towards `name`, turned by `angle` about the first world axis."""
    start = nibabel.orientations.axcodes2ornt("RAS")
    turn = nibabel.orientations.ornt_transform(start, nibabel.orientations.axcodes2ornt(name))
    affine = np.diag([0.9, 0.8, 5.0, 1.0])
    affine[:3, 3] = (-10.0, 20.0, 30.0)
    spin = np.eye(4)
    spin[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return spin @ affine @ nibabel.orientations.inv_ornt_aff(turn, (5, 6, 7))


@pytest.mark.parametrize("angle", [0.0, 0.3])
@pytest.mark.parametrize("name", ORIENTATIONS)
def test_round_trip_keeps_every_voxel_in_place(tmp_path, volume, name, angle):
    affine = oriented(name, angle)
    source = save(tmp_path / "in.nii.gz", volume, affine)
    scan = read(source)
    assert scan.axes == "zyx"
    assert scan.units == "mm"
    for value in (0, 41, 209):
        voxel = np.argwhere(volume == value)[0]
        index = np.argwhere(scan.array == value)[0]
        right, front, up = (affine @ [*voxel, 1])[:3]
        assert (scan.world @ [*index, 1])[:3] == pytest.approx([up, -front, -right], abs=1e-4)
    mask = (scan.array % 7 == 3).astype(np.uint8)
    write_mask(tmp_path / "out.nii.gz", mask, scan)
    back = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(back.dataobj), (volume % 7 == 3).astype(np.uint8))
    np.testing.assert_array_equal(back.affine, nibabel.load(source).affine)
    one, two = SimpleITK.ReadImage(source), SimpleITK.ReadImage(tmp_path / "out.nii.gz")
    assert one.GetOrigin() == two.GetOrigin()
    assert one.GetDirection() == two.GetDirection()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=npst.arrays(
        st.sampled_from([np.uint8, np.int16, ">i2", np.uint16, np.float32, ">f8"]),
        npst.array_shapes(min_dims=2, max_dims=4, max_side=5),
        elements=st.integers(0, 100),
    ),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
    name=st.sampled_from(ORIENTATIONS),
)
def test_round_trip_of_any_dtype_and_shape(tmp_path, array, suffix, name):
    source = save(tmp_path / f"in{suffix}", array, oriented(name))
    scan = read(source)
    assert len(scan.axes) == scan.array.ndim
    assert np.sort(scan.array, axis=None).tolist() == np.sort(array, axis=None).tolist()
    write_mask(tmp_path / f"out{suffix}", (scan.array > 50).astype(np.uint8), scan)
    back = nibabel.load(tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(np.asarray(back.dataobj).reshape(array.shape), array > 50)


def test_four_axes_are_time_first(tmp_path):
    array = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    scan = read(save(tmp_path / "film.nii", array))
    assert scan.axes == "tzyx"
    assert scan.array.shape == (5, 4, 3, 2)
    assert scan.affine.shape == (4, 4)
    np.testing.assert_array_equal(scan.array, array.T)


def test_header_is_kept(tmp_path, nifti_file):
    image = nibabel.load(nifti_file)
    image.header["descrip"] = b"kept"
    image.set_sform(image.affine, code=4)
    image.set_qform(image.affine, code=1)
    nibabel.save(image, nifti_file)
    scan = read(nifti_file)
    write_mask(nifti_file.parent / "mask.nii", np.ones(scan.array.shape, np.uint8), scan)
    header = nibabel.load(nifti_file.parent / "mask.nii").header
    assert header["descrip"] == b"kept"
    assert (header["sform_code"], header["qform_code"]) == (4, 1)
    assert header.get_data_dtype() == np.uint8
    assert header.get_intent()[0] == "label"
    assert header.get_xyzt_units()[0] == "mm"


def test_probability_keeps_fractions(tmp_path, nifti_file):
    scan = read(nifti_file)
    sure = np.linspace(0, 1, scan.array.size, dtype=np.float32).reshape(scan.array.shape)
    write_mask(tmp_path / "sure.nii.gz", sure, scan)
    np.testing.assert_array_equal(read(tmp_path / "sure.nii.gz").array, sure)


def test_scaled_values_are_applied(tmp_path):
    image = nibabel.Nifti1Image(np.array([[[1, 2, 3]]], np.int16), np.eye(4) * 2)
    image.header.set_slope_inter(0.5, 10)
    nibabel.save(image, tmp_path / "ct.nii")
    stored = nibabel.load(tmp_path / "ct.nii")
    np.testing.assert_allclose(read(tmp_path / "ct.nii").array.ravel(), stored.get_fdata().ravel(), rtol=1e-6)


def test_colour_voxels_become_channels(tmp_path):
    rgb = np.zeros((4, 3, 2), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    rgb["G"] = 7
    nibabel.save(nibabel.Nifti1Image(rgb, np.eye(4) * 2), tmp_path / "rgb.nii")
    scan = read(tmp_path / "rgb.nii")
    assert scan.axes == "zyxc"
    assert scan.array.shape == (2, 3, 4, 3)
    assert scan.array[..., 1].min() == 7
    write_mask(tmp_path / "m.nii", np.ones((2, 3, 4), np.uint8), scan)
    assert nibabel.load(tmp_path / "m.nii").shape == (4, 3, 2)


@pytest.mark.parametrize(
    ("affine", "unit", "expected", "step"),
    [
        (np.diag([-1.0, -1.0, 1.0, 1.0]), "mm", "pixel", 1),
        (np.diag([2.0, 2.0, 2.0, 1.0]), "mm", "mm", 2),
        (np.diag([2.0, 2.0, 2.0, 1.0]), "unknown", "mm", 2),
        (np.diag([200.0, 200.0, 200.0, 1.0]), "unknown", "pixel", 200),
        (np.diag([500.0, 500.0, 500.0, 1.0]), "micron", "mm", 0.5),
    ],
)
def test_units_are_mm_only_where_known(tmp_path, volume, affine, unit, expected, step):
    scan = read(save(tmp_path / "a.nii", volume, affine, unit))
    assert scan.units == expected
    assert scan.spacing == pytest.approx((step,) * 3)


def test_btp_reports_pixels(real_scans):
    scan = read(real_scans / "btp" / "01" / "Pre_Scan_T1.nii.gz")
    assert scan.array.shape == (24, 256, 256)
    assert scan.units == "pixel"
    mask = read(real_scans / "btp" / "01" / "Pre_Mask.nii.gz").array
    assert mask.any(axis=(1, 2)).sum() == 9


def test_a_cut_file_is_refused(tmp_path, nifti_file):
    whole = nifti_file.read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ScanError, match=r"cut\.nii\.gz is cut or damaged"):
        read(tmp_path / "cut.nii.gz")
    plain = gzip.decompress(whole)
    for length in (0, 3, 100, 348, 360, len(plain) - 2):
        (tmp_path / "cut.nii").write_bytes(plain[:length])
        with pytest.raises(ScanError, match=r"cut\.nii .*get the file again"):
            read(tmp_path / "cut.nii")


def test_a_broken_header_is_refused(tmp_path, nifti_file):
    plain = bytearray(gzip.decompress(nifti_file.read_bytes()))
    for at, value in ((40, b"\xff\x7f"), (42, b"\x00\x80"), (70, b"\xff\x7f")):
        bad = plain.copy()
        bad[at : at + 2] = value
        (tmp_path / "bad.nii").write_bytes(bad)
        with pytest.raises(ScanError, match=r"bad\.nii "):
            read(tmp_path / "bad.nii")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 347), value=st.integers(0, 255), packed=st.booleans())
def test_no_broken_header_crashes(tmp_path, nifti_file, at, value, packed):
    plain = bytearray(gzip.decompress(nifti_file.read_bytes()))
    plain[at] = value
    path = tmp_path / ("any.nii.gz" if packed else "any.nii")
    path.write_bytes(gzip.compress(plain, 1) if packed else plain)
    with suppress(ScanError):
        assert min(read(path).array.shape) > 0


@pytest.mark.parametrize("wrong", [np.nan, 0.0, np.inf])
def test_a_broken_affine_is_refused(tmp_path, volume, wrong):
    image = nibabel.Nifti1Image(volume, np.eye(4))
    image.header["srow_x"] = [wrong, 0, 0, 0]
    image.header["sform_code"] = 1
    with (tmp_path / "nan.nii").open("wb") as file:
        file.write(image.header.binaryblock + b"\0\0\0\0" + volume.tobytes(order="F"))
    with pytest.raises(ScanError, match=r"nan\.nii has a broken affine"):
        read(tmp_path / "nan.nii")


def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path):
    header = nibabel.Nifti2Header()
    header.set_data_dtype(np.float64)
    header["magic"] = b"n+2"
    header["vox_offset"] = 544
    header["dim"] = [3, 60_000, 60_000, 60_000, 1, 1, 1, 1]
    block = header.binaryblock
    (tmp_path / "huge.nii").write_bytes(block + b"\0" * 100)
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(block + b"\0" * 100))
    for name in ("huge.nii", "huge.nii.gz"):
        with pytest.raises(ScanError, match=f"{name} claims"):
            read(tmp_path / name)
    header["dim"] = [3, 1000, 1000, 1000, 1, 1, 1, 1]
    header.set_data_dtype(np.uint8)
    (tmp_path / "liar.nii.gz").write_bytes(gzip.compress(header.binaryblock + b"\0" * 100))
    with pytest.raises(ScanError, match=r"liar\.nii\.gz is cut or damaged"):
        read(tmp_path / "liar.nii.gz")


def test_mislabelled_files_are_named(tmp_path, nifti_file):
    (tmp_path / "a.nii.gz").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 400)
    with pytest.raises(ScanError, match=r"a\.nii\.gz holds PNG data"):
        read(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii.gz").write_bytes(gzip.decompress(nifti_file.read_bytes()))
    with pytest.raises(ScanError, match=r"b\.nii\.gz holds NIfTI data"):
        read(tmp_path / "b.nii.gz")
    (tmp_path / "c.nii").write_bytes(nifti_file.read_bytes())
    with pytest.raises(ScanError, match=r"c\.nii holds gzip data"):
        read(tmp_path / "c.nii")


def test_too_many_axes_are_refused(tmp_path):
    save(tmp_path / "vectors.nii", np.zeros((2, 2, 2, 1, 3), np.float32))
    with pytest.raises(ScanError, match=r"vectors\.nii has 5 axes"):
        read(tmp_path / "vectors.nii")


def test_a_mask_of_another_shape_is_refused(tmp_path, nifti_file):
    scan = read(nifti_file)
    with pytest.raises(OutputError, match="resample"):
        write_mask(tmp_path / "mask.nii.gz", np.zeros((7, 6, 4), np.uint8), scan)
    assert not (tmp_path / "mask.nii.gz").exists()


@pytest.mark.parametrize("part", ["pixels", "checksum", "length"])
def test_a_file_whose_checksum_fails_is_refused(tmp_path, nifti_file, volume, part):
    whole = bytearray(gzip.compress(gzip.decompress(nifti_file.read_bytes()), 0))  # stored, so that no code breaks
    at = {"pixels": len(whole) - 100, "checksum": len(whole) - 6, "length": len(whole) - 2}[part]
    (tmp_path / "good.nii.gz").write_bytes(whole)
    np.testing.assert_array_equal(read(tmp_path / "good.nii.gz").array, volume.T)
    whole[at] ^= 1
    (tmp_path / "bad.nii.gz").write_bytes(whole)
    with pytest.raises(ScanError, match=r"bad\.nii\.gz is cut or damaged"):
        read(tmp_path / "bad.nii.gz")


@pytest.mark.parametrize("rows", [("srow_x",), ("srow_x", "srow_y", "srow_z")])
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_broken_sform_gives_way_to_the_qform(tmp_path, volume, rows, value):
    good = oriented("LPS", 0.2)
    image = nibabel.Nifti1Image(volume, good)
    image.set_qform(good, code=1)
    image.header.set_xyzt_units("mm")
    for row in rows:
        image.header[row] = value
    with (tmp_path / "a.nii").open("wb") as file:
        header = image.header.copy()
        header["magic"], header["vox_offset"], header["sform_code"] = b"n+1", 352, 1
        file.write(header.binaryblock + b"\0\0\0\0" + volume.tobytes(order="F"))
    scan = read(tmp_path / "a.nii")
    np.testing.assert_allclose(scan.affine, read(save(tmp_path / "b.nii", volume, good)).affine, atol=1e-4)
    assert "sform is broken" in scan.extra["notes"][0]
    write_mask(tmp_path / "m.nii.gz", np.ones(scan.array.shape, np.uint8), scan)
    np.testing.assert_allclose(nibabel.load(tmp_path / "m.nii.gz").affine, good, atol=1e-4)


def qform_file(path, volume, quaternion):
    image = nibabel.Nifti1Image(volume, np.diag([2.0, 2.0, 2.0, 1.0]))
    header = image.header.copy()
    header["magic"], header["vox_offset"], header["sform_code"], header["qform_code"] = b"n+1", 352, 0, 1
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = quaternion
    path.write_bytes(header.binaryblock + b"\0\0\0\0" + volume.tobytes(order="F"))
    return path


def test_a_rotation_that_rounding_made_a_hair_too_long_is_read_and_a_wrong_one_named(tmp_path, volume):
    scan = read(qform_file(tmp_path / "a.nii", volume, (1.0000005, 0.0, 0.0)))
    np.testing.assert_allclose(scan.spacing, 2.0, atol=1e-4)
    with pytest.raises(ScanError, match=r"b\.nii has a broken affine .*dcm2niix"):
        read(qform_file(tmp_path / "b.nii", volume, (2.0, 0.0, 0.0)))


@pytest.mark.parametrize("suffix", [".NII.GZ", ".Nii.Gz", ".nii.GZ", ".NII", ".Nii"])
def test_suffixes_are_spelt_in_any_way(tmp_path, nifti_file, volume, suffix):
    whole = nifti_file.read_bytes()
    path = tmp_path / f"Head{suffix}"
    path.write_bytes(whole if suffix.lower().endswith("gz") else gzip.decompress(whole))
    scan = read(path)
    np.testing.assert_array_equal(scan.array, volume.T)
    assert scan.name == "Head"


def test_a_masks_label_keeps_its_name(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 2), np.uint8), np.eye(4)), tmp_path / "scan.nii.gz")
    scan = read(tmp_path / "scan.nii.gz")
    for labels, names in (
        (("background", "enhancing part"), {"names": ("background", "enhancing part")}),
        (("background", "edge", "core"), {}),
        ((), {}),
    ):
        write_mask(tmp_path / "mask.nii.gz", scan.array, scan, labels)
        found = read(tmp_path / "mask.nii.gz").extra
        assert {name: found[name] for name in ("names",) if name in found} == names
        assert found["labels"] is bool(labels)
