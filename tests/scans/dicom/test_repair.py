"""Masks of series as anonymisers and other countries leave them; what is written is checked by others' programs."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK

from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.scans import check_mask, read, read_mask, write_mask
from napari_unet_tumour.scans.dicom import repair

LABELS = ("background", "Ödem", "腫\\瘍")
TYPE_2 = (
    "AccessionNumber", "StudyID", "PatientBirthDate", "PatientSex", "PatientName", "PatientID", "StudyDate",
    "StudyTime", "ReferringPhysicianName", "SliceThickness", "FrameOfReferenceUID", "SeriesNumber",
    "PositionReferenceIndicator",
)  # fmt: skip


@pytest.fixture
def series(tmp_path, dicom_series, volume, affine_of):
    """A series whose headers a function has changed, as a Scan."""

    def make(change=lambda found: None):
        files = dicom_series(tmp_path / "s", volume, affine_of((0, 1, 2), (1.0, 1.0, 1.0)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for file in files:
                found = pydicom.dcmread(file)
                change(found)
                found.save_as(file)
        return read(tmp_path / "s")

    return make


def raw(found, keyword, value):
    """Put a value that pydicom would not let through."""
    tag = pydicom.tag.Tag(keyword)
    kind = pydicom.datadict.dictionary_VR(tag)
    found[tag] = pydicom.dataelem.RawDataElement(tag, kind, len(value), value, 0, False, True)


def errors_of(path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    said = subprocess.run(["dciodvfy", path], capture_output=True, check=False)
    return [line for line in (said.stdout + said.stderr).splitlines() if line.startswith(b"Error")]


def mask_of(scan):
    mask = (np.asarray(scan.array) // 42 % 3).astype(np.uint8)
    mask[0] = 0
    return mask


def assert_sound(path, scan):
    """Write a mask and see that the standard is kept and that it comes back."""
    mask = mask_of(scan)
    check_mask(path, scan, LABELS)
    write_mask(path, mask, scan, LABELS)
    back = read_mask(path, onto=scan)
    np.testing.assert_array_equal(back.array, mask)
    return errors_of(path)


@pytest.mark.parametrize("how", ["removed", "empty"])
def test_a_series_without_what_may_be_empty(tmp_path, series, how):
    def change(found):
        for keyword in TYPE_2:
            if how == "removed":
                found.pop(keyword, None)
            else:
                setattr(found, keyword, None)

    assert assert_sound(tmp_path / "m.dcm", series(change)) == []


@pytest.mark.parametrize(
    ("keyword", "value", "wanted"),
    [
        ("StudyDate", b"2020-01-01", "20200101"),
        ("StudyDate", b"00000000", ""),
        ("PatientBirthDate", b"1970", ""),
        ("StudyTime", b"10:10:10", "101010"),
        ("StudyTime", b"99", ""),
        ("PatientSex", b"Female", "F"),
        ("PatientSex", b"?", ""),
        ("PatientAge", b"45", None),
        ("PatientWeight", b"70 kg", None),
        ("SeriesNumber", b"abc", "1000"),
        ("AccessionNumber", b"1" * 40, ""),
    ],
)
def test_a_bad_value_is_repaired_or_left_empty(tmp_path, series, keyword, value, wanted):
    scan = series(lambda found: raw(found, keyword, value))
    assert assert_sound(tmp_path / "m.dcm", scan) == []
    found = pydicom.dcmread(tmp_path / "m.dcm").get(keyword)
    assert (found if found is None else str(found)) == wanted


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 100", "Äneas^Rüdiger"),
    ],
)
@pytest.mark.parametrize("suffix", [".dcm", ".labelmap.dcm", ".rtstruct.dcm"])
def test_a_patient_and_labels_in_any_script(tmp_path, series, characters, name, suffix):
    def change(found):
        found.SpecificCharacterSet, found.PatientName = characters, name

    path = tmp_path / f"m{suffix}"
    scan = series(change)
    write_mask(path, mask_of(scan), scan, LABELS)
    found = pydicom.dcmread(path)
    assert str(found.PatientName) == name
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert read_mask(path).extra["names"] == ("background", "Ödem", "腫/瘍")


def test_utf8_that_is_not_said_is_read(tmp_path, series):
    def change(found):
        found.pop("SpecificCharacterSet", None)
        raw(found, "PatientName", "Müller^Jörg".encode())

    scan = series(change)
    write_mask(tmp_path / "m.dcm", mask_of(scan), scan)
    assert str(pydicom.dcmread(tmp_path / "m.dcm").PatientName) == "Müller^Jörg"


def test_what_cannot_be_made_up_is_named_before_there_is_a_mask(tmp_path, series):
    scan = series(lambda found: found.pop("StudyInstanceUID", None))
    with pytest.raises(OutputError, match=r"m\.dcm: .* has no StudyInstanceUID.*choose --format nifti"):
        check_mask(tmp_path / "m.dcm", scan, LABELS)


def test_segments_have_colours_and_slices_a_thickness(tmp_path, series):
    scan = series(lambda found: found.pop("SliceThickness", None))
    write_mask(tmp_path / "m.dcm", mask_of(scan), scan, LABELS)
    found = pydicom.dcmread(tmp_path / "m.dcm")
    colours = [segment.RecommendedDisplayCIELabValue for segment in found.SegmentSequence]
    assert len({tuple(colour) for colour in colours}) == 2
    measures = found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SliceThickness) == pytest.approx(scan.spacing[0])


@pytest.mark.parametrize("suffix", [".dcm", ".labelmap.dcm"])
def test_highdicom_reads_it(tmp_path, series, suffix):
    scan, path = series(), tmp_path / f"m{suffix}"
    mask = mask_of(scan)
    write_mask(path, mask, scan, LABELS)
    found = highdicom.seg.segread(path)
    assert found.segmentation_type.value == ("BINARY" if suffix == ".dcm" else "LABELMAP")
    volume = found.get_volume(combine_segments=True)
    assert {n: int((volume.array == n).sum()) for n in (1, 2)} == {n: int((mask == n).sum()) for n in (1, 2)}


def test_dcmqi_and_simpleitk_read_it(tmp_path, series):
    dcmqi = pytest.importorskip("dcmqi", reason="dcmqi is not installed (pip install dcmqi)")
    program = Path(dcmqi.__file__).parent / "bin" / "segimage2itkimage"
    scan = series()
    mask = mask_of(scan)
    write_mask(tmp_path / "m.dcm", mask, scan, LABELS)
    (tmp_path / "out").mkdir()
    words = ["--inputDICOM", tmp_path / "m.dcm", "--outputDirectory", tmp_path / "out", "--outputType", "nii"]
    subprocess.run([program, *words], capture_output=True, check=True)
    found = [SimpleITK.ReadImage(str(one)) for one in sorted((tmp_path / "out").glob("*.nii.gz"))]
    counts = [int((SimpleITK.GetArrayFromImage(one) > 0).sum()) for one in found]
    assert counts == [int((mask == n).sum()) for n in (1, 2)]
    assert found[0].GetSpacing() == pytest.approx(scan.spacing[::-1])


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="dcmdump (Debian's dcmtk) is not installed")
@pytest.mark.parametrize("suffix", [".dcm", ".labelmap.dcm", ".rtstruct.dcm"])
def test_dcmtk_reads_it(tmp_path, series, suffix):
    scan, path = series(), tmp_path / f"m{suffix}"
    write_mask(path, mask_of(scan), scan, LABELS)
    said = subprocess.run(["dcmdump", "+U8", path], capture_output=True, check=True)
    assert "Ödem".encode() in said.stdout


@pytest.mark.parametrize("suffix", [".dcm", ".labelmap.dcm", ".rtstruct.dcm"])
def test_a_mask_in_the_folder_of_its_series_does_not_change_it(tmp_path, series, suffix):
    scan = series()
    write_mask(tmp_path / "s" / f"s_mask{suffix}", mask_of(scan), scan, LABELS)
    np.testing.assert_array_equal(read(tmp_path / "s").array, scan.array)
    np.testing.assert_array_equal(read(tmp_path / "s", series=0).array, scan.array)


@pytest.mark.parametrize("text", ["a\\b", "\u00f6" * 80, " x\n", "\x1b[0m"])
def test_a_label_fits_its_element(text):
    found = repair.printable(text)
    assert 0 < len(found.encode()) <= 64
    assert "\\" not in found
    assert found == found.strip()
