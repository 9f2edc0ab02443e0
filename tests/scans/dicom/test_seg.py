from __future__ import annotations

import itertools

import highdicom
import numpy as np
import pydicom
import pytest

from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.scans import read, read_mask, write_mask
from napari_unet_tumour.scans.dicom import seg as dicom_seg
from napari_unet_tumour.scans.scan import Scan

ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1.0, -1.0), repeat=3)))
LABELS = ("background", "core", "rim")


def positions(scan, value) -> np.ndarray:
    index = np.argwhere(np.asarray(scan.array) == value)
    return in_order((np.c_[index, np.ones(len(index))] @ scan.world.T)[:, 2::-1])


def in_order(places) -> np.ndarray:
    return places[np.lexsort(places.round(2).T)]


def places_in_highdicom(path, value) -> np.ndarray:
    """Patient positions of the voxels of a segment, as highdicom reads them."""
    found = highdicom.seg.segread(path).get_volume(combine_segments=True)
    index = np.argwhere(found.array == value)
    return in_order((np.c_[index, np.ones(len(index))] @ found.affine.T)[:, :3])


@pytest.mark.parametrize("angle", [0.0, 0.25])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_a_mask_comes_back_to_the_same_places(tmp_path, dicom_series, volume, order, signs, angle, affine_of):
    dicom_series(tmp_path / "s", volume, affine_of(order, signs, angle))
    scan = read(tmp_path / "s")
    mask = np.zeros(scan.array.shape, np.uint8)
    mask[1:3, 2:4, 1:4], mask[2, 3, 3] = 1, 2
    write_mask(tmp_path / "seg.dcm", mask, scan, LABELS)
    back = read(tmp_path / "seg.dcm")
    for value in (1, 2):
        expected = positions(Scan(mask, "zyx", scan.affine), value)
        np.testing.assert_allclose(positions(back, value), expected, atol=1e-3)
        np.testing.assert_allclose(places_in_highdicom(tmp_path / "seg.dcm", value), expected, atol=1e-3)


def test_highdicom_reads_what_was_written(tmp_path, dicom_series, volume, affine_of):
    files = dicom_series(tmp_path / "s", volume, affine_of((0, 1, 2), (1.0, 1.0, 1.0)))
    scan = read(tmp_path / "s")
    mask = (np.asarray(scan.array) // 42 % 3).astype(np.uint8)
    mask[:, :2] = 0
    write_mask(tmp_path / "seg.dcm", mask, scan, LABELS)
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    for value in (1, 2):
        expected = positions(Scan(mask, "zyx", scan.affine), value)
        np.testing.assert_allclose(places_in_highdicom(tmp_path / "seg.dcm", value), expected, atol=1e-3)
    assert [seg.get_segment_description(n).SegmentLabel for n in (1, 2)] == ["core", "rim"]
    assert seg.get_segment_description(1).segmented_property_type.value == "108369006"
    assert seg.SeriesInstanceUID != pydicom.dcmread(files[0]).SeriesInstanceUID
    assert {uid for _, _, uid in seg.get_source_image_uids()} == {pydicom.dcmread(f).SOPInstanceUID for f in files}


def test_names_of_segments_come_back(tmp_path, dicom_series, volume, affine_of):
    dicom_series(tmp_path / "s", volume, affine_of((0, 1, 2), (1.0, 1.0, 1.0)))
    scan = read(tmp_path / "s")
    write_mask(tmp_path / "seg.dcm", np.ones(scan.array.shape, np.uint8), scan, LABELS)
    back = read_mask(tmp_path / "seg.dcm")
    assert back.extra["names"] == LABELS
    assert back.extra["labels"]


def test_a_mask_without_its_empty_slices_can_be_brought_onto_the_scan(tmp_path, dicom_series, volume, affine_of):
    dicom_series(tmp_path / "s", volume, affine_of((0, 2, 1), (1.0, -1.0, 1.0), 0.2))
    scan = read(tmp_path / "s")
    mask = np.zeros(scan.array.shape, np.uint8)
    mask[1:3, 2, 2:5] = 2
    write_mask(tmp_path / "seg.dcm", mask, scan, LABELS)
    assert read_mask(tmp_path / "seg.dcm").array.shape != mask.shape
    np.testing.assert_array_equal(read_mask(tmp_path / "seg.dcm", onto=scan).array, mask)


def test_frames_far_apart_keep_their_slices_where_no_distance_is_written(tmp_path, dicom_series, volume, affine_of):
    dicom_series(tmp_path / "s", volume, affine_of((0, 1, 2), (1.0, 1.0, 1.0)))
    scan = read(tmp_path / "s")
    mask = np.zeros(scan.array.shape, np.uint8)
    mask[0, 2:4, 1:4] = mask[-1, 1:3, 1:4] = 1
    write_mask(tmp_path / "seg.dcm", mask, scan)
    found = pydicom.dcmread(tmp_path / "seg.dcm")
    measures = found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    del measures.SpacingBetweenSlices
    measures.SliceThickness = scan.spacing[0]
    found.FrameOfReferenceUID = pydicom.uid.generate_uid()
    found.save_as(tmp_path / "seg.dcm")
    moved = read_mask(tmp_path / "seg.dcm", onto=scan)
    np.testing.assert_array_equal(moved.array, mask)
    assert "names another frame of reference" in moved.extra["notes"][-1]


def test_enhanced_sources_work(tmp_path, dicom_series, volume, affine_of, enhanced):
    enhanced(tmp_path / "e.dcm", dicom_series(tmp_path / "s", volume, affine_of((0, 1, 2), (1.0, 1.0, 1.0))))
    scan = read(tmp_path / "e.dcm")
    mask = (np.asarray(scan.array) % 2).astype(np.uint8)
    write_mask(tmp_path / "seg.dcm", mask, scan)
    np.testing.assert_array_equal(read(tmp_path / "seg.dcm").array, mask)


def test_a_missing_slice_and_an_empty_mask_do_no_harm(tmp_path, dicom_series, volume, affine_of):
    dicom_series(tmp_path / "s", volume, affine_of((0, 1, 2), (1.0, 1.0, 1.0)))[1].unlink()
    scan = read(tmp_path / "s")
    write_mask(tmp_path / "empty.dcm", np.zeros(scan.array.shape, np.uint8), scan)
    assert not read(tmp_path / "empty.dcm").array.any()
    mask = np.ones(scan.array.shape, np.uint8)
    write_mask(tmp_path / "full.dcm", mask, scan)
    np.testing.assert_array_equal(read_mask(tmp_path / "full.dcm", onto=scan).array, mask)


def test_what_cannot_be_written_is_refused(tmp_path, dicom_series, volume, affine_of):
    plain = Scan(volume, "zyx", np.eye(4), "mm", "plain")
    with pytest.raises(OutputError, match="'plain' is no DICOM series"):
        write_mask(tmp_path / "a.dcm", np.zeros(volume.shape, np.uint8), plain)
    files = dicom_series(tmp_path / "s", volume, affine_of((0, 1, 2), (1.0, 1.0, 1.0)))
    scan = read(tmp_path / "s")
    with pytest.raises(OutputError, match="not probability"):
        write_mask(tmp_path / "a.dcm", np.zeros(volume.shape, np.float32), scan)
    with pytest.raises(OutputError, match="resample"):
        write_mask(tmp_path / "a.dcm", np.zeros((5, 6, 8), np.uint8), scan)
    files[0].unlink()
    with pytest.raises(OutputError, match="source series is gone"):
        write_mask(tmp_path / "a.dcm", np.ones(volume.shape, np.uint8), scan)
    assert not (tmp_path / "a.dcm").exists()


def test_a_fractional_segmentation_counts_from_one_half(tmp_path, dicom_series, volume, affine_of):
    files = dicom_series(tmp_path / "s", volume, affine_of((0, 2, 1), (1.0, -1.0, 1.0), 0.2))
    sure = np.linspace(0, 1, volume.size).reshape(volume.shape)
    made = dicom_seg._segmentation(
        tmp_path / "f.dcm", [pydicom.dcmread(f) for f in files], sure[..., None], ("core",), kind="FRACTIONAL"
    )
    made.save_as(tmp_path / "f.dcm")
    back, scan = read_mask(tmp_path / "f.dcm"), read(tmp_path / "s")
    assert back.array.dtype == np.uint8
    assert any("one half" in note for note in back.extra["notes"])
    expected = Scan((np.asarray(scan.array) > np.median(volume)).astype(np.uint8), "zyx", scan.affine)
    np.testing.assert_allclose(positions(back, 1), positions(expected, 1), atol=1e-3)


def test_a_segmentation_of_another_kind_is_refused(tmp_path, dicom_series, volume, affine_of):
    dicom_series(tmp_path / "s", volume, affine_of((0, 1, 2), (1.0, 1.0, 1.0)))
    scan = read(tmp_path / "s")
    write_mask(tmp_path / "seg.dcm", np.ones(scan.array.shape, np.uint8), scan)
    found = pydicom.dcmread(tmp_path / "seg.dcm")
    found.SegmentationType = "ODD"
    found.save_as(tmp_path / "seg.dcm")
    with pytest.raises(ScanError, match=r"seg\.dcm holds a ODD segmentation"):
        read(tmp_path / "seg.dcm")


def test_label_maps_of_others_open_as_labels(tmp_path, dicom_series, volume, affine_of):
    files = dicom_series(tmp_path / "s", volume, affine_of((0, 1, 2), (1.0, 1.0, 1.0)))
    scan = read(tmp_path / "s")
    mask = (np.asarray(scan.array) // 42 % 3).astype(np.uint8)
    made = dicom_seg._segmentation(
        tmp_path / "l.dcm", [pydicom.dcmread(f) for f in files], mask, ("core", "rim"), kind="LABELMAP"
    )
    made.save_as(tmp_path / "l.dcm")
    back = read(tmp_path / "l.dcm")
    assert back.extra["labels"]
    for value in (1, 2):
        np.testing.assert_allclose(positions(back, value), positions(Scan(mask, "zyx", scan.affine), value), atol=1e-3)


def test_a_dicom_mask_lands_on_its_nifti_twin(tmp_path, dicom_series, volume, affine_of):
    dicom_series(tmp_path / "s", volume, affine_of((1, 2, 0), (1.0, -1.0, -1.0), 0.3))
    scan = read(tmp_path / "s")
    mask = (np.asarray(scan.array) > 150).astype(np.uint8)
    write_mask(tmp_path / "m.nii.gz", mask, scan)
    back = read_mask(tmp_path / "m.nii.gz")
    np.testing.assert_allclose(positions(back, 1), positions(Scan(mask, "zyx", scan.affine), 1), atol=1e-3)
