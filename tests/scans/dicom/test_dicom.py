from __future__ import annotations

import importlib.util
import itertools
import re
import shutil
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import RLELossless, generate_uid

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans import dicom, read, read_all
from napari_unet_tumour.scans.dicom import files as files_of

ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1.0, -1.0), repeat=3)))
PYDICOMS_OWN = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
MR_SMALL = next(path for path in PYDICOMS_OWN if path.name == "MR_small.dcm").read_bytes()
REFUSED = {
    "DICOMDIR-empty.dcm": "is a list of files",
    "ExplVR_BigEndNoMeta.dcm": "holds no pixels",
    "ExplVR_LitEndNoMeta.dcm": "holds no pixels",
    "JPEG-lossy.dcm": ".* codec",
    "JPEG2000-embedded-sequence-delimiter.dcm": ".* codec",
    "JPGExtended.dcm": ".* codec",
    "MR_truncated.dcm": "is cut or damaged",
    "UN_sequence.dcm": "holds no pixels",
    "badVR.dcm": "is cut or damaged",
    "empty_charset_LEI.dcm": "holds no pixels",
    "liver_1frame.dcm": "describes 3 frames and holds 1",
    "liver_expb_1frame.dcm": "describes 3 frames and holds 1",
    "meta_missing_tsyntax.dcm": "is cut or damaged",
    "nested_priv_SQ.dcm": "is cut or damaged",
    "no_meta.dcm": "holds no pixels",
    "no_meta_group_length.dcm": "holds no pixels",
    "priv_SQ.dcm": "holds no pixels",
    "reportsi.dcm": "holds no pixels",
    "reportsi_with_empty_number_tags.dcm": "holds no pixels",
    "rtplan.dcm": "holds no pixels",
    "rtplan_truncated.dcm": "holds no pixels",
    "rtstruct.dcm": "holds contours, which need the series that they were drawn on",
    "test-SR.dcm": "holds no pixels",
    "waveform_ecg.dcm": "holds no pixels",
}
CODECS = importlib.util.find_spec("gdcm") is not None and importlib.util.find_spec("openjpeg") is not None
STRAIGHT = ((0, 1, 2), (1.0, 1.0, 1.0))


def place_of(scan, value) -> np.ndarray:
    """Patient position (x, y, z) of the voxel with this value."""
    index = np.argwhere(np.asarray(scan.array) == value)[0]
    return (scan.world @ [*index, 1])[2::-1]


@pytest.mark.parametrize("angle", [0.0, 0.25])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_voxel_lies_where_dicom_says(tmp_path, dicom_series, volume, order, signs, angle, affine_of):
    lps = affine_of(order, signs, angle)
    dicom_series(tmp_path / "s", volume, lps)
    scan = read(tmp_path / "s")
    assert (scan.axes, scan.units, scan.modality, scan.name) == ("zyx", "mm", "CT", "axial head")
    for value in (0, 57, 209):
        k, r, c = np.argwhere(volume == value)[0]
        assert place_of(scan, value) == pytest.approx((lps @ [c, r, k, 1])[:3], abs=1e-3)


@pytest.mark.parametrize("angle", [0.0, 0.4])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_simpleitk_agrees(tmp_path, dicom_series, volume, order, signs, angle, affine_of):
    dicom_series(tmp_path / "s", volume, affine_of(order, signs, angle))
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "s"))
    other = SimpleITK.ReadImage(names)
    scan = read(tmp_path / "s")
    pixels = SimpleITK.GetArrayFromImage(other)
    for value in (3, 99, 200):
        k, r, c = (int(v) for v in np.argwhere(pixels == value)[0])
        assert place_of(scan, value) == pytest.approx(other.TransformIndexToPhysicalPoint((c, r, k)), abs=1e-3)


def test_slices_are_sorted_by_place_not_by_name_or_number(tmp_path, dicom_series, volume, affine_of):
    dicom_series(tmp_path, volume, affine_of(*STRAIGHT), InstanceNumber=lambda n: 99 - n)
    np.testing.assert_array_equal(read(tmp_path).array, volume)


def test_a_missing_slice_is_shown_empty_and_said(tmp_path, dicom_series, volume, affine_of):
    dicom_series(tmp_path, volume, affine_of(*STRAIGHT))[2].unlink()
    scan = read(tmp_path)
    assert scan.extra["notes"] == ("1 slice is missing and shown empty",)
    assert scan.array.shape == volume.shape
    np.testing.assert_array_equal(scan.array[[0, 1, 3, 4]], volume[[0, 1, 3, 4]])
    assert place_of(scan, 209) == pytest.approx((affine_of(*STRAIGHT) @ [6, 5, 4, 1])[:3], abs=1e-3)


def test_duplicates_are_left_out_and_said(tmp_path, dicom_series, volume, affine_of):
    files = dicom_series(tmp_path, volume, affine_of(*STRAIGHT))
    shutil.copy(files[1], tmp_path / "again.dcm")
    again = pydicom.dcmread(files[3])
    again.SOPInstanceUID = generate_uid()
    again.InstanceNumber = 77
    again.save_as(tmp_path / "same-place.dcm")
    scan = read(tmp_path)
    np.testing.assert_array_equal(scan.array, volume)
    assert len(scan.extra["notes"]) == 2


def test_uneven_spacing_and_tilt_are_said(tmp_path, dicom_series, volume, affine_of):
    uneven = [0.0, 5.0, 10.0, 16.5, 20.0]
    dicom_series(tmp_path / "u", volume, affine_of(*STRAIGHT), ImagePositionPatient=lambda n: [0, 0, uneven[n]])
    assert "varies" in read(tmp_path / "u").extra["notes"][0]
    dicom_series(tmp_path / "t", volume, affine_of(*STRAIGHT), ImagePositionPatient=lambda n: [0, n * 1.0, n * 5.0])
    tilted = read(tmp_path / "t")
    assert "tilted by 11.3 degrees" in tilted.extra["notes"][0]
    assert place_of(tilted, 4 * 42) == pytest.approx((0, 4, 20), abs=1e-3)


def test_places_that_repeat_become_time(tmp_path, dicom_series, volume, affine_of):
    dicom_series(tmp_path, volume, affine_of(*STRAIGHT), TemporalPositionIdentifier=1)
    series = pydicom.dcmread(next(tmp_path.iterdir())).SeriesInstanceUID
    dicom_series(
        tmp_path / "more",
        volume + np.int16(1000),
        affine_of(*STRAIGHT),
        SeriesInstanceUID=series,
        TemporalPositionIdentifier=2,
    )
    scan = read(tmp_path)
    assert scan.axes == "tzyx"
    np.testing.assert_array_equal(scan.array, np.stack([volume, volume + 1000]))


def test_several_series_are_a_choice(tmp_path, dicom_series, volume, affine_of):
    dicom_series(tmp_path / "a", volume, affine_of(*STRAIGHT))
    dicom_series(tmp_path / "b", volume[:3], affine_of(*STRAIGHT), SeriesDescription="short")
    with pytest.raises(ScanError, match=r"holds 2 series \(0: axial head \(5 slices\); 1: short \(3 slices\)\)"):
        read(tmp_path)
    assert read(tmp_path, series=1).array.shape == (3, 6, 7)
    assert [scan.name for scan in read_all(tmp_path)] == ["axial head", "short"]
    with pytest.raises(ScanError, match="number from 0 to 1"):
        read(tmp_path, series=2)


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept", "expected"),
    [("<i2", 1, 0, "int16"), ("<u2", 1, -1024, "int16"), ("<u2", 0.5, 3, "float32"), ("u1", 1, 0, "uint8")],
)
def test_values_are_rescaled_exactly(tmp_path, dicom_series, dtype, slope, intercept, expected, affine_of):
    array = np.arange(60).reshape(3, 4, 5).astype(dtype)
    dicom_series(tmp_path, array, affine_of(*STRAIGHT), RescaleSlope=slope, RescaleIntercept=intercept)
    scan = read(tmp_path)
    assert scan.array.dtype == expected
    np.testing.assert_array_equal(scan.array, array.astype(float) * slope + intercept)


def test_large_values_with_an_intercept_do_not_wrap(tmp_path, dicom_series, affine_of):
    array = np.array([[[0, 65535]], [[1, 2]]], "<u2")
    dicom_series(tmp_path, array, affine_of(*STRAIGHT), RescaleIntercept=-1024, RescaleSlope=1)
    np.testing.assert_array_equal(read(tmp_path).array, array.astype(int) - 1024)


def test_signs_in_few_bits_and_turned_grey_scales(tmp_path, dicom_series, affine_of):
    array = np.array([[[0x0FFF, 0x0001]]], "<u2").view("<i2")
    dicom_series(tmp_path / "s", array, affine_of(*STRAIGHT), BitsStored=12, HighBit=11)
    assert read(tmp_path / "s").array.tolist() == [[[-1, 1]]]
    light = np.array([[[0, 4095]]], "<u2")
    dicom_series(
        tmp_path / "m", light, affine_of(*STRAIGHT), BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1"
    )
    assert read(tmp_path / "m").array.tolist() == [[[4095, 0]]]


def test_the_scanners_window_is_kept(tmp_path, dicom_series, volume, affine_of):
    dicom_series(tmp_path, volume, affine_of(*STRAIGHT), WindowCenter=[40, 50], WindowWidth=[80, 350])
    assert read(tmp_path).extra["window"] == (40.0, 80.0)


def test_compressed_slices_open(tmp_path, dicom_series, volume, affine_of):
    for file in dicom_series(tmp_path, volume, affine_of(*STRAIGHT)):
        packed = pydicom.dcmread(file)
        packed.compress(RLELossless, generate_instance_uid=False)
        packed.save_as(file)
    np.testing.assert_array_equal(read(tmp_path).array, volume)


def test_enhanced_multiframe_files_open(tmp_path, dicom_series, volume, affine_of, enhanced):
    lps = affine_of((0, 2, 1), (1.0, -1.0, 1.0), 0.2)
    enhanced(tmp_path / "e.dcm", dicom_series(tmp_path / "s", volume, lps))
    one, many = read(tmp_path / "e.dcm"), read(tmp_path / "s")
    np.testing.assert_array_equal(one.array, many.array)
    np.testing.assert_allclose(one.affine, many.affine, atol=1e-3)


def test_the_patients_name_never_shows(tmp_path, dicom_series, volume, caplog, affine_of):
    dicom_series(tmp_path / "s", volume, affine_of(*STRAIGHT), SeriesDescription="JANE DOE brain")
    scan = read(tmp_path / "s")
    assert scan.name == "CT series 3"
    assert "doe" not in repr(scan.extra).lower()
    cut = next((tmp_path / "s").iterdir())
    cut.write_bytes(cut.read_bytes()[:-5])
    with pytest.raises(ScanError) as caught:
        read(tmp_path / "s")
    assert "doe" not in (str(caught.value) + caplog.text).lower()
    assert cut.name in str(caught.value)


@pytest.mark.parametrize("path", PYDICOMS_OWN, ids=lambda path: path.name)
def test_pydicoms_own_files_open_right_or_say_why_not(path):
    if path.name in REFUSED:
        with pytest.raises(ScanError, match=rf"^{re.escape(path.name)} {REFUSED[path.name]}"):
            read_all(path)
        return
    try:
        scans = read_all(path)
    except ScanError as error:
        if "codec" in str(error) and not CODECS:
            pytest.skip(str(error))
        raise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.dcmread(path, force=True)
    for scan in scans:
        assert min(scan.array.shape) > 0
        assert {found.Rows, found.Columns} <= set(scan.array.shape)
    if found.get("PhotometricInterpretation") == "MONOCHROME2" and found.get("Modality") in ("CT", "MR"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = found.pixel_array * float(found.get("RescaleSlope", 1)) + float(found.get("RescaleIntercept", 0))
        np.testing.assert_allclose(np.sort(scans[0].array, axis=None), np.sort(values, axis=None), rtol=1e-6)


def test_damage_is_named(tmp_path, dicom_series, volume, affine_of):
    file = dicom_series(tmp_path / "s", volume[:1], affine_of(*STRAIGHT))[0]
    whole = file.read_bytes()
    for length in (0, 100, 132, 140, 400, len(whole) - 60):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        with pytest.raises(ScanError, match=r"cut\.dcm "):
            read(tmp_path / "cut.dcm")


def test_other_kinds_of_bad_files_are_named(tmp_path, dicom_series, volume, affine_of):
    file = dicom_series(tmp_path / "s", volume[:1], affine_of(*STRAIGHT))[0]

    def with_(**changes):
        changed = pydicom.dcmread(file)
        for key, value in changes.items():
            setattr(changed, key, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            changed.save_as(tmp_path / "bad.dcm")
        return tmp_path / "bad.dcm"

    with pytest.raises(ScanError, match=r"bad\.dcm claims|bad\.dcm is cut"):
        read(with_(Rows=65535, Columns=65535))
    with pytest.raises(ScanError, match=r"bad\.dcm has an axis without pixels"):
        read(with_(Rows=0))
    flat = read(with_(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]))
    assert flat.extra["notes"] == ("its header gives no orientation: where it lies is not known",)
    nothing = pydicom.dcmread(file)
    del nothing.PixelData
    nothing.EncryptedAttributesSequence = [pydicom.Dataset()]
    nothing.save_as(tmp_path / "locked.dcm")
    with pytest.raises(ScanError, match=r"locked\.dcm is encrypted"):
        read(tmp_path / "locked.dcm")
    (tmp_path / "noise.dcm").write_bytes(b"noise" * 99)
    with pytest.raises(ScanError, match=r"noise\.dcm "):
        read(tmp_path / "noise.dcm")
    strange = pydicom.dcmread(file)
    strange.file_meta.TransferSyntaxUID = pydicom.uid.UID("1.2.3.4.5")
    strange.save_as(tmp_path / "strange.dcm", implicit_vr=False, little_endian=True)
    with pytest.raises(ScanError, match=r"strange\.dcm is stored in a way"):
        read(tmp_path / "strange.dcm")


def test_a_missing_codec_names_the_extra(tmp_path, dicom_series, volume, affine_of):
    file = dicom_series(tmp_path / "s", volume[:1], affine_of(*STRAIGHT))[0]
    found = pydicom.dcmread(file)
    found.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    found.PixelData = pydicom.encaps.encapsulate([b"\0" * 20])
    found["PixelData"].is_undefined_length = True
    found.save_as(tmp_path / "film.dcm", implicit_vr=False, little_endian=True)
    with pytest.raises(ScanError, match=r"film\.dcm is compressed as MPEG2.*napari-unet-tumour\[codecs\]"):
        read(tmp_path / "film.dcm")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(132, 2200), value=st.integers(0, 255))
def test_no_damage_crashes(tmp_path, at, value):
    data = bytearray(MR_SMALL)
    data[at] = value
    (tmp_path / "any.dcm").write_bytes(data)
    with suppress(ScanError):
        assert min(read(tmp_path / "any.dcm").array.shape) > 0


def test_a_file_without_suffix_and_a_folder_of_other_things(tmp_path, dicom_series, volume, affine_of):
    file = dicom_series(tmp_path / "s", volume[:1], affine_of(*STRAIGHT))[0]
    plain = file.rename(tmp_path / "IM0001")
    assert read(plain).array.shape == (1, 6, 7)
    (tmp_path / "s" / "note.txt").write_text("no scan")
    with pytest.raises(ScanError, match="s holds no scan"):
        read(tmp_path / "s")


def test_reading_can_be_stopped_between_files(tmp_path, dicom_series, volume, affine_of):
    dicom_series(tmp_path, volume, affine_of(*STRAIGHT))
    steps = dicom.iter_series(dicom.find_series(tmp_path)[0])
    assert [next(steps).done for _ in range(3)] == [1, 2, 3]
    steps.close()


def test_a_series_too_large_for_the_memory_is_opened_lazily(tmp_path, dicom_series, volume, affine_of, monkeypatch):
    dicom_series(tmp_path, volume, affine_of(*STRAIGHT), RescaleIntercept=-5, RescaleSlope=1)[3].unlink()
    monkeypatch.setattr(dicom, "memory_limit", lambda: 100)
    scan = read(tmp_path)
    assert not isinstance(scan.array, np.ndarray)
    np.testing.assert_array_equal(np.asarray(scan.array)[[0, 1, 2, 4]], volume[[0, 1, 2, 4]] - 5)


def test_headers_alone_hold_no_pixels_and_no_name(tmp_path, dicom_series, volume, affine_of):
    file = dicom_series(tmp_path, volume[:1], affine_of(*STRAIGHT))[0]
    (plane,) = files_of.read_planes(file)
    assert "doe" not in repr(plane).lower()
    assert plane.spacing == (0.9, 0.8)


@pytest.mark.parametrize(
    ("header", "sequence", "agent"),
    [
        ({"SeriesDescription": "AX T2 TSE"}, "T2", ""),
        ({"ProtocolName": "t1_mprage"}, "T1", ""),
        ({"SeriesDescription": "T1 post", "EchoTime": 100, "RepetitionTime": 5000}, "T1ce", ""),
        ({"EchoTime": 100, "RepetitionTime": 9000, "InversionTime": 2500}, "FLAIR", ""),
        ({"EchoTime": 80, "RepetitionTime": 3000, "DiffusionBValue": 1000.0}, "DWI", ""),
        ({"EchoTime": 9, "RepetitionTime": 550, "ContrastBolusAgent": "Gadovist"}, "T1", "Gadovist"),
        ({"EchoTime": 9, "RepetitionTime": 550, "ContrastBolusAgent": ""}, "T1", "not named"),
        ({"EchoTime": "", "RepetitionTime": None}, "", ""),
        ({"Modality": "CT", "SeriesDescription": "T1"}, None, None),
    ],
)
def test_the_header_tells_sequence_and_contrast_agent(
    tmp_path, dicom_series, volume, affine_of, header, sequence, agent
):
    dicom_series(tmp_path, volume, affine_of(*STRAIGHT), **{"Modality": "MR", **header})
    extra = read(tmp_path).extra
    assert (extra.get("sequence"), extra.get("contrast_agent")) == (sequence, agent)


def test_an_enhanced_file_tells_its_sequence_too(tmp_path, dicom_series, volume, affine_of, enhanced):
    from pydicom.dataset import Dataset

    enhanced(tmp_path / "e.dcm", dicom_series(tmp_path / "s", volume, affine_of((0, 1, 2), (1.0, 1.0, 1.0))))
    found = pydicom.dcmread(tmp_path / "e.dcm")
    shared, echo, timing = found.SharedFunctionalGroupsSequence[0], Dataset(), Dataset()
    echo.EffectiveEchoTime, timing.RepetitionTime = 98.0, 4500.0
    shared.MREchoSequence, shared.MRTimingAndRelatedParametersSequence, found.Modality = [echo], [timing], "MR"
    found.save_as(tmp_path / "e.dcm")
    assert read(tmp_path / "e.dcm").extra["sequence"] == "T2"
