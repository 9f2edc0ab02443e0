from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.scans import check_mask, read, read_mask, write_mask
from napari_unet_tumour.scans.scan import Scan

LABELS = ("background", "Ödem", "腫瘍", "never")


@pytest.fixture
def ball(tmp_path, dicom_series, affine_of):
    """A series and a mask with a hole, and a second label: (scan, mask)."""

    def make(order=(0, 1, 2), signs=(1.0, 1.0, 1.0), angle=0.0):
        r, c, s = np.indices((24, 30, 10)).astype(float)
        away = np.hypot(np.hypot((r - 12) / 8, (c - 14) / 9), (s - 4.5) / 3.5)
        series = np.where(away < 1, 400, 20).astype(np.int16).transpose(2, 0, 1)
        dicom_series(tmp_path / "s", np.ascontiguousarray(series), affine_of(order, signs, angle, (0.9, 0.8, 3.0)))
        scan = read(tmp_path / "s")
        mask = (np.asarray(scan.array) > 200).astype(np.uint8)
        middle = tuple(n // 2 for n in mask.shape)
        mask[tuple(slice(n - 2, n + 1) for n in middle)] = 0
        mask[middle] = 2
        return scan, mask

    return make


@pytest.mark.parametrize("angle", [0.0, 0.25])
@pytest.mark.parametrize(
    ("order", "signs"), [((0, 1, 2), (1.0, 1.0, 1.0)), ((1, 2, 0), (1.0, -1.0, -1.0)), ((0, 2, 1), (-1.0, -1.0, 1.0))]
)
def test_a_mask_comes_back(tmp_path, ball, order, signs, angle):
    scan, mask = ball(order, signs, angle)
    write_mask(tmp_path / "m.rtstruct.dcm", mask, scan, LABELS)
    back = read_mask(tmp_path / "m.rtstruct.dcm")
    np.testing.assert_array_equal(back.array, mask)
    np.testing.assert_allclose(back.affine, scan.affine, atol=1e-6)
    assert back.extra["names"] == LABELS
    assert read(tmp_path / "m.rtstruct.dcm").extra["labels"]


def test_volumes_agree_on_a_grid_of_another_direction(tmp_path, ball):
    scan, mask = ball(angle=0.25)
    write_mask(tmp_path / "m.rtstruct.dcm", mask, scan, LABELS)
    corner = scan.world[:3, 3] - 15
    grid = Scan(np.zeros((64, 64, 64)), "zyx", np.diag([0.8, 0.8, 0.8, 1.0]), "mm", "other")
    grid.world[:3, 3] = corner
    found = read_mask(tmp_path / "m.rtstruct.dcm", onto=grid).array
    wanted = (mask > 0).sum() * abs(np.linalg.det(scan.world))
    assert (found > 0).sum() * 0.8**3 == pytest.approx(wanted, rel=0.05)


def test_the_contours_of_others_are_closed_polygons_of_the_frame(tmp_path, ball):
    scan, mask = ball()
    write_mask(tmp_path / "m.rtstruct.dcm", mask, scan, LABELS)
    found = pydicom.dcmread(tmp_path / "m.rtstruct.dcm")
    source = {plane.head.instance for plane in scan.extra["dicom"]["planes"]}
    assert [roi.ROIName for roi in found.StructureSetROISequence] == list(LABELS[1:])
    assert found.PatientID == "4711"
    area = 0.0
    for contour in found.ROIContourSequence[0].ContourSequence:
        assert contour.ContourGeometricType == "CLOSED_PLANAR"
        assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID in source
        x, y, _ = np.asarray(contour.ContourData, float).reshape(-1, 3).T
        area += abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area * 3.0 == pytest.approx((mask == 1).sum() * abs(np.linalg.det(scan.world)), rel=0.02)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed")
def test_the_standard_is_kept(tmp_path, ball):
    scan, mask = ball()
    write_mask(tmp_path / "m.rtstruct.dcm", mask, scan, LABELS)
    said = subprocess.run(["dciodvfy", tmp_path / "m.rtstruct.dcm"], capture_output=True, check=False)
    assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith(b"Error")] == []


def test_without_its_series_it_is_filled_in_on_a_given_scan_or_refused(tmp_path, ball):
    scan, mask = ball()
    write_mask(tmp_path / "far" / "off" / "m.dcm", mask, scan)
    (tmp_path / "far" / "off" / "m.dcm").unlink()
    write_mask(tmp_path / "far" / "off" / "m.rtstruct.dcm", mask, scan, LABELS)
    with pytest.raises(ScanError, match=r"m\.rtstruct\.dcm holds contours.*put the series' folder beside"):
        read_mask(tmp_path / "far" / "off" / "m.rtstruct.dcm")
    nifti = replace(scan, extra={})
    np.testing.assert_array_equal(read_mask(tmp_path / "far" / "off" / "m.rtstruct.dcm", contours_on=nifti).array, mask)
    moved = replace(nifti, affine=scan.world + np.array([[0, 0, 0, 900.0]] * 3 + [[0] * 4]))
    with pytest.raises(ScanError, match="outside"):
        read_mask(tmp_path / "far" / "off" / "m.rtstruct.dcm", onto=moved)


def test_an_empty_mask_and_beside_its_series(tmp_path, ball):
    scan, mask = ball()
    write_mask(tmp_path / "s" / "m.rtstruct.dcm", np.zeros_like(mask), scan)
    assert not read_mask(tmp_path / "s" / "m.rtstruct.dcm").array.any()
    np.testing.assert_array_equal(read(tmp_path / "s").array, scan.array)


def test_what_cannot_have_contours_is_refused_before_there_is_a_mask(tmp_path, volume):
    plain = Scan(volume, "zyx", np.eye(4), "mm", "plain")
    with pytest.raises(OutputError, match="'plain' is no DICOM series"):
        check_mask(tmp_path / "m.rtstruct.dcm", plain)
