from pathlib import Path

import numpy as np
import pytest

from napari_unet_tumour import scans
from napari_unet_tumour.api.pairs import Pair, pair_folders, read_pairs, read_truth, scans_in, stem
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans.scan import Scan

ONE = ("background", "tumour")
THREE = ("background", "a", "b", "c")


@pytest.fixture
def files(tmp_path):
    for folder in ("images", "masks"):
        for name in ("1", "2"):
            scans.write_mask(
                put(tmp_path / folder / f"{name}.png"), np.zeros((8, 6), np.uint8), Scan(np.zeros((8, 6)), "yx")
            )
    return tmp_path


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write(folder, text, encoding="utf-8"):
    path = folder / "pairs.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_paths_are_relative_to_the_table(files, monkeypatch):
    monkeypatch.chdir("/")
    pairs = read_pairs(write(files, "scan,mask,group,slices\nimages/1.png,masks/1.png,ann,3;4;9\n"))
    assert pairs == [Pair(files / "images/1.png", files / "masks/1.png", "ann", (3, 4, 9))]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffscan,mask\nimages/1.png,masks/1.png\n",
        "mask,extra,scan\nmasks/1.png,x,images/1.png\n",
        "scan, mask\nimages/1.png, masks/1.png\n\n",
        "scan,mask\r\nimages/1.png,masks/1.png\r\n",
        "Scan;Segmentation\nimages\\1.png;masks\\1.png\n",
    ],
)
def test_reads_what_spreadsheets_write(files, text):
    (pair,) = read_pairs(write(files, text))
    assert (pair.scan.name, pair.mask.parent.name, pair.group) == ("1.png", "masks", str(pair.scan))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column 'scan' and no column 'mask' (found: nothing)"),
        ("photo,mask\n", "no column 'scan' (found: photo, mask)"),
        ("scan,mask\n", "has no rows"),
        ("scan,mask\nimages/1.png\n", "line 2 names no mask"),
        ("scan,mask\nimages/1.png,masks/7.png\n", "the mask"),
        ("scan,mask\nimages/7.png,masks/1.png\nimages/8.png,masks/1.png\n", "2 files are missing in all"),
        ("scan,mask,slices\nimages/1.png,masks/1.png,a\n", "must look like 3;4;9, not 'a'"),
    ],
)
def test_a_bad_table_is_refused_in_words(files, text, words):
    with pytest.raises(ScanError) as error:
        read_pairs(write(files, text))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_that_is_none_is_refused(files):
    with pytest.raises(ScanError, match="cannot be read"):
        read_pairs(files / "gone.csv")
    with pytest.raises(ScanError, match="no text file"):
        read_pairs(files / "images/1.png")


def test_folders_pair_by_name_whatever_the_suffix(files):
    (files / "masks/2.png").rename(files / "masks/2_mask.tif")
    (files / "masks/.hidden.png").touch()
    (files / "masks/notes.txt").touch()
    pairs = pair_folders(files / "images", files / "masks")
    assert [(one.scan.name, one.mask.name) for one in pairs] == [("1.png", "1.png"), ("2.png", "2_mask.tif")]


def test_folders_that_do_not_fit_name_the_first_mismatches(files):
    (files / "masks/2.png").rename(files / "masks/3.png")
    with pytest.raises(ScanError, match=r"no mask for 2\.png; no image for 3\.png"):
        pair_folders(files / "images", files / "masks")


@pytest.mark.parametrize(("folder", "words"), [("gone", "cannot be read as a folder"), (".", "holds no scan")])
def test_a_folder_without_scans_is_refused(files, folder, words):
    with pytest.raises(ScanError, match=words):
        scans_in(files / folder)


@pytest.mark.parametrize(("name", "expected"), [("a.nii.gz", "a"), ("a.b.png", "a.b"), ("IM_0001", "IM_0001")])
def test_stem(name, expected):
    assert stem(Path(name)) == expected


def truth(tmp_path, mask, scan, labels=ONE, suffix=".tif"):
    path = tmp_path / f"truth{suffix}"
    scans.write_mask(path, mask, Scan(mask, scan.axes, scan.affine, scan.units))
    return read_truth(Pair(tmp_path / "scan.nii", path, ""), scan, scan.array.shape, labels)


def test_any_value_is_tumour_for_a_model_of_one_label(tmp_path):
    mask = np.array([[0, 1, 7], [255, 0, 0]], np.uint8)
    scan = Scan(np.zeros((2, 3)), "yx")
    np.testing.assert_array_equal(truth(tmp_path, mask, scan), [[0, 1, 1], [1, 0, 0]])
    np.testing.assert_array_equal(truth(tmp_path, mask, scan, suffix=".png"), [[0, 1, 1], [1, 0, 0]])


def test_values_are_labels_for_a_model_of_several(tmp_path):
    scan = Scan(np.zeros((2, 3)), "yx")
    mask = np.array([[0, 1, 3], [2, 0, 0]], np.uint8)
    np.testing.assert_array_equal(truth(tmp_path, mask, scan, THREE), mask)
    with pytest.raises(ScanError, match=r"truth\.tif has the values 6, 9, the model knows 0 to 3"):
        truth(tmp_path, mask * 3, scan, THREE)


def test_a_mask_of_another_size_is_named(tmp_path):
    with pytest.raises(ScanError, match=r"truth\.tif has 2 x 3 pixels and scan\.nii has 3 x 2"):
        truth(tmp_path, np.zeros((2, 3), np.uint8), Scan(np.zeros((3, 2)), "yx"))


@pytest.mark.parametrize(("moved", "fits"), [(0.0, True), (0.3, True), (20.0, False)])
def test_a_mask_at_another_place_in_the_patient_is_refused(tmp_path, moved, fits):
    affine = np.diag([3.0, 1.0, 1.0, 1.0])
    mask = np.ones((3, 5, 4), np.uint8)
    there = affine.copy()
    there[1, 3] = moved
    path = scans.write_mask(tmp_path / "truth.nii.gz", mask, Scan(mask, "zyx", there, "mm"))
    pair, scan = Pair(tmp_path / "scan.nii", path, ""), Scan(mask, "zyx", affine, "mm")
    if fits:
        assert read_truth(pair, scan, mask.shape, ONE).all()
    else:
        with pytest.raises(ScanError, match=r"truth\.nii\.gz lies elsewhere than scan\.nii, they do not overlap"):
            read_truth(pair, scan, mask.shape, ONE)


def test_a_flipped_mask_is_turned_and_that_is_noted(tmp_path):
    affine = np.diag([3.0, 1.0, 1.0, 1.0])
    flipped = np.diag([3.0, -1.0, 1.0, 1.0])
    flipped[1, 3] = 4
    mask = np.zeros((3, 5, 4), np.uint8)
    mask[1, 1:3, 2] = 1
    path = scans.write_mask(tmp_path / "truth.nii.gz", mask, Scan(mask, "zyx", flipped, "mm"))
    pair, scan, notes = Pair(tmp_path / "scan.nii", path, ""), Scan(mask, "zyx", affine, "mm"), []
    np.testing.assert_array_equal(read_truth(pair, scan, mask.shape, ONE, notes=notes), mask[:, ::-1])
    assert notes == ["truth.nii.gz: The mask was moved onto the scan's grid (rows flipped)."]
