"""The lesion report as a DICOM structured report, read back with highdicom and checked with other programs."""

import json
import shutil
import subprocess
import warnings
from dataclasses import replace

import nibabel
import numpy as np
import pydicom
import pytest

from napari_unet_tumour import scans
from napari_unet_tumour.cli import main
from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.measure import check_dicom_sr, compare, measure, write_dicom_sr
from napari_unet_tumour.measure.lesion_map import lesion_map

highdicom = pytest.importorskip("highdicom", reason="comes with the extra 'dicom'")
NAMES = ("background", "tumour", "œdème")
ORIENTATIONS = [((0, 1, 2), (1.0, 1.0, 1.0)), ((1, 2, 0), (-1.0, 1.0, -1.0)), ((0, 2, 1), (1.0, -1.0, 1.0))]


@pytest.fixture
def make(tmp_path, dicom_series, affine_of):
    """Function that writes a series and returns it as a scan, with a mask of three lesions."""

    def make(orientation=0, planes=6, **more):
        grey = np.random.default_rng(0).integers(0, 90, (planes, 40, 44)).astype(np.int16)
        dicom_series(tmp_path / "s", grey, affine_of(*ORIENTATIONS[orientation]), **{"Modality": "MR"} | more)
        scan = scans.read(tmp_path / "s")
        mask = np.zeros(grey.shape, np.uint8)
        mask[1:3, 5:15, 5:25] = 1
        mask[2:5, 30:37, 30:35] = 1
        mask[3:4, 20:23, 4:9] = 2
        mask = mask.transpose([grey.shape.index(n) for n in scan.array.shape])
        return scan, replace(scan, array=mask, name="mask")

    return make


def read_back(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return highdicom.sr.EnhancedSR.from_dataset(pydicom.dcmread(path))


def figures(group):
    """Every measurement of a group: what it is -> value and unit."""
    return {one.name.meaning: (one.value, one.unit.value) for one in group.get_measurements()}


def errors_of(path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    said = subprocess.run(["dciodvfy", path], capture_output=True, check=False)
    return [line for line in (said.stdout + said.stderr).splitlines() if line.startswith(b"Error")]


@pytest.mark.parametrize("orientation", range(len(ORIENTATIONS)))
def test_every_figure_of_the_report_is_in_the_document(tmp_path, make, orientation):
    scan, mask = make(orientation)
    report = measure(mask, scan, labels=NAMES, model="my model", model_hash="abc123")
    path, seg_path = write_dicom_sr(tmp_path / "r.dcm", report, mask, scan)
    groups = read_back(path).content.get_volumetric_roi_measurement_groups()
    assert len(groups) == len(report.lesions) == 3
    seg = pydicom.dcmread(seg_path)
    for group, lesion, segment in zip(groups, report.lesions, seg.SegmentSequence, strict=True):
        found = figures(group)
        assert {unit for _, unit in found.values()} == {"ml", "mm", "mm2", "1"}
        assert found["Volume"][0] == pytest.approx(lesion.volume)
        assert found["Long axis"][0] == pytest.approx(lesion.longest)
        assert found["Short axis"][0] == pytest.approx(lesion.perpendicular)
        assert found["Area"][0] == pytest.approx(lesion.area)
        assert found["Product of long and short axis (RANO)"][0] == pytest.approx(lesion.product)
        assert found["Number of slices"][0] == lesion.slices
        assert found["MR signal intensity"][0] == pytest.approx(lesion.brightness.mean)
        assert group.tracking_identifier == f"lesion {lesion.number}: {lesion.name}" == segment.TrackingID
        assert group.tracking_uid == segment.TrackingUID
        item = group.referenced_segment[0].ReferencedSOPSequence[0]
        assert item.ReferencedSOPInstanceUID == seg.SOPInstanceUID
        assert item.ReferencedSegmentNumber == segment.SegmentNumber == lesion.number
    assert errors_of(path) == errors_of(seg_path) == []


def test_the_segments_are_the_lesions_pixel_by_pixel(tmp_path, make):
    scan, mask = make(1)
    report = measure(mask, scan, labels=NAMES)
    _, seg_path = write_dicom_sr(tmp_path / "r.dcm", report, mask, scan)
    back = np.asarray(scans.read_mask(seg_path, onto=scan).array)
    np.testing.assert_array_equal(back > 0, mask.array > 0)
    np.testing.assert_array_equal(back, lesion_map(report, mask))
    assert [int((back == one.number).sum()) for one in report.lesions] == [one.voxels for one in report.lesions]
    for one in report.lesions:
        assert set(np.unique(mask.array[back == one.number])) == {one.label}


def test_model_program_and_that_it_is_no_medical_device_can_be_read(tmp_path, make):
    scan, mask = make()
    report = measure(mask, scan, labels=NAMES, model="my model", model_hash="abc123")
    path, _ = write_dicom_sr(tmp_path / "r.dcm", report, mask, scan)
    found = pydicom.dcmread(path)
    texts = [str(element.value) for element in found.iterall() if element.keyword == "TextValue"]
    assert {"my model", "model hash: abc123", "Research use only: not a medical device."} <= set(texts)
    assert report.version in texts
    assert "research use only" in found.SeriesDescription
    assert (found.VerificationFlag, found.PreliminaryFlag, found.Modality) == ("UNVERIFIED", "PRELIMINARY", "SR")
    assert (found.PatientID, found.StudyInstanceUID) == (
        "4711",
        pydicom.dcmread(next((tmp_path / "s").iterdir())).StudyInstanceUID,
    )
    if shutil.which("dsrdump"):
        done = subprocess.run(["dsrdump", path], capture_output=True, text=True, check=True)
        assert "Measurement Group" in done.stdout


def test_all_images_of_the_series_and_the_segmentation_are_the_evidence(tmp_path, make):
    scan, mask = make()
    path, seg_path = write_dicom_sr(tmp_path / "r.dcm", measure(mask, scan), mask, scan)
    (study,) = pydicom.dcmread(path).CurrentRequestedProcedureEvidenceSequence
    named = {
        one.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    there = {pydicom.dcmread(file).SOPInstanceUID for file in (tmp_path / "s").iterdir()}
    assert named == there | {pydicom.dcmread(seg_path).SOPInstanceUID}


def test_totals_and_change_since_the_earlier_mask(tmp_path, make):
    scan, mask = make()
    before = replace(mask, array=(mask.array == 1).astype(np.uint8) * (np.arange(44) < 20).astype(np.uint8))
    report = measure(mask, scan, labels=NAMES)
    change = compare(report, measure(before, labels=NAMES))
    path, _ = write_dicom_sr(tmp_path / "r.dcm", report, mask, scan, change)
    groups = read_back(path).content.get_image_measurement_groups()
    assert [one.tracking_identifier for one in groups] == ["all lesions: tumour", "all lesions: œdème"]
    for group, total, one in zip(groups, report.totals, change.changes, strict=True):
        found = figures(group)
        assert found["Volume"] == (pytest.approx(total.volume), "ml")
        assert found["Number of lesions"][0] == total.lesions
        assert found["Sum of the five largest products (RANO)"][0] == pytest.approx(total.product_sum)
        assert found["Volume in the earlier mask"][0] == pytest.approx(one.volume_before)
        if one.volume_change is None:
            assert "Change of volume since the earlier mask" not in found
        else:
            assert found["Change of volume since the earlier mask"] == (pytest.approx(one.volume_change), "%")
        assert one.category in [said.value.meaning for said in group.get_qualitative_evaluations()]
    assert errors_of(path) == []


def test_a_mask_without_lesions_is_a_report_without_a_segmentation(tmp_path, make):
    scan, mask = make()
    empty = replace(mask, array=np.zeros_like(mask.array))
    for name, labels in (("a.dcm", ()), ("b.dcm", NAMES)):
        assert write_dicom_sr(tmp_path / name, measure(empty, scan, labels=labels), empty, scan) == (tmp_path / name,)
        groups = read_back(tmp_path / name).content.get_image_measurement_groups()
        assert [figures(group)["Number of lesions"][0] for group in groups] == [0] * max(len(labels) - 1, 1)
        assert errors_of(tmp_path / name) == []


def test_a_missing_slice_and_files_of_several_frames(tmp_path, make, enhanced, dicom_series, affine_of):
    grey = np.arange(6 * 20 * 22, dtype=np.int16).reshape(6, 20, 22)
    files = dicom_series(tmp_path / "t", grey, affine_of(*ORIENTATIONS[0]))
    (tmp_path / "e").mkdir()
    enhanced(tmp_path / "e" / "all.dcm", files)
    files[2].unlink()
    for folder in ("t", "e"):
        scan = scans.read(tmp_path / folder)
        array = np.zeros(scan.array.shape, np.uint8)
        array[1:5, 3:9, 3:9] = 1
        mask = replace(scan, array=array, name="mask")
        path, seg_path = write_dicom_sr(tmp_path / f"{folder}.dcm", measure(mask, scan), mask, scan)
        np.testing.assert_array_equal(np.asarray(scans.read_mask(seg_path, onto=scan).array), array)
        named = {str(e.value) for e in pydicom.dcmread(path).iterall() if e.keyword == "ReferencedSOPInstanceUID"}
        there = {str(pydicom.dcmread(file).SOPInstanceUID) for file in (tmp_path / folder).iterdir()}
        studies = {str(pydicom.dcmread(path).StudyInstanceUID)}
        assert named <= there | studies | {str(pydicom.dcmread(seg_path).SOPInstanceUID)}
        assert errors_of(path) == []


def test_sizes_in_pixels_stay_pixels_and_ct_has_hounsfield_units(tmp_path, make):
    scan, mask = make(Modality="CT")
    path, _ = write_dicom_sr(tmp_path / "r.dcm", measure(mask, scan, units="pixel"), mask, scan)
    found = figures(read_back(path).content.get_volumetric_roi_measurement_groups()[0])
    assert found["Volume"] == (400.0, "{pixels}")
    assert found["Long axis"][1] == "{pixels}"
    assert found["Attenuation Coefficient"][1] == "[hnsf'U]"


def test_one_slice(tmp_path, make):
    scan, _ = make(planes=1)
    array = np.zeros(scan.array.shape, np.uint8)
    array[..., 3:9, 3:9] = 1
    mask = replace(scan, array=array, name="mask")
    path, seg_path = write_dicom_sr(tmp_path / "r.dcm", measure(mask, scan), mask, scan)
    np.testing.assert_array_equal(np.asarray(scans.read_mask(seg_path).array).reshape(array.shape), array)
    assert errors_of(path) == []


def test_what_cannot_have_a_report_gets_one_line_and_nothing_is_written(tmp_path, make):
    scan, mask = make()
    report = measure(mask, scan)
    plain = replace(scan, extra={})
    with pytest.raises(OutputError, match=r"was not read from DICOM.*--html"):
        write_dicom_sr(tmp_path / "r.dcm", report, mask, plain)
    with pytest.raises(OutputError, match="the scan was not read from DICOM"):
        check_dicom_sr(tmp_path / "r.dcm", None)
    specks = replace(mask, array=(np.indices(mask.array.shape) % 2 == 0).all(axis=0).astype(np.uint8))
    with pytest.raises(OutputError, match="separate pieces"):
        write_dicom_sr(tmp_path / "r.dcm", measure(specks), specks, scan)
    changed = replace(mask, array=np.where(mask.array == 2, 0, mask.array))
    with pytest.raises(ScanError, match="changed since it was measured"):
        write_dicom_sr(tmp_path / "r.dcm", report, changed, scan)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_only_an_earlier_report_is_replaced(tmp_path, make):
    scan, mask = make()
    report = measure(mask, scan)
    write_dicom_sr(tmp_path / "r.dcm", report, mask, scan)
    write_dicom_sr(tmp_path / "r.dcm", report, mask, scan)
    drawn = tmp_path / "head_seg.dcm"
    scans.write_mask(drawn, mask.array, scan)
    old = drawn.read_bytes()
    with pytest.raises(OutputError, match=r"head_seg\.dcm is no earlier report"):
        write_dicom_sr(tmp_path / "head.dcm", report, mask, scan)
    image = next((tmp_path / "s").iterdir())
    with pytest.raises(OutputError, match="choose another name"):
        write_dicom_sr(image, report, mask, scan)
    assert drawn.read_bytes() == old
    assert not (tmp_path / "head.dcm").exists()


def test_the_command_writes_it_beside_the_series_which_opens_as_before(tmp_path, make, capsys):
    scan, mask = make()
    scans.write_mask(tmp_path / "mask.nii.gz", mask.array, scan)
    out = tmp_path / "s" / "report.dcm"
    given = ["measure", str(tmp_path / "s"), str(tmp_path / "mask.nii.gz"), "--sr", str(out)]
    assert main([*given, "--json", str(tmp_path / "r.json")]) == 0
    assert "report_seg.dcm" in capsys.readouterr().out
    wanted = json.loads((tmp_path / "r.json").read_text())["lesions"]
    groups = read_back(out).content.get_volumetric_roi_measurement_groups()
    assert [figures(one)["Volume"][0] for one in groups] == pytest.approx([one["volume"] for one in wanted])
    assert [figures(one)["Long axis"][0] for one in groups] == pytest.approx([one["longest"] for one in wanted])
    np.testing.assert_array_equal(scans.read(tmp_path / "s").array, scan.array)


def test_the_command_says_before_measuring_that_a_scan_is_not_dicom(tmp_path, capsys):
    for name in ("scan", "mask"):
        nibabel.save(nibabel.Nifti1Image(np.ones((9, 9, 3), np.uint8), np.eye(4)), tmp_path / f"{name}.nii.gz")
    given = ["measure", str(tmp_path / "scan.nii.gz"), str(tmp_path / "mask.nii.gz"), "--sr", str(tmp_path / "r.dcm")]
    assert main(given) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: r.dcm: 'scan' was not read from DICOM")
    assert error.count("\n") == 1
    assert not (tmp_path / "r.dcm").exists()
