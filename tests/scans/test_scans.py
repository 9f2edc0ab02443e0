from __future__ import annotations

import numpy as np
import pytest

from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.scans import READERS, WRITERS, read, read_mask, write_mask
from napari_unet_tumour.scans.scan import Scan


def test_unknown_suffixes_list_the_known(tmp_path):
    (tmp_path / "a.xyz").write_text("no scan")
    with pytest.raises(ScanError, match=r"a\.xyz has a suffix that is not known here: .*\.nii\.gz"):
        read(tmp_path / "a.xyz")
    with pytest.raises(OutputError, match=r"\.png"):
        write_mask(tmp_path / "m.doc", np.zeros((2, 2), np.uint8), Scan(np.zeros((2, 2)), "yx"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ScanError, match=r"gone\.nii does not exist"):
        read(tmp_path / "gone.nii")


@pytest.mark.parametrize("suffix", sorted(READERS))
def test_every_reader_refuses_noise(tmp_path, suffix):
    path = tmp_path / f"noise{suffix}"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(ScanError, match=r"noise.* "):
        read(path)


# DICOM masks refer to a series: tests/scans/dicom.
@pytest.mark.parametrize("suffix", sorted(suffix for suffix in WRITERS if not suffix.endswith(".dcm")))
def test_every_writer_reads_back_and_leaves_one_file(tmp_path, suffix):
    mask = np.eye(6, dtype=np.uint8)
    scan = Scan(np.zeros((6, 6)), "yx", name="flat")
    write_mask(tmp_path / f"m{suffix}", mask, scan)
    found = np.asarray(read_mask(tmp_path / f"m{suffix}").array)
    np.testing.assert_array_equal(found.reshape(6, 6) > 0, mask)
    assert [p.name for p in tmp_path.iterdir()] == [f"m{suffix}"]


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_mask(tmp_path / "taken" / "m.png", np.zeros((2, 2), np.uint8), Scan(np.zeros((2, 2)), "yx"))


def test_a_float_mask_of_whole_numbers_becomes_integer(tmp_path):
    scan = Scan(np.zeros((3, 4, 5)), "zyx")
    write_mask(tmp_path / "m.nii", np.ones((3, 4, 5), np.float64), scan)
    assert read_mask(tmp_path / "m.nii").array.dtype == np.uint8
    write_mask(tmp_path / "p.nii", np.full((3, 4, 5), 0.5, np.float32), scan)
    with pytest.raises(ScanError, match="fractions"):
        read_mask(tmp_path / "p.nii")
