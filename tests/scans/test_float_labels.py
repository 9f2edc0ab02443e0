from __future__ import annotations

import nibabel
import numpy as np
import pytest

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans import read_mask
from napari_unet_tumour.scans.float_labels import whole_labels
from napari_unet_tumour.scans.scan import Scan


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32])
@pytest.mark.parametrize("labels", [(0, 1, 2, 4), (0, 1), (0, 3, 9)])
def test_labels_copied_through_floats_and_an_integer_header_stay_labels(tmp_path, dtype, labels):
    array = np.resize(np.array(labels), (4, 5, 6)).astype(dtype)
    source = nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 3.0, 1.0]))
    nibabel.save(nibabel.Nifti1Image(source.get_fdata(), source.affine, source.header), tmp_path / "copy.nii.gz")
    np.testing.assert_array_equal(read_mask(tmp_path / "copy.nii.gz").array, array.T)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_a_hair_off_are_labels_and_probabilities_are_not(dtype):
    near = np.array([[0.0, 1.0000153, 1.9999, np.nan]], dtype)
    assert whole_labels(Scan(near, "yx")).tolist() == [[0, 1, 2, 0]]
    assert whole_labels(Scan(np.array([[0.0, 0.98]], dtype), "yx")) is None
    assert whole_labels(Scan(np.array([[0.0, np.inf]], dtype), "yx")) is None
    assert whole_labels(Scan(np.array([[-1.0, 300.0]], dtype), "yx")).dtype == np.int32


def test_a_probability_in_an_integer_header_is_no_mask(tmp_path):
    image = nibabel.Nifti1Image(np.linspace(0, 1, 60).reshape(3, 4, 5), np.eye(4) * 2)
    image.set_data_dtype(np.int16)
    nibabel.save(image, tmp_path / "p.nii")
    with pytest.raises(ScanError, match="fractions"):
        read_mask(tmp_path / "p.nii")
