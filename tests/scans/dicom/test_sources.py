"""Masks of series whose frames share files, or of which slices are missing, refer to what is really there."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.scans import check_mask, read, read_mask, write_mask

SUFFIXES = (".dcm", ".labelmap.dcm", ".rtstruct.dcm")
STRAIGHT = ((0, 1, 2), (1.0, 1.0, 1.0))


@pytest.fixture
def files(tmp_path, dicom_series, volume, affine_of):
    return dicom_series(tmp_path / "s", volume, affine_of(*STRAIGHT), Modality="MR")


def several_frames(files, volume, counts):
    """Put the slices into files of so many frames each, in the folder of the series."""
    first = 0
    for count in counts:
        found = pydicom.dcmread(files[first])
        found.NumberOfFrames, found.PixelData = count, volume[first : first + count].tobytes()
        found.save_as(files[first].parent / f"many{first}.dcm")
        first += count
    for file in files:
        file.unlink()


def one_instance(files, volume):
    for file in files:
        found = pydicom.dcmread(file)
        found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
        found.save_as(file)


CHANGES = {
    "one file": lambda files, volume: several_frames(files, volume, [len(files)]),
    "two files": lambda files, volume: several_frames(files, volume, [2, len(files) - 2]),
    "a slice is missing": lambda files, volume: files[1].unlink(),
    "one identifier for all": one_instance,
}


def errors_of(path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    said = subprocess.run(["dciodvfy", path], capture_output=True, check=False)
    return [line for line in (said.stdout + said.stderr).splitlines() if line.startswith(b"Error")]


def references(found):
    """Every image that an object refers to."""
    for element in found.iterall():
        if element.keyword == "ReferencedSOPInstanceUID":
            yield str(element.value)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_that_is_drawn_is_lost_and_references_are_real(tmp_path, files, volume, change, suffix):
    change(files, volume)
    scan = read(tmp_path / "s")
    mask = np.zeros(scan.array.shape, np.uint8)
    mask[:, 1:4, 2:5] = 1
    path = tmp_path / f"m{suffix}"
    check_mask(path, scan)
    write_mask(path, mask, scan)
    np.testing.assert_array_equal(np.asarray(read_mask(path, onto=scan).array) > 0, mask > 0)
    found = pydicom.dcmread(path)
    images = [pydicom.dcmread(file, stop_before_pixels=True) for file in (tmp_path / "s").iterdir()]
    there = {str(one.SOPInstanceUID) for one in images} | {str(one.StudyInstanceUID) for one in images}
    assert set(references(found)) <= there
    if suffix != ".labelmap.dcm":  # which dciodvfy does not know
        assert errors_of(path) == []


def test_a_missing_slice_on_which_nothing_is_drawn_is_left_out(tmp_path, files, volume):
    CHANGES["a slice is missing"](files, volume)
    scan = read(tmp_path / "s")
    mask = np.ones(scan.array.shape, np.uint8)
    mask[1] = 0
    write_mask(tmp_path / "m.dcm", mask, scan)
    assert pydicom.dcmread(tmp_path / "m.dcm").NumberOfFrames == len(files) - 1


@pytest.mark.parametrize(
    ("gone", "words"), [("PixelSpacing", "gives no pixel spacing"), ("ImagePositionPatient", "have no place")]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_series_without_place_or_size_is_refused_before_there_is_a_mask(tmp_path, files, gone, words, suffix):
    for file in files:
        found = pydicom.dcmread(file)
        del found[gone]
        found.save_as(file)
    with pytest.raises(OutputError, match=rf"{words}.*: choose \.nii\.gz"):
        check_mask(tmp_path / f"m{suffix}", read(tmp_path / "s"))
