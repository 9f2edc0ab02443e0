from __future__ import annotations

import numpy as np
import pytest
import zarr

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans import read, read_all

UM = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]


def image(group, array, level, whole=None, axes=UM, version="0.5"):
    """Make a group an OME-Zarr image of one level, with the transformations of the level and of the whole image."""
    about = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": level}]}
    if axes is None:
        del about["axes"]
    if whole:
        about["coordinateTransformations"] = whole
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", "multiscales": [about]}
    else:
        group.attrs["multiscales"] = [{**about, "version": version}]
    stored = group.create_array("0", shape=array.shape, dtype=array.dtype, chunks=array.shape)
    stored[...] = array


def group_at(path, version="0.5"):
    return zarr.create_group(str(path), zarr_format=3 if version == "0.5" else 2)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_scales_at_both_levels_multiply_and_starts_add_up(tmp_path, volume, version):
    level = [{"type": "scale", "scale": [2.0, 3.0, 4.0]}, {"type": "translation", "translation": [10.0, 20.0, 30.0]}]
    whole = [{"type": "scale", "scale": [500.0, 100.0, 50.0]}]
    image(group_at(tmp_path / "a.OME.Zarr", version), volume, level, whole, version=version)
    scan = read(tmp_path / "a.OME.Zarr")
    np.testing.assert_array_equal(np.asarray(scan.array), volume)
    assert (scan.axes, scan.units, scan.name) == ("zyx", "mm", "a")
    assert scan.spacing == pytest.approx((1.0, 0.3, 0.2))
    assert scan.affine[:3, 3] == pytest.approx((5.0, 2.0, 1.5))


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_the_bioformats2raw_layout_opens(tmp_path, volume, listed, count):
    group = group_at(tmp_path / "b.zarr")
    group.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    if listed:
        group.create_group("OME").attrs["ome"] = {"version": "0.5", "series": [str(n) for n in range(count)]}
    for n in range(count):
        image(group.create_group(str(n)), volume + np.int16(n), [{"type": "scale", "scale": [5000.0, 900.0, 800.0]}])
    if count == 1:
        np.testing.assert_array_equal(np.asarray(read(tmp_path / "b.zarr").array), volume)
    else:
        with pytest.raises(ScanError, match=r"b\.zarr holds 2 images \(0: 0; 1: 1\): choose one by its number"):
            read(tmp_path / "b.zarr")
        with pytest.raises(ScanError, match="from 0 to 1"):
            read(tmp_path / "b.zarr", series=2)
    found = read_all(tmp_path / "b.zarr")
    assert [scan.name for scan in found] == [f"b {n}" for n in range(count)]
    for n, scan in enumerate(found):
        np.testing.assert_array_equal(np.asarray(scan.array), volume + n)
        assert scan.spacing == pytest.approx((5.0, 0.9, 0.8))


def test_an_image_inside_a_zarr_opens_by_its_folder(tmp_path, volume):
    plate = group_at(tmp_path / "p.zarr")
    plate.attrs["ome"] = {"version": "0.5", "plate": {"wells": [{"path": "B/2"}]}}
    image(plate.create_group("B/2/0"), volume, [{"type": "scale", "scale": [5000.0, 900.0, 800.0]}])
    with pytest.raises(ScanError, match="is a plate of many images: open one of them, such as") as refused:
        read(tmp_path / "p.zarr")
    named = str(refused.value).rpartition("such as ")[2]
    np.testing.assert_array_equal(np.asarray(read(named).array), volume)


def test_arrays_in_a_plain_group_are_named(tmp_path, volume):
    group = group_at(tmp_path / "g.zarr")
    with pytest.raises(ScanError, match="without an image"):
        read(tmp_path / "g.zarr")
    for name in ("one", "two"):
        group.create_array(name, shape=volume.shape, dtype=volume.dtype)[...] = volume
        refused = None
        try:
            assert read(tmp_path / "g.zarr").array.shape == volume.shape
        except ScanError as error:
            refused = str(error)
    assert "holds 2 arrays" in refused
    assert read(refused.rpartition("such as ")[2]).array.shape == volume.shape


@pytest.mark.parametrize("letters", ["xyz", "yxz", "zxy"])
def test_axes_of_space_come_in_one_order(tmp_path, volume, letters):
    turn = ["zyx".index(letter) for letter in letters]
    steps = dict(zip("zyx", (3000.0, 500.0, 700.0), strict=True))
    level = [{"type": "scale", "scale": [steps[letter] for letter in letters]}]
    axes = [{"name": letter, "type": "space", "unit": "micrometer"} for letter in letters]
    image(group_at(tmp_path / "a.zarr"), volume.transpose(turn), level, axes=axes)
    scan = read(tmp_path / "a.zarr")
    assert (scan.axes, scan.spacing) == ("zyx", pytest.approx((3.0, 0.5, 0.7)))
    np.testing.assert_array_equal(np.asarray(scan.array), volume)


def test_a_unit_without_a_scale_is_no_size(tmp_path, volume):
    image(group_at(tmp_path / "a.zarr"), volume, [])
    assert read(tmp_path / "a.zarr").units == "pixel"


def test_versions_without_axes_and_unknown_transformations(tmp_path, volume):
    image(group_at(tmp_path / "old.zarr", "0.1"), volume[None, None], [], axes=None, version="0.1")
    old = read(tmp_path / "old.zarr")
    assert (old.axes, old.units, old.array.shape) == ("zyx", "pixel", volume.shape)
    image(group_at(tmp_path / "turned.zarr"), volume, [{"type": "rotation", "rotation": [1, 0, 0, 1]}])
    with pytest.raises(ScanError, match=r"turned\.zarr has a transformation 'rotation'"):
        read(tmp_path / "turned.zarr")
    image(group_at(tmp_path / "bad.zarr"), volume, [{"type": "scale", "scale": [1.0, 2.0]}])
    with pytest.raises(ScanError, match=r"bad\.zarr is cut or damaged"):
        read(tmp_path / "bad.zarr")
