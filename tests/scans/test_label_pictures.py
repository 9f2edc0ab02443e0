"""Masks as pictures, read by what is seen."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans import read, read_mask, write_mask

MASK = np.zeros((40, 30), np.uint8)
MASK[5:15, 3:20] = 255
FULL, NONE = np.full_like(MASK, 255), np.zeros_like(MASK)


def shown(picture, path, **more):
    picture.save(path, **more)
    return np.asarray(read_mask(path).array) > 0


@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 0, 0), (0, 90, 255)])
def test_a_palette_is_never_inverted(tmp_path, colour):
    picture = Image.fromarray(np.dstack([np.where(MASK > 0, one, 0).astype(np.uint8) for one in colour]))
    np.testing.assert_array_equal(shown(picture.quantize(2), tmp_path / "a.png"), MASK > 0)
    turned = Image.fromarray((MASK == 0).astype(np.uint8), "L").convert("P")
    turned.putpalette([*colour, 0, 0, 0])
    turned.putdata((MASK == 0).astype(np.uint8).ravel().tolist())
    np.testing.assert_array_equal(shown(turned, tmp_path / "b.png"), MASK > 0)


def test_a_palette_without_black_and_with_white_is_refused(tmp_path):
    Image.fromarray(np.dstack([FULL, 255 - MASK, 255 - MASK])).quantize(2).save(tmp_path / "a.png")
    with pytest.raises(ScanError, match="first colour is not the background"):
        read_mask(tmp_path / "a.png")


@pytest.mark.parametrize(
    "channels",
    [
        (NONE, NONE, NONE, MASK),
        (FULL, FULL, FULL, MASK),
        (MASK, NONE, NONE, MASK // 2),
        (MASK, MASK, MASK, FULL),
        (FULL, MASK),
    ],
)
def test_a_mask_in_the_transparency_is_found(tmp_path, channels):
    np.testing.assert_array_equal(shown(Image.fromarray(np.dstack(channels)), tmp_path / "a.png"), MASK > 0)


@pytest.mark.parametrize("opacity", [100, 200])
def test_a_palette_with_a_mask_half_clear_is_found(tmp_path, opacity):
    picture = Image.fromarray((MASK > 0).astype(np.uint8))
    picture.putpalette([255, 255, 255, 255, 0, 0])
    found = shown(picture, tmp_path / "a.png", transparency=bytes([0, opacity]))
    np.testing.assert_array_equal(found, MASK > 0)


def test_a_palette_that_shows_nothing_is_refused(tmp_path):
    picture = Image.fromarray((MASK > 0).astype(np.uint8))
    picture.putpalette([255] * 6)
    picture.save(tmp_path / "a.png")
    with pytest.raises(ScanError, match="all its labels in one colour"):
        read_mask(tmp_path / "a.png")
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.save(tmp_path / "b.png", transparency=bytes([0, 0]))
    with pytest.raises(ScanError, match="wholly transparent"):
        read_mask(tmp_path / "b.png")


@pytest.mark.parametrize("values", [MASK > 0, MASK, MASK.astype(np.uint16) * 257])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_that_stores_0_for_white_is_read_as_it_is_seen(tmp_path, values, compression):
    turned = ~values if values.dtype == bool else np.iinfo(values.dtype).max - values
    tifffile.imwrite(tmp_path / "a.tif", turned, photometric="miniswhite", compression=compression)
    np.testing.assert_array_equal(np.asarray(read_mask(tmp_path / "a.tif").array) > 0, MASK > 0)
    np.testing.assert_array_equal(np.asarray(read(tmp_path / "a.tif").array), values)


def test_a_fax_and_a_mask_under_imagejs_inverting_table(tmp_path):
    Image.fromarray(MASK > 0).save(tmp_path / "fax.tif", compression="group4", tiffinfo={262: 0})
    np.testing.assert_array_equal(np.asarray(read_mask(tmp_path / "fax.tif").array) > 0, MASK > 0)
    tifffile.imwrite(tmp_path / "ij.tif", MASK, photometric="miniswhite", imagej=True)
    with pytest.raises(ScanError, match=r"ij\.tif .*Invert LUT"):
        read_mask(tmp_path / "ij.tif")


def test_colours_under_transparency_are_refused(tmp_path):
    Image.fromarray(np.dstack([MASK, NONE, 255 - MASK, FULL // 2])).save(tmp_path / "a.png")
    with pytest.raises(ScanError, match="colour picture"):
        read_mask(tmp_path / "a.png")
    Image.fromarray(np.dstack([MASK, MASK, MASK, NONE])).save(tmp_path / "b.png")
    with pytest.raises(ScanError, match="wholly transparent"):
        read_mask(tmp_path / "b.png")


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_exif_turns_apply_to_image_and_mask_and_are_written_back(tmp_path, turn, suffix):
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(MASK).save(tmp_path / f"a{suffix}", exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / f"a{suffix}"))) > 127
    scan = read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(np.asarray(scan.array) > 127, wanted)
    np.testing.assert_array_equal(np.asarray(read_mask(tmp_path / f"a{suffix}").array) > 0, wanted)
    write_mask(tmp_path / "m.png", wanted.astype(np.uint8), scan)
    np.testing.assert_array_equal(np.asarray(read_mask(tmp_path / "m.png").array) > 0, wanted)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "m.png")), MASK)


def test_tiff_masks_are_seen_in_the_same_way(tmp_path):
    colours = np.array([[65535, *[0] * 255]] * 3, np.uint16)
    tifffile.imwrite(tmp_path / "p.tif", (MASK == 0).astype(np.uint8), photometric="palette", colormap=colours)
    tifffile.imwrite(
        tmp_path / "a.tif", np.dstack([NONE, NONE, NONE, MASK]), photometric="rgb", extrasamples=["unassalpha"]
    )
    for name in ("p.tif", "a.tif"):
        np.testing.assert_array_equal(np.asarray(read_mask(tmp_path / name).array) > 0, MASK > 0)
