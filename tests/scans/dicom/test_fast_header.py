from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from napari_unet_tumour.scans import read
from napari_unet_tumour.scans.dicom import files as dicom_files
from napari_unet_tumour.scans.dicom.fast_header import PIXELS, quick_elements

FILES = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
MR_SMALL = next(path for path in FILES if path.name == "MR_small.dcm").read_bytes()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_elements_are_those_that_pydicom_finds(path):
    found = quick_elements(path)
    if found is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = pydicom.dcmread(path, stop_before_pixels=True)
        names = [e for e in (other.get_item(tag) for tag in list(other.keys())) if isinstance(e.value, bytes)]
    assert {int(e.tag): e.value for e in names} == {int(e.tag): found[0][int(e.tag)] for e in names}
    with path.open("rb") as file:
        file.seek(found[1])
        assert file.read(4) == b"\xe0\x7f\x10\x00"


def test_several_of_pydicoms_files_are_read():
    assert sum(quick_elements(path) is not None for path in FILES) > 40


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_sequences_of_unknown_length_are_passed(tmp_path, dicom_series, volume, affine_of, syntax):
    nested = Dataset()
    nested.ReferencedSOPInstanceUID = "1.2.3"
    outer = Dataset()
    outer.ReferencedSeriesSequence = [nested, Dataset()]
    for file in dicom_series(tmp_path, volume, affine_of((0, 1, 2), (1.0, 1.0, 1.0)), ReferencedStudySequence=[outer]):
        found = pydicom.dcmread(file)
        found["ReferencedStudySequence"].is_undefined_length = True
        found.ReferencedStudySequence[0].is_undefined_length_sequence_item = True
        found.ReferencedStudySequence[0]["ReferencedSeriesSequence"].is_undefined_length = True
        found.file_meta.TransferSyntaxUID = syntax
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.save_as(file, implicit_vr=syntax.is_implicit_VR, little_endian=True)
        assert quick_elements(file) is not None
    np.testing.assert_array_equal(read(tmp_path).array, volume)


def test_the_quick_way_gives_what_the_careful_way_gives(tmp_path, dicom_series, volume, affine_of):
    files = dicom_series(
        tmp_path, volume, affine_of((0, 2, 1), (1.0, -1.0, 1.0), 0.2), AcquisitionNumber=lambda n: n % 2
    )
    known: dict = {}
    quick = [dicom_files.read_planes(file, known)[0] for file in files]
    assert len(known) == 1
    assert quick == [dicom_files.read_planes(file)[0] for file in files]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(128, 1500), value=st.integers(0, 255))
def test_no_damage_crashes_or_hangs(tmp_path, at, value):
    data = bytearray(MR_SMALL)
    data[at] = value
    (tmp_path / "any.dcm").write_bytes(data)
    found = quick_elements(tmp_path / "any.dcm")
    assert found is None or PIXELS in found[0]
