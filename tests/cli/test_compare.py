"""The compare command as a person calls it."""

import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from napari_unet_tumour.cli import main


@pytest.fixture
def pair(tmp_path):
    """Two readers' masks, the second one's cut to its extent."""
    first, second = np.zeros((2, 40, 40, 10), np.uint8)
    first[10:20, 10:30, 3:6] = 1
    second[12:22, 10:30, 3:6] = 255
    for name, array, start in (("a", first, 0), ("b", second[12:22, 10:30, 3:6], (12, 10, 15))):
        affine = np.diag([1, 1, 5, 1.0])
        affine[:3, 3] = start
        image = nibabel.Nifti1Image(array, affine)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, tmp_path / f"{name}.nii.gz")
    return [str(tmp_path / f"{name}.nii.gz") for name in "ab"]


def test_says_and_writes_the_figures(pair, tmp_path, capsys):
    out = {flag: str(tmp_path / name) for flag, name in
           (("--csv", "o.csv"), ("--json", "o.json"), ("--difference", "d.nii.gz"))}  # fmt: skip
    assert main(["compare", *pair, *(word for item in out.items() for word in item)]) == 0
    told = capsys.readouterr()
    assert "HD95 (mm)" in told.out
    assert told.out.splitlines()[-1].split()[:3] == ["label", "1", "0.8000"]
    assert "put onto the grid of" in told.err
    assert json.loads((tmp_path / "o.json").read_text())["labels"][0]["dice"] == 0.8
    assert (tmp_path / "o.csv").read_text().startswith("label,name,frame,dice,hd95")
    difference = nibabel.load(out["--difference"])
    assert np.bincount(np.asarray(difference.dataobj).ravel().astype(int))[1:].tolist() == [480, 120, 120]
    assert difference.affine == pytest.approx(nibabel.load(pair[0]).affine)


def test_pictures_count_pixels(tmp_path, capsys):
    mask = np.zeros((40, 40), np.uint8)
    mask[5:15, 5:15] = 255
    for name, array in (("a", mask), ("b", np.roll(mask, 3, axis=1))):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    assert main(["compare", str(tmp_path / "a.png"), str(tmp_path / "b.png")]) == 0
    assert "HD95 (pixels)" in capsys.readouterr().out


def test_two_empty_masks_are_no_error(tmp_path, capsys):
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.png")
    assert main(["compare", str(tmp_path / "a.png"), str(tmp_path / "a.png")]) == 0
    assert "both masks are empty" in capsys.readouterr().out


def test_bad_input_is_one_line_and_leaves_nothing(pair, tmp_path, capsys):
    assert main(["compare", pair[0], str(tmp_path / "none.nii.gz"), "--csv", str(tmp_path / "o.csv")]) == 1
    assert "none.nii.gz" in capsys.readouterr().err
    assert not (tmp_path / "o.csv").exists()
    far = nibabel.load(pair[1])
    moved = far.affine.copy()
    moved[:3, 3] += 900
    nibabel.save(nibabel.Nifti1Image(np.asarray(far.dataobj), moved, far.header), tmp_path / "far.nii.gz")
    assert main(["compare", pair[0], str(tmp_path / "far.nii.gz")]) == 1
    assert "choose two masks of one place" in capsys.readouterr().err
    assert main(["compare", *pair, "--csv", str(tmp_path)]) == 1
    assert "give the name of a file" in capsys.readouterr().err
