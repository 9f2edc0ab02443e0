"""DICOM as scanners, old exports and archives really leave it, against pydicom, SimpleITK and highdicom's values."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import generate_uid

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans import is_dicom, read, read_all

STRAIGHT = ((0, 1, 2), (1.0, 1.0, 1.0))


@pytest.fixture
def straight(affine_of):
    return affine_of(*STRAIGHT)


def change(files, edit):
    """Let `edit(dataset, n)` change every file of a series."""
    for n, file in enumerate(files):
        found = pydicom.dcmread(file)
        edit(found, n)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.save_as(file)


def with_simpleitk(folder):
    return SimpleITK.GetArrayFromImage(
        SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    )


@pytest.mark.parametrize("suffix", [".dcm", ""])
@pytest.mark.parametrize(("implicit", "little"), [(False, True), (True, True), (False, False)])
def test_data_sets_without_preamble_and_meta_header_open(
    tmp_path, dicom_series, volume, straight, implicit, little, suffix
):
    (tmp_path / "bare").mkdir()
    for n, file in enumerate(dicom_series(tmp_path / "s", volume, straight)):
        found = pydicom.dcmread(file)
        bare = pydicom.Dataset()
        bare.update({element.tag: element for element in found})
        if not little:
            bare.PixelData = found.pixel_array.astype(">i2").tobytes()
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
        write_dataset(buffer, bare)
        (tmp_path / "bare" / f"IM{n:04d}{suffix}").write_bytes(buffer.getvalue())
    assert is_dicom(tmp_path / "bare" / f"IM0000{suffix}")
    scan = read(tmp_path / "bare")
    np.testing.assert_array_equal(scan.array, volume)
    np.testing.assert_allclose(scan.affine, read(tmp_path / "s").affine)


def test_other_files_are_not_taken_for_data_sets_without_preamble(tmp_path):
    for name, data in {"zeros": bytes(2000), "small": b"\x08\0\x05\0", "text": b"\x08\0 no scan" * 50}.items():
        (tmp_path / name).write_bytes(data)
        assert not is_dicom(tmp_path / name)


def test_overlay_bits_above_the_stored_ones_are_no_pixels(tmp_path, dicom_series, straight):
    array = np.arange(5 * 6 * 7, dtype="<u2").reshape(5, 6, 7) * 19
    drawn = array.copy()
    drawn[:, 1:3] |= 0x1000
    dicom_series(tmp_path, drawn, straight, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read(tmp_path).array, array)
    np.testing.assert_array_equal(with_simpleitk(tmp_path), array)


@pytest.mark.parametrize("sign", ["u", "i"])
def test_a_high_bit_may_lie_above_the_stored_bits(tmp_path, dicom_series, straight, sign):
    array = np.arange(5 * 6 * 7, dtype=f"<{sign}2").reshape(5, 6, 7) * 9 - (900 if sign == "i" else 0)
    about = {"BitsStored": 12, "HighBit": 15}
    dicom_series(tmp_path / "high", (array << 4) | 3, straight, **about)
    np.testing.assert_array_equal(read(tmp_path / "high").array, array)
    # Some exports name the highest bit of the word and store the values in the lowest ones.
    dicom_series(tmp_path / "low", array, straight, **about)
    np.testing.assert_array_equal(read(tmp_path / "low").array, array)


@pytest.mark.parametrize("kind", ["LO", "SH", "ST", "LT", "UT", "FD", "FL", "UN", "OB"])
@pytest.mark.parametrize("name", ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"])
def test_numbers_may_be_stored_in_any_way(tmp_path, dicom_series, volume, straight, kind, name):
    files = dicom_series(tmp_path, volume[:2], straight)
    plain = read(tmp_path)

    def edit(found, n):
        values = [float(v) for v in found[name].value]
        text = "\\".join(f"{v:.4f}" for v in values)
        forms = {"LO": text.split("\\"), "SH": text.split("\\"), "FD": values, "FL": values}
        del found[name]
        padded = (text + " " * (len(text) % 2)).encode()
        found.add_new(name, kind, forms.get(kind, padded if kind in ("UN", "OB") else text))

    change(files, edit)
    scan = read(tmp_path)
    np.testing.assert_allclose(scan.affine, plain.affine, atol=1e-3)
    np.testing.assert_array_equal(scan.array, plain.array)


@pytest.mark.parametrize("jitter", ["orientation", "spacing"])
def test_jitter_in_the_last_figures_is_one_series(tmp_path, dicom_series, volume, straight, jitter):
    def orientation(n):
        slope = 0.0345 + (1e-6 if n % 2 else -1e-6)
        across = round(np.sqrt(1 - slope**2), 8)
        return [across, round(slope, 8), 0, -round(slope, 8), across, 0]

    more = (
        {"ImageOrientationPatient": orientation}
        if jitter == "orientation"
        else {"PixelSpacing": lambda n: ["0.46875" if n % 2 else "0.468749"] * 2}
    )
    dicom_series(tmp_path, volume, straight, **more)
    assert read(tmp_path).array.shape == volume.shape


def test_other_orientations_and_spacings_stay_apart(tmp_path, dicom_series, volume, straight):
    about = {"SeriesInstanceUID": generate_uid()}
    dicom_series(tmp_path / "a", volume, straight, **about)
    dicom_series(tmp_path / "b", volume[:3], straight, PixelSpacing=["0.7", "0.7"], **about)
    dicom_series(tmp_path / "c", volume[:2], straight, ImageOrientationPatient=[1, 0, 0, 0, 0, -1], **about)
    assert [scan.array.size for scan in read_all(tmp_path)] == [210, 126, 84]


@pytest.mark.parametrize("drift", [0.0, 0.002, 0.02])
@pytest.mark.parametrize("slices_first", [True, False])
@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("lost", [(), ((2, 3), (2, 4)), ((0, 1),)])
def test_a_dynamic_series_is_several_volumes_whatever_its_drift(
    tmp_path, dicom_series, volume, straight, drift, slices_first, marked, lost
):
    about = {"SeriesInstanceUID": generate_uid()}
    for t in range(3):
        if marked:
            about["TemporalPositionIdentifier"] = t + 1
        files = dicom_series(
            tmp_path / str(t),
            volume + np.int16(1000 * t),
            straight,
            InstanceNumber=lambda n, t=t: t * 5 + n + 1 if slices_first else n * 3 + t + 1,
            ImagePositionPatient=lambda n, t=t: [11, -22, round(33 + 5 * n + drift * t, 4)],
            **about,
        )
        for time, n in lost:
            if time == t:
                files[n].unlink()
    scan = read(tmp_path)
    assert (scan.axes, scan.array.shape) == ("tzyx", (3, *volume.shape))
    assert scan.spacing == pytest.approx((5, 0.9, 0.8), abs=0.01)
    expected = np.stack([volume, volume + 1000, volume + 2000])
    there = [(t, n) for t in range(3) for n in range(5) if (t, n) not in lost]
    np.testing.assert_array_equal([scan.array[at] for at in there], [expected[at] for at in there])
    said = f"volume {lost[0][0] + 1} of 3 lacks {len(lost)} of 5 slices: they are shown empty" if lost else ""
    assert scan.extra["notes"] == ((said,) if lost else ())


def test_close_slices_with_a_hole_stay_slices(tmp_path, dicom_series, straight):
    array = np.arange(40 * 4, dtype=np.int16).reshape(40, 2, 2)
    dicom_series(tmp_path, array, straight, ImagePositionPatient=lambda n: [0, 0, round(0.01 * n + (n > 19) * 0.2, 4)])
    scan = read(tmp_path)
    assert scan.axes == "zyx"
    assert scan.spacing[0] == pytest.approx(0.01)


def test_a_classic_multi_frame_file_is_a_volume(tmp_path, dicom_series, volume, straight):
    files = dicom_series(tmp_path / "s", volume, straight, Modality="MR")
    found = pydicom.dcmread(files[0])
    found.NumberOfFrames, found.PixelData = len(volume), volume.tobytes()
    found.save_as(tmp_path / "many.dcm")
    one, many = read(tmp_path / "many.dcm"), read(tmp_path / "s")
    assert one.axes == "zyx"
    np.testing.assert_array_equal(one.array, many.array)
    np.testing.assert_allclose(one.affine, many.affine, atol=1e-6)
    del found.ImagePositionPatient
    found.save_as(tmp_path / "nowhere.dcm")
    nowhere = read(tmp_path / "nowhere.dcm")
    assert (nowhere.axes, nowhere.spacing) == ("zyx", pytest.approx((5, 0.9, 0.8)))
    found.add_new("FrameIncrementPointer", "AT", 0x00181063)
    found.save_as(tmp_path / "film.dcm")
    assert read(tmp_path / "film.dcm").axes == "tyx"


def test_offsets_of_a_dose_grid_may_count_from_the_patients_origin(tmp_path, dicom_series, volume, straight):
    files = dicom_series(tmp_path / "s", volume, straight)
    found = pydicom.dcmread(files[0])
    found.NumberOfFrames, found.PixelData = len(volume), volume.tobytes()
    for offsets in ([0.0, 5.0, 10.0, 15.0, 20.0], [33.0, 38.0, 43.0, 48.0, 53.0]):
        found.GridFrameOffsetVector = offsets
        found.save_as(tmp_path / "dose.dcm")
        np.testing.assert_allclose(read(tmp_path / "dose.dcm").affine, read(tmp_path / "s").affine, atol=1e-6)


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_a_table_of_values_is_applied(tmp_path, dicom_series, straight, photometric):
    array = np.arange(5 * 6 * 7, dtype="<u2").reshape(5, 6, 7)

    def edit(found, n):
        table = pydicom.Dataset()
        table.add_new("LUTDescriptor", "US", [256, 0, 16])
        table.ModalityLUTType = "US"
        table.add_new("LUTData", "OW", (np.arange(256) * 3 + 5).astype("<u2").tobytes())
        found.ModalityLUTSequence = [table]
        found.PhotometricInterpretation = photometric

    change(dicom_series(tmp_path, array, straight), edit)
    expected = array * 3 + 5
    np.testing.assert_array_equal(read(tmp_path).array, expected if photometric == "MONOCHROME2" else 65535 - expected)


@pytest.mark.parametrize("shape", [(5, 6, 7), (4, 8, 8)])
def test_pixels_packed_in_twelve_bits_are_unpacked(tmp_path, dicom_series, straight, shape):
    array = (np.arange(np.prod(shape), dtype="<u2").reshape(shape) * 19) % 4096

    def edit(found, n):
        first, second = array[n].ravel()[::2], array[n].ravel()[1::2]
        packed = np.stack([first & 255, first >> 8 | (second & 15) << 4, second >> 4], axis=1).astype(np.uint8)
        found.BitsAllocated, found.PixelData = 12, packed.tobytes() + b"\0" * (packed.size % 2)

    change(dicom_series(tmp_path, array, straight, BitsStored=12, HighBit=11), edit)
    np.testing.assert_array_equal(read(tmp_path).array, array)
    if shape[1:] == (8, 8):  # it cannot read an odd number of bytes
        np.testing.assert_array_equal(with_simpleitk(tmp_path), array)


def test_what_is_not_read_is_named_and_the_rest_of_a_folder_opens(tmp_path, dicom_series, volume, straight):
    kind = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    files = dicom_series(tmp_path / "damaged mosaic", volume, straight, ImageType=kind)
    with pytest.raises(ScanError, match=rf"{files[0].name} is a mosaic.*convert the series with dcm2niix"):
        read(files[0])
    with pytest.raises(ScanError, match="is a mosaic"):
        read(tmp_path / "damaged mosaic")
    dicom_series(tmp_path / "T1", volume, straight)
    scan = read(tmp_path)
    np.testing.assert_array_equal(scan.array, volume)
    assert scan.extra["notes"][0].startswith("5 files of the folder left out: ")


def test_a_damaged_file_stops_a_folder_and_its_name_does_not(tmp_path, dicom_series, volume, straight):
    dicom_series(tmp_path / "s", volume, straight)
    report = pydicom.data.get_testdata_file("test-SR.dcm", download=False)
    shutil.copy(report, tmp_path / "s" / "damaged.dcm")
    assert read(tmp_path / "s").array.shape == volume.shape
    cut = next(file for file in sorted((tmp_path / "s").iterdir()) if file.name != "damaged.dcm")
    cut.write_bytes(cut.read_bytes()[:-50])
    with pytest.raises(ScanError, match=rf"{cut.name} is cut or damaged"):
        read(tmp_path / "s")


def test_a_series_broken_off_in_its_second_volume_and_a_slice_taken_again(tmp_path, dicom_series, volume, straight):
    about = {"SeriesInstanceUID": generate_uid()}
    dicom_series(tmp_path / "1", volume, straight, AcquisitionNumber=1, **about)
    more = dicom_series(tmp_path / "2", volume, straight, AcquisitionNumber=2, **about)
    for file in more[2:]:
        file.unlink()
    assert read(tmp_path).extra["notes"] == ("volume 2 of 2 lacks 3 of 5 slices: they are shown empty",)
    more[1].unlink()
    again = read(tmp_path)
    assert again.axes == "zyx"
    assert again.extra["notes"] == ("1 slice lies where another one does, left out",)


@pytest.mark.parametrize("value", ["", "1.0", "nan\\nan", "0\\0", "unknown"])
def test_a_series_without_a_usable_spacing_says_that_sizes_count_pixels(
    tmp_path, dicom_series, volume, straight, value
):
    def spoil(found, n):
        found[0x00280030] = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag(0x00280030), "DS", len(value), value.encode(), 0, False, True
        )

    change(dicom_series(tmp_path, volume, straight), spoil)
    scan = read(tmp_path)
    assert (scan.units, scan.extra["notes"]) == ("pixel", ("its header gives no pixel spacing: sizes count pixels",))
    np.testing.assert_array_equal(scan.array, volume)


def test_a_negative_spacing_is_a_distance_and_a_slope_of_0_is_none(tmp_path, dicom_series, volume, straight):
    dicom_series(tmp_path / "plain", volume, straight)

    def spoil(found, n):
        found.PixelSpacing = [-one for one in found.PixelSpacing]
        found.RescaleSlope, found.RescaleIntercept = 0, 0

    change(dicom_series(tmp_path / "odd", volume, straight), spoil)
    plain, odd = read(tmp_path / "plain"), read(tmp_path / "odd")
    np.testing.assert_array_equal(odd.array, plain.array)
    np.testing.assert_allclose(odd.affine, plain.affine)


def test_an_empty_file_among_the_slices_is_named(tmp_path, dicom_series, volume, straight):
    files = dicom_series(tmp_path, volume, straight)
    files[-1].write_bytes(b"")
    assert read(tmp_path).extra["notes"] == (f"1 empty file left out: {files[-1].name}",)
