"""The frame of reference of scans: read from DICOM and NIfTI, compared, and carried to layers."""

import itertools

import nibabel
import numpy as np
import pytest
from pydicom.uid import generate_uid

from napari_unet_tumour.scans import read, read_mask, write_mask
from napari_unet_tumour.scans.frame_of_reference import FrameRelation, frame_relation
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.widgets.readers_writers import layer_of

SAME, DIFFERENT, UNKNOWN = FrameRelation.SAME, FrameRelation.DIFFERENT, FrameRelation.UNKNOWN
VOLUME = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
LPS = np.diag([1.0, 1.0, 3.0, 1.0])


def nifti(path, sform, qform):
    image = nibabel.Nifti1Image(VOLUME, np.diag([-1.0, -1.0, 3.0, 1.0]))
    image.set_qform(image.affine, code=qform)
    image.set_sform(image.affine, code=sform)
    nibabel.save(image, path)
    return read(path)


def test_dicom_series_of_one_frame_and_of_others(tmp_path, dicom_series):
    uid = generate_uid()
    dicom_series(tmp_path / "a", VOLUME, LPS, FrameOfReferenceUID=uid)
    dicom_series(tmp_path / "b", VOLUME, LPS, FrameOfReferenceUID=uid)
    dicom_series(tmp_path / "c", VOLUME, LPS)
    a, b, c = (read(tmp_path / name) for name in "abc")
    assert a.frame_of_reference == b.frame_of_reference == str(uid)
    assert c.frame_of_reference not in ("", str(uid))
    assert [frame_relation(a, one) for one in (b, c)] == [SAME, DIFFERENT]
    _, about, _ = layer_of(a)
    assert about["metadata"]["frame_of_reference"] == str(uid)
    assert about["metadata"]["napari-unet-tumour"]["grid"].frame_of_reference == str(uid)


def test_a_dicom_series_without_one(tmp_path, dicom_series):
    dicom_series(tmp_path / "a", VOLUME, LPS, FrameOfReferenceUID="")
    dicom_series(tmp_path / "b", VOLUME, LPS)
    scan = read(tmp_path / "a")
    assert scan.frame_of_reference == ""
    assert frame_relation(scan, read(tmp_path / "b")) is UNKNOWN
    assert frame_relation(scan, scan) is SAME


def test_slices_of_another_frame_are_not_read_like_the_ones_before(tmp_path, dicom_series):
    from napari_unet_tumour.scans.dicom.files import read_planes

    uids = [generate_uid() for _ in range(2)]
    files = dicom_series(tmp_path, VOLUME, LPS, FrameOfReferenceUID=lambda n: uids[n > 1])
    known = {}
    found = [read_planes(file, known)[0].head.frame for file in files]
    assert found == [str(uids[0])] * 2 + [str(uids[1])] * 2


def test_a_mask_written_as_dicom_keeps_the_frame_of_its_scan(tmp_path, dicom_series):
    dicom_series(tmp_path / "a", VOLUME, LPS)
    scan = read(tmp_path / "a")
    mask = np.zeros(scan.array.shape, np.uint8)
    mask[1:3, 1:4, 2:5] = 1
    for name in ("m.dcm", "m.labelmap.dcm"):
        write_mask(tmp_path / name, mask, scan)
        assert read_mask(tmp_path / name).frame_of_reference == scan.frame_of_reference
    write_mask(tmp_path / "m.rtstruct.dcm", mask, scan)
    assert read_mask(tmp_path / "m.rtstruct.dcm", contours_on=scan).frame_of_reference == scan.frame_of_reference


@pytest.mark.parametrize(
    ("sform", "qform", "expected"),
    [(1, 0, "nifti:1"), (0, 1, "nifti:1"), (2, 1, "nifti:2"), (4, 1, "nifti:4"), (0, 0, ""), (3, 0, "nifti:3")],
)
def test_what_a_nifti_header_says(tmp_path, sform, qform, expected):
    assert nifti(tmp_path / "a.nii.gz", sform, qform).frame_of_reference == expected


EXPECTED = {
    frozenset(("nifti:3",)): SAME,
    frozenset(("nifti:4",)): SAME,
    frozenset(("1.2.3",)): SAME,
    frozenset(("1.2.3", "1.2.4")): DIFFERENT,
    frozenset(("1.2.3", "nifti:4")): DIFFERENT,
    frozenset(("nifti:3", "nifti:4")): DIFFERENT,
    frozenset(("1.2.3", "nifti:3")): DIFFERENT,
    frozenset(("1.2.4", "nifti:3")): DIFFERENT,
    frozenset(("1.2.4", "nifti:4")): DIFFERENT,
    frozenset(("1.2.4",)): SAME,
    frozenset(("nifti:1", "nifti:3")): DIFFERENT,
    frozenset(("nifti:1", "nifti:4")): DIFFERENT,
}


def test_all_pairs_of_frames():
    names = ("", "1.2.3", "1.2.4", "nifti:1", "nifti:2", "nifti:3", "nifti:4", "nifti:5")
    for one, other in itertools.product(names, repeat=2):
        pair = [Scan(VOLUME, "zyx", source=path, frame_of_reference=name) for path, name in (("a", one), ("b", other))]
        assert frame_relation(*pair) is EXPECTED.get(frozenset((one, other)), UNKNOWN), (one, other)


def test_one_file_opened_twice_lies_in_one_frame(tmp_path):
    first = nifti(tmp_path / "a.nii", 1, 0)
    assert frame_relation(first, read(tmp_path / "a.nii")) is SAME
    assert frame_relation(first, nifti(tmp_path / "b.nii", 1, 0)) is UNKNOWN
