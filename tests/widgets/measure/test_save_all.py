"""Where Save all puts its files, and that it writes over none."""

import shutil
from types import SimpleNamespace

import pytest

from napari_unet_tumour.widgets.measure.save_all import _free_name, folder_beside, mask_suffix


def layer(path):
    return SimpleNamespace(metadata={"source": str(path)}, source=SimpleNamespace(path=None), name="head")


@pytest.fixture
def series(tmp_path):
    """A folder of one DICOM slice."""
    import pydicom.data

    folder = tmp_path / "study" / "series"
    folder.mkdir(parents=True)
    shutil.copy(pydicom.data.get_testdata_file("CT_small.dcm", download=False), folder / "1.dcm")
    return folder


def test_beside_the_file_and_never_within_a_series(tmp_path, series):
    (tmp_path / "head.nii.gz").touch()
    assert folder_beside(layer(tmp_path / "head.nii.gz")) == tmp_path
    assert folder_beside(layer(series)) == series.parent
    assert folder_beside(layer(series / "1.dcm")) == series.parent


def test_the_mask_has_the_format_of_the_scan(tmp_path, series):
    for name, suffix in (("head.nii.gz", ".nii.gz"), ("head.nrrd", ".nii.gz"), ("head.jpg", ".png")):
        (tmp_path / name).touch()
        assert mask_suffix(layer(tmp_path / name)) == suffix
    assert mask_suffix(layer(series)) == ".dcm"


@pytest.mark.parametrize("image", [None, layer(""), layer("/nowhere/head.nii.gz")], ids=["none", "no file", "gone"])
def test_without_a_file_the_person_is_asked_where(image):
    assert folder_beside(image) is None
    assert mask_suffix(image) == ".nii.gz"


def test_a_file_of_any_kind_that_is_there_makes_another_name(tmp_path):
    assert _free_name(tmp_path, "head", ".nii.gz") == "head"
    (tmp_path / "head mask.nii.gz").touch()
    assert _free_name(tmp_path, "head", ".nii.gz") == "head 2"
    (tmp_path / "head 2 lesions.csv").touch()
    (tmp_path / "head 3 report.html").touch()
    assert _free_name(tmp_path, "head", ".nii.gz") == "head 4"
