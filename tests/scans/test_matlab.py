from __future__ import annotations

import numpy as np
import pytest

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans import read, read_all, read_mask
from napari_unet_tumour.scans.patient_id import person_id

h5py = pytest.importorskip("h5py")


def save(path, **cjdata):
    """Write as MATLAB does: 512 bytes of its own first, matrices column by column, text as codes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in cjdata.items():
            file[f"cjdata/{name}"] = value
    data = bytearray(path.read_bytes())
    data[:19] = b"MATLAB 7.3 MAT-file"
    path.write_bytes(data)
    return path


@pytest.fixture
def image() -> np.ndarray:
    return np.arange(35, dtype=np.int16).reshape(5, 7)


def test_image_and_mask_open_the_right_way_round(tmp_path, image):
    mask = (image > 20).astype(np.uint8)
    codes = np.array([[ord(c)] for c in "100360"], np.uint16)
    path = save(tmp_path / "7.mat", image=image.T, tumorMask=mask.T, PID=codes, label=np.array([[2.0]]))
    scan, found = read_all(path)
    np.testing.assert_array_equal(scan.array, image)
    np.testing.assert_array_equal(found.array, mask)
    np.testing.assert_array_equal(read_mask(path).array, mask)
    assert (scan.axes, scan.name, found.name) == ("yx", "7", "7 mask")
    assert (scan.person, scan.extra["tumour"]) == (person_id("100360"), "glioma")


def test_without_a_mask_there_is_only_the_image(tmp_path, image):
    path = save(tmp_path / "8.mat", image=image.T)
    assert len(read_all(path)) == 1
    with pytest.raises(ScanError, match=r"8\.mat has no cjdata\.tumorMask"):
        read_mask(path)


def test_other_files_are_named(tmp_path, image):
    with pytest.raises(ScanError, match=r"9\.mat has no cjdata\.image"):
        read(save(tmp_path / "9.mat", other=image))
    with pytest.raises(ScanError, match=r"a\.mat: cjdata\.image is no matrix"):
        read(save(tmp_path / "a.mat", image=np.zeros((2, 3, 4))))
    (tmp_path / "old.mat").write_bytes(b"MATLAB 5.0 MAT-file" + b" " * 600)
    with pytest.raises(ScanError, match=r"old\.mat is a MATLAB file older than v7\.3"):
        read(tmp_path / "old.mat")
    whole = save(tmp_path / "b.mat", image=image).read_bytes()
    (tmp_path / "cut.mat").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ScanError, match=r"cut\.mat is cut or damaged"):
        read(tmp_path / "cut.mat")
    save(tmp_path / "c.mat", image=image)
    with h5py.File(tmp_path / "c.mat", "a") as file:
        del file["cjdata/image"]
        file.create_dataset("cjdata/image", (10**6, 10**6), "f8", chunks=(100, 100))
    with pytest.raises(ScanError, match=r"c\.mat claims"):
        read(tmp_path / "c.mat")
