"""The measure command as a person calls it."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from napari_unet_tumour.cli import main


def write(path, array, spacing=(2, 1, 1), units="mm"):
    """A NIfTI file of a (z, y, x) array."""
    image = nib.Nifti1Image(array.transpose(2, 1, 0), np.diag([*spacing[::-1], 1.0]))
    image.header.set_xyzt_units(units)
    nib.save(image, path)
    return str(path)


@pytest.fixture
def case(tmp_path):
    """Scan, mask and an earlier, larger mask."""
    now, before = np.zeros((2, 6, 40, 40), np.uint8)
    now[2:4, 10:20, 5:25] = 1
    before[2:4, 5:35, 5:35] = 1
    files = {"scan": now * 50.0, "mask": now, "before": before}
    return {name: write(tmp_path / f"{name}.nii.gz", array) for name, array in files.items()}


def test_tells_volume_and_diameters_and_writes_both_files(case, tmp_path, capsys):
    code = main(
        ["measure", case["scan"], case["mask"], "--csv", str(tmp_path / "o.csv"), "--json", str(tmp_path / "o.json")]
    )
    output = capsys.readouterr()
    assert code == 0
    assert "volume (ml)" in output.out
    assert "1 lesion, 0.8 ml" in output.out
    with (tmp_path / "o.csv").open(newline="") as file:
        lesion, label = csv.DictReader(file)
    assert (lesion["volume"], lesion["mean"], label["kind"]) == ("0.8", "50", "label")
    found = json.loads((tmp_path / "o.json").read_text())
    assert (found["scan"], found["mask"], found["lesions"][0]["measurable"]) == ("scan", "mask", True)
    assert "comparison" not in found


def test_compares_with_an_earlier_mask(case, tmp_path, capsys):
    assert (
        main(["measure", case["scan"], case["mask"], "--earlier", case["before"], "--json", str(tmp_path / "o.json")])
        == 0
    )
    output = capsys.readouterr()
    assert "label 1 since before: volume -78 %, product" in output.out
    assert "partial response" in output.out
    assert "not a medical device" in output.err
    assert json.loads((tmp_path / "o.json").read_text())["comparison"]["earlier_mask"] == "before"


def test_pixels_where_the_spacing_is_not_true(case, capsys):
    assert main(["measure", case["scan"], case["mask"], "--pixels", "--earlier", case["before"]]) == 0
    assert "400 pixels" in capsys.readouterr().out


def test_an_empty_mask_is_no_error(tmp_path, case, capsys):
    empty = write(tmp_path / "empty.nii.gz", np.zeros((6, 40, 40), np.uint8))
    assert main(["measure", case["scan"], empty]) == 0
    assert "no lesion" in capsys.readouterr().out


def test_a_picture_counts_pixels(tmp_path, capsys):
    mask = np.zeros((40, 40), np.uint8)
    mask[5:15, 5:15] = 255
    for name, array in (("a", mask // 2), ("m", mask)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    assert main(["measure", str(tmp_path / "a.png"), str(tmp_path / "m.png")]) == 0
    assert "100 pixels" in capsys.readouterr().out


def test_a_mask_on_another_grid_is_put_onto_the_scans_and_a_note_says_so(tmp_path, case, capsys):
    thick = np.zeros((6, 40, 40), np.uint8)
    thick[1:3, 10:20, 5:25] = 1
    moved = write(tmp_path / "moved.nii.gz", thick, spacing=(3, 1, 1))
    assert main(["measure", case["scan"], moved]) == 0
    output = capsys.readouterr()
    assert "note: The mask was resampled onto the scan's grid (nearest neighbour" in output.err
    assert "1 lesion, 1.2 ml" in output.out


def turned(path, tmp_path, name, axes="RAS"):
    """The same voxels at the same places, in another order in the file."""
    image = nib.load(path)
    wanted = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes))
    nib.save(image.as_reoriented(wanted), tmp_path / name)
    return str(tmp_path / name)


@pytest.mark.parametrize("axes", ["LPS", "LAI", "SPL", "ASL"])
def test_a_mask_in_another_axis_order_gives_the_same_figures(case, tmp_path, capsys, axes):
    found = []
    for mask in (case["mask"], turned(case["mask"], tmp_path, "mask_turned.nii.gz", axes)):
        assert main(["measure", case["scan"], mask, "--json", str(tmp_path / "o.json")]) == 0
        found.append(json.loads((tmp_path / "o.json").read_text())["lesions"])
    assert found[0] == found[1]
    assert "The mask was moved onto the scan's grid" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scan", "mask", "words"),
    [("scan", "missing", "missing.nii.gz does not exist"), ("small", "mask", "choose the mask of this scan")],
)
def test_bad_input_gets_one_line_and_code_1(tmp_path, case, capsys, scan, mask, words):
    far = np.diag([1.0, 1.0, 2.0, 1.0])
    far[:3, 3] = 300
    nib.save(nib.Nifti1Image(np.zeros((40, 40, 5), np.float32), far), tmp_path / "small.nii.gz")
    code = main(
        [
            "measure",
            str(tmp_path / f"{scan}.nii.gz"),
            str(tmp_path / f"{mask}.nii.gz"),
            "--csv",
            str(tmp_path / "o.csv"),
        ]
    )
    output = capsys.readouterr()
    assert code == 1
    assert words in output.err
    assert output.err.count("\n") == 1
    assert not (tmp_path / "o.csv").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path, case, capsys):
    (tmp_path / "file").write_text("")
    assert main(["measure", case["scan"], case["mask"], "--csv", str(tmp_path / "file/o.csv")]) == 1
    assert "cannot be written" in capsys.readouterr().err
