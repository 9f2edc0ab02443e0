from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def volume() -> np.ndarray:
    """(5, 6, 7) int16, every voxel with its own value."""
    return np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)


@pytest.fixture
def nifti_file(tmp_path: Path, volume: np.ndarray) -> Path:
    """A small file in RAS+ with 0.9 x 0.8 x 5 mm voxels."""
    affine = np.diag([0.9, 0.8, 5.0, 1.0])
    affine[:3, 3] = (-10.0, 20.0, 30.0)
    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "head.nii.gz")
    return tmp_path / "head.nii.gz"


def _series(folder, array, lps, **more):
    """Write (slices, rows, columns) as one file a slice; `lps` maps (column, row, slice) to the patient."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    names = np.random.default_rng(0).permutation(len(array))
    files = []
    for n, plane in enumerate(array):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Doe^Jane", "4711", "", ""
        ds.StudyID, ds.StudyDate, ds.StudyTime, ds.AccessionNumber = "1", "20200101", "120000", ""
        ds.ReferringPhysicianName, ds.Manufacturer, ds.PositionReferenceIndicator = "", "maker", ""
        ds.Modality, ds.SeriesNumber, ds.SeriesDescription, ds.InstanceNumber = "CT", 3, "axial head", n + 1
        ds.Rows, ds.Columns = plane.shape[:2]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 8 * array.dtype.itemsize
        ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(array.dtype.kind == "i")
        ds.PixelSpacing = [f"{spacing[1]:.8f}", f"{spacing[0]:.8f}"]
        ds.SliceThickness = f"{spacing[2]:.8f}"
        unit = lps[:3, :3] / spacing
        ds.ImageOrientationPatient = [f"{v:.10f}" for v in (*unit[:, 0], *unit[:, 1])]
        ds.ImagePositionPatient = [f"{v:.8f}" for v in (lps @ [0, 0, n, 1])[:3]]
        ds.PixelData = plane.tobytes()
        for key, value in more.items():
            setattr(ds, key, value(n) if callable(value) else value)
        files.append(folder / f"{names[n]:04d}.dcm")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pydicom.dcmwrite(files[-1], ds, enforce_file_format=True)
    return files


@pytest.fixture
def dicom_series():
    """Function that writes a DICOM series in shuffled file order and returns its files by slice."""
    return _series


def _affine_of(order, signs, angle=0.0, spacing=(0.8, 0.9, 5.0)) -> np.ndarray:
    """LPS+ affine from (column, row, slice); DICOM slices follow the normal, so its sign is made right-handed."""
    lps = np.zeros((4, 4))
    for axis, world in enumerate(order):
        lps[world, axis] = signs[axis]
    lps[3, 3] = 1
    spin = np.eye(4)
    spin[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    lps = spin @ lps
    lps[:3, 2] = np.cross(lps[:3, 0], lps[:3, 1]) * signs[2]
    lps[:3, :3] *= spacing
    lps[:3, 3] = (11.0, -22.0, 33.0)
    return lps


def _enhanced(path, source):
    """Make one enhanced multi-frame file of a series, frames in reverse order."""
    import highdicom
    import pydicom
    from pydicom.uid import generate_uid

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = highdicom.legacy.LegacyConvertedEnhancedCTImage(
            [pydicom.dcmread(f) for f in reversed(source)], generate_uid(), 9, generate_uid(), 1
        )
        made.save_as(path)


@pytest.fixture
def affine_of():
    return _affine_of


@pytest.fixture
def enhanced():
    return _enhanced
