"""Whose scan it is: an id made of what the file says, never what it says, never a guess."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.scans import read, read_all
from napari_unet_tumour.scans.channels import combine
from napari_unet_tumour.scans.patient_id import person_id, person_in

AXIAL = ((0, 1, 2), (1.0, 1.0, 1.0))


@given(st.text(min_size=4))
def test_an_id_is_the_same_each_time_and_not_what_it_was_made_of(number):
    found = person_id(number)
    assert found == person_id(f"{number} ")
    assert found == "" or (len(found) == 16 and number not in found)


@pytest.mark.parametrize(
    "number", ["", "  ", "0", "000-00", "\0", "Anonymous", "ANON", "unknown", "De-Identified", "^"]
)
def test_placeholders_tell_of_nobody(number):
    assert person_id(number) == ""


def test_numbers_and_names_tell_persons_apart():
    assert len({person_id(one) for one in ("4711", "4712", "MR017260F", "ABC", "anonymous 17")} - {""}) == 5


@pytest.mark.parametrize(
    "path",
    [
        "sub-01_ses-2_T1w.nii.gz",
        "sub-01.nrrd",
        "sub-01/anat/head.mha",
        "data/sub-01/ses-1/head.nii",
        "sub-02/sub-01_T2w.nii",
    ],
)
def test_bids_names_tell_whose_it_is(path):
    assert person_in(Path(path)) == person_id("01")


@pytest.mark.parametrize("path", ["head.nii", "my-sub-01.nii", "sub-01-old/head.nii", "substance.nii", "sub-/a.nii"])
def test_other_names_tell_nothing(path):
    assert person_in(Path(path)) == ""


def test_every_kind_of_volume_carries_it(tmp_path, volume):
    folder = tmp_path / "sub-07" / "anat"
    folder.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / "head.nii.gz")
    for suffix in ("nrrd", "mha"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(volume), folder / f"head.{suffix}")
    assert {one.person for path in folder.iterdir() for one in read_all(path)} == {person_id("07")}


def test_a_dicom_series_carries_it_and_nothing_of_the_patient(tmp_path, dicom_series, volume, affine_of):
    dicom_series(tmp_path / "a", volume, affine_of(*AXIAL))
    dicom_series(tmp_path / "b", volume, affine_of(*AXIAL), PatientID="4712")
    dicom_series(tmp_path / "sub-9" / "c", volume, affine_of(*AXIAL), PatientID="")
    found = [read(tmp_path / name) for name in ("a", "b", "sub-9/c")]
    assert [one.person for one in found] == [person_id(one) for one in ("4711", "4712", "9")]
    assert "4711" not in repr([plane.head.person for plane in found[0].extra["dicom"]["planes"]])
    assert not {"Doe", "Jane"} & set(repr(found[0].extra).split())


def test_frames_of_one_file_and_lazy_series_carry_it(tmp_path, dicom_series, enhanced, volume, affine_of, monkeypatch):
    files = dicom_series(tmp_path / "a", volume, affine_of(*AXIAL))
    enhanced(tmp_path / "frames.dcm", files)
    assert read(tmp_path / "frames.dcm").person == person_id("4711")
    monkeypatch.setattr("napari_unet_tumour.scans.dicom._AT_ONCE", 0)
    lazy = read(tmp_path / "a")
    assert hasattr(lazy.array, "dask")
    assert lazy.person == person_id("4711")


def test_two_patients_of_alike_slices_are_told_apart(tmp_path, dicom_series, volume, affine_of):
    """The second file of a kind is read the quick way: not where its patient is another."""
    dicom_series(tmp_path, volume, affine_of(*AXIAL), SeriesInstanceUID="1.2.3")
    dicom_series(tmp_path / "other", volume[:1], affine_of(*AXIAL), SeriesInstanceUID="1.2.4", PatientID="4712")
    assert {one.person for one in read_all(tmp_path)} == {person_id("4711"), person_id("4712")}


def test_several_sequences_are_of_the_person_of_their_grid(tmp_path, dicom_series, volume, affine_of):
    dicom_series(tmp_path, volume, affine_of(*AXIAL))
    scan = read(tmp_path)
    spec = ModelSpec("two", "unet", channels=("T1", "T2"))
    assert combine({"T1": scan, "T2": scan}, spec, scan, (0,)).person == person_id("4711")
