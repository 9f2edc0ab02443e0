from __future__ import annotations

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
