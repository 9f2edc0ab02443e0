"""Scans and masks that stay on disk."""

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_unet_tumour import scans
from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.scans import pictures, streaming_masks
from napari_unet_tumour.scans.scan import Scan


@pytest.fixture
def stack():
    return np.random.default_rng(0).integers(0, 3, (3, 530, 700)).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".zarr", ".ome.zarr", ".tif", ".nii", ".nii.gz"])
def test_a_mask_filled_part_by_part_reads_back_on_its_grid(tmp_path, stack, suffix):
    scan = Scan(da.from_array(stack), "zyx", np.diag([5, 0.5, 0.7, 1.0]), "mm")
    with streaming_masks.mask_on_disk(tmp_path / f"m{suffix}", scan, ("background", "tumour"), 200) as mask:
        for top in range(0, 530, 200):
            mask[:, top : top + 200] = stack[:, top : top + 200]
    back = scans.read(tmp_path / f"m{suffix}")
    assert (back.axes, back.units) == ("zyx", "mm")
    np.testing.assert_allclose(back.spacing, (5, 0.5, 0.7), rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(back.array), stack)
    assert [p.name for p in tmp_path.iterdir()] == [f"m{suffix}"]


@pytest.mark.parametrize("suffix", [".zarr", ".tif", ".nii.gz"])
def test_a_failure_leaves_nothing(tmp_path, stack, suffix):
    with (
        pytest.raises(ZeroDivisionError),
        streaming_masks.mask_on_disk(tmp_path / f"m{suffix}", Scan(stack, "zyx"), (), 200),
    ):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_formats_that_cannot_hold_it_are_refused(tmp_path, stack):
    with (
        pytest.raises(OutputError, match="choose --format zarr"),
        streaming_masks.mask_on_disk(tmp_path / "m.png", Scan(stack, "zyx"), (), 200),
    ):
        pass


def test_a_large_tiff_stays_on_disk(tmp_path, stack, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", stack, tile=(128, 128), compression="zlib", photometric="minisblack")
    monkeypatch.setattr(pictures, "LAZY_FROM", 1000)
    scan = scans.read(tmp_path / "a.tif")
    assert isinstance(scan.array, da.Array)
    assert scan.array.chunks[0] == (1, 1, 1)
    np.testing.assert_array_equal(np.asarray(scan.array[1, 100:200]), stack[1, 100:200])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_of_five_axes_opens_lazily(tmp_path, stack, version):
    axes = [{"name": n} for n in "tc"] + [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    where = [{"type": "scale", "scale": [1, 1, 2000, 500, 250]}]
    about = {"multiscales": [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": where}]}]}
    group = zarr.create_group(tmp_path / "a.ome.zarr", zarr_format=2 if version == "0.4" else 3)
    group.attrs.update(about if version == "0.4" else {"ome": about})
    group.create_array("0", shape=(1, 1, *stack.shape), dtype="u1", chunks=(1, 1, 1, 256, 256))[0, 0] = stack
    scan = scans.read(tmp_path / "a.ome.zarr")
    assert (scan.axes, scan.units, scan.name, scan.spacing) == ("zyx", "mm", "a", (2.0, 0.5, 0.25))
    np.testing.assert_array_equal(np.asarray(scan.array[2]), stack[2])


def test_a_plain_zarr_array(tmp_path, stack):
    zarr.create_array(tmp_path / "a.zarr", shape=stack.shape, dtype="u1", chunks=(1, 64, 64))[:] = stack
    scan = scans.read(tmp_path / "a.zarr")
    assert (scan.axes, scan.units) == ("zyx", "pixel")
    np.testing.assert_array_equal(scan.array[1], stack[1])


def test_what_is_no_image_is_named(tmp_path):
    zarr.create_group(tmp_path / "empty.zarr")
    (tmp_path / "none.zarr").mkdir()
    with pytest.raises(ScanError, match=r"empty.zarr is a zarr group without an image: choose a folder in it"):
        scans.read(tmp_path / "empty.zarr")
    with pytest.raises(ScanError, match=r"none.zarr is no zarr array"):
        scans.read(tmp_path / "none.zarr")
