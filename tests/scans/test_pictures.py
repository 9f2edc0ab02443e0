from __future__ import annotations

import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.scans import read, read_mask, write_mask
from napari_unet_tumour.scans.scan import Scan


@pytest.fixture
def grey() -> np.ndarray:
    return np.arange(30, dtype=np.uint8).reshape(5, 6) * 8


@pytest.mark.parametrize(
    ("array", "axes"),
    [
        (np.arange(30, dtype=np.uint8).reshape(5, 6), "yx"),
        (np.arange(30, dtype=np.uint16).reshape(5, 6) * 999, "yx"),
        (np.arange(90, dtype=np.uint8).reshape(5, 6, 3), "yxc"),
        (np.arange(120, dtype=np.uint8).reshape(5, 6, 4), "yxc"),
        (np.arange(30).reshape(5, 6) % 2 == 0, "yx"),
    ],
)
def test_png_opens_as_it_is(tmp_path, array, axes):
    Image.fromarray(array).save(tmp_path / "a.png")
    scan = read(tmp_path / "a.png")
    assert (scan.axes, scan.units, scan.name) == (axes, "pixel", "a")
    np.testing.assert_array_equal(scan.array, array)


def test_grey_with_alpha_loses_the_alpha(tmp_path, grey):
    Image.fromarray(np.stack([grey, grey], axis=-1)).save(tmp_path / "la.png")
    np.testing.assert_array_equal(read(tmp_path / "la.png").array, grey)


def test_palettes_show_colours_as_a_scan_and_indices_as_a_mask(tmp_path):
    labels = np.array([[0, 1], [2, 1]], np.uint8)
    picture = Image.fromarray(labels).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.putdata(labels.ravel().tolist())
    picture.save(tmp_path / "p.png")
    assert read(tmp_path / "p.png").array[0, 1].tolist() == [255, 0, 0]
    np.testing.assert_array_equal(read_mask(tmp_path / "p.png").array, labels)


def test_a_grey_palette_gives_a_grey_scan(tmp_path, grey):
    Image.fromarray(grey).convert("P").save(tmp_path / "g.png")
    assert read(tmp_path / "g.png").axes == "yx"


def test_jpeg_opens(tmp_path, grey):
    Image.fromarray(np.full((8, 9), 100, np.uint8)).save(tmp_path / "a.jpg")
    assert abs(int(read(tmp_path / "a.jpg").array.mean()) - 100) < 3
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).convert("CMYK").save(tmp_path / "c.jpeg")
    assert read(tmp_path / "c.jpeg").array.shape == (8, 9, 3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    npst.arrays(
        st.sampled_from([np.uint8, np.uint16, ">u2", np.int16, np.float32, ">f4"]),
        npst.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6),
        elements=st.integers(0, 100),
    )
)
def test_tiff_keeps_values_and_shape(tmp_path, array):
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    scan = read(tmp_path / "a.tif")
    assert scan.array.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(scan.array.reshape(array.shape), array)
    assert len(scan.axes) == scan.array.ndim
    assert {"y", "x"} <= set(scan.axes)


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 5, 6), "ZYX"), ((2, 3, 5, 6), "TZYX"), ((2, 3, 5, 6), "ZCYX"), ((2, 5, 6, 3), "ZYXS")]
)
def test_ome_axes_and_spacing(tmp_path, shape, axes):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    about = {
        "axes": axes,
        "PhysicalSizeX": 0.5,
        "PhysicalSizeXUnit": "mm",
        "PhysicalSizeY": 400.0,
        "PhysicalSizeZ": 2000,
    }
    photometric = "rgb" if "S" in axes else "minisblack"
    tifffile.imwrite(tmp_path / "a.ome.tif", array, metadata=about, photometric=photometric)
    scan = read(tmp_path / "a.ome.tif")
    assert scan.axes == axes.lower().replace("s", "c")
    assert (scan.units, scan.spacing, scan.name) == ("mm", pytest.approx((2.0, 0.4, 0.5)), "a")
    np.testing.assert_array_equal(scan.array, array)


def test_unnamed_axes_are_time_and_z_and_planar_colours_come_last(tmp_path):
    tifffile.imwrite(tmp_path / "q.tif", np.zeros((2, 3, 5, 6), np.uint8), photometric="minisblack")
    assert read(tmp_path / "q.tif").axes == "tzyx"
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((3, 5, 6), np.uint8), photometric="rgb", planarconfig="separate")
    assert read(tmp_path / "s.tif").array.shape == (5, 6, 3)


def test_imagej_stack_has_its_spacing(tmp_path):
    array = np.zeros((4, 5, 6), np.uint16)
    tifffile.imwrite(
        tmp_path / "j.tif",
        array,
        imagej=True,
        resolution=(2.0, 2.0),
        metadata={"spacing": 3.0, "unit": "mm", "axes": "ZYX"},
    )
    assert read(tmp_path / "j.tif").spacing == pytest.approx((3.0, 0.5, 0.5))


def test_lzw_opens_or_names_the_codec(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read(tmp_path / "lzw.tif").array, grey)


def test_a_folder_is_stacked_by_number(tmp_path, grey):
    for n in (1, 2, 10):
        Image.fromarray(grey + np.uint8(n)).save(tmp_path / f"slice_{n}.png")
    scan = read(tmp_path)
    assert scan.axes == "zyx"
    assert (scan.array[:, 0, 0] - grey[0, 0]).tolist() == [1, 2, 10]


def test_a_folder_of_unequal_slices_is_refused(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "1.png")
    Image.fromarray(grey[:4]).save(tmp_path / "2.png")
    with pytest.raises(ScanError, match=r"2\.png is \(4, 6\)"):
        read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScanError, match="empty holds no scan"):
        read(tmp_path / "empty")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_cut_pictures_are_refused(tmp_path, grey, suffix):
    Image.fromarray(np.tile(grey, (20, 20))).save(tmp_path / f"whole{suffix}")
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    for length in (0, 5, 20, len(whole) // 2):
        (tmp_path / f"cut{suffix}").write_bytes(whole[:length])
        with pytest.raises(ScanError, match=rf"cut\{suffix} "):
            read(tmp_path / f"cut{suffix}")


def test_mislabelled_pictures_are_named(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "a.png")
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.png").read_bytes())
    for name in ("a.tif", "a.jpg"):
        with pytest.raises(ScanError, match=f"{name} holds PNG data"):
            read(tmp_path / name)


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (20_000, 20_000), (0, 5), (9_000, 9_000)])
def test_absurd_pictures_are_refused(tmp_path, size):
    (tmp_path / "bomb.png").write_bytes(png_claiming(*size))
    with pytest.raises(ScanError, match=r"bomb\.png "):
        read(tmp_path / "bomb.png")


def test_an_absurd_tiff_is_refused(tmp_path, grey):
    tifffile.imwrite(tmp_path / "big.tif", grey)
    data = bytearray((tmp_path / "big.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "big.tif") as file:
        for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            at = file.pages[0].tags[tag].valueoffset
            data[at : at + 2] = b"\xff\xff"
    (tmp_path / "big.tif").write_bytes(data)
    with pytest.raises(ScanError, match=r"big\.tif "):
        read(tmp_path / "big.tif")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 400), value=st.integers(0, 255), suffix=st.sampled_from([".png", ".tif", ".jpg"]))
def test_no_damage_crashes(tmp_path, grey, at, value, suffix):
    path = tmp_path / f"any{suffix}"
    Image.fromarray(grey).save(path)
    data = bytearray(path.read_bytes())
    data[at % len(data)] = value
    path.write_bytes(data)
    with suppress(ScanError):
        assert min(read(path).array.shape) > 0


def test_a_tiff_whose_pages_run_in_a_circle_is_refused(tmp_path, grey):
    path = tmp_path / "any.tif"
    Image.fromarray(grey).save(path)
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    end = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    assert data[end : end + 4] == bytes(4), "it has one page"
    nothing = len(data) // 2 * 2
    data[nothing:] = bytes(2) + first.to_bytes(4, "little")  # a page without tags, which leads back
    data[end : end + 4] = nothing.to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ScanError, match=r"any\.tif: its pages run in a circle, the file is damaged: export it again"):
        read(path)


def test_png_masks_are_black_and_white_for_one_label_and_values_for_several(tmp_path, grey):
    scan = Scan(grey, "yx")
    write_mask(tmp_path / "one.png", (grey > 99).astype(np.uint8), scan)
    assert np.unique(np.asarray(Image.open(tmp_path / "one.png"))).tolist() == [0, 255]
    write_mask(tmp_path / "two.png", (grey % 3).astype(np.uint8), scan, ("background", "a", "b"))
    np.testing.assert_array_equal(read_mask(tmp_path / "two.png").array, grey % 3)


def test_a_mask_of_a_colour_picture_has_no_channels(tmp_path):
    scan = Scan(np.zeros((5, 6, 3), np.uint8), "yxc")
    write_mask(tmp_path / "m.tif", np.ones((5, 6), np.uint8), scan)
    assert read(tmp_path / "m.tif").array.shape == (5, 6)


def test_tiff_masks_keep_spacing_and_axes(tmp_path):
    scan = Scan(np.zeros((2, 4, 5, 6)), "tzyx", np.diag([5.0, 0.9, 0.8, 1.0]), "mm")
    mask = np.arange(240, dtype=np.uint8).reshape(2, 4, 5, 6)
    write_mask(tmp_path / "m.tif", mask, scan)
    back = read(tmp_path / "m.tif")
    assert (back.axes, back.units, back.spacing) == ("tzyx", "mm", pytest.approx((5.0, 0.9, 0.8)))
    np.testing.assert_array_equal(back.array, mask)


def test_a_picture_cannot_hold_a_stack(tmp_path):
    with pytest.raises(OutputError, match=r"choose \.tif or \.nii\.gz"):
        write_mask(tmp_path / "m.png", np.zeros((2, 3, 4), np.uint8), Scan(np.zeros((2, 3, 4)), "zyx"))


def test_a_colour_picture_is_no_mask(tmp_path):
    Image.fromarray(np.arange(90, dtype=np.uint8).reshape(5, 6, 3)).save(tmp_path / "c.png")
    with pytest.raises(ScanError, match="not a mask"):
        read_mask(tmp_path / "c.png")
