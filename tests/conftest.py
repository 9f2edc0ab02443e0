"""Fixtures of all tests: a separate home folder, and the real scans if they are available."""

import os
import shutil
import signal
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["dicomweb_servers"]

# Before anything reads it: tests never touch the models, settings and journals of the person who runs them.
HOME = tempfile.mkdtemp(prefix="napari-unet-tumour-tests-")
os.environ["NAPARI_UNET_TUMOUR_HOME"] = HOME
# Nor napari's settings file, which every new viewer writes several times.
os.environ["NAPARI_CONFIG"] = ""


def pytest_unconfigure() -> None:
    """Take the home folder away with the process that it was for."""
    shutil.rmtree(HOME, ignore_errors=True)


# A run in the background ignores Ctrl-C, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine draws examples slowly; that says nothing about the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

SCANS = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_scans() -> Path:
    """Folder of the real scans (see CONTRIBUTING.md); the test is skipped where it is absent."""
    if not SCANS.is_dir():
        pytest.skip(f"no real scans at {SCANS}")
    return SCANS


@pytest.fixture
def bright(tmp_path, monkeypatch):
    """Name of an installed model with a known prediction: in an 8-bit image, pixels brighter than 127 are tumour."""
    import torch
    from torch import nn

    from napari_unet_tumour.engine import model, networks
    from napari_unet_tumour.models import registry
    from napari_unet_tumour.models.spec import ModelSpec

    def brightness(in_channels: int, out_channels: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1))

    monkeypatch.setitem(networks.NETWORKS, "brightness", brightness)
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv(registry.HOME, str(tmp_path / "home"))
    spec = ModelSpec("bright", "brightness", normalisation="divide-by-255", size=64, channels=("grey",))
    weights = {"0.weight": torch.full((1, 1, 1, 1), 200.0), "0.bias": torch.tensor([-100.0])}
    registry.user_models_dir().mkdir(parents=True)
    model.save(registry.user_models_dir() / "bright.safetensors", spec, weights)
    return "bright"


@pytest.fixture
def blob():
    """(64, 64) uint8: dark noise, and a bright piece of 10 x 20 pixels off the middle."""
    image = np.random.default_rng(0).integers(0, 60, (64, 64)).astype(np.uint8)
    image[12:22, 30:50] = 220
    return image


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
