import csv
import importlib
import json

import numpy as np
import pytest
from PIL import Image

from napari_unet_tumour.cli import main
from napari_unet_tumour.scans.training_match import ScanMatch

SUMMARY = {
    "slices", "tumour_slices", "dice_mean", "dice_median", "dice_p5", "iou_mean", "precision_mean", "recall_mean",
    "group_dice_mean", "volume_dice_mean", "false_mask_rate", "hd95_mean", "seconds",
}  # fmt: skip


@pytest.fixture
def folders(tmp_path, bright, blob):
    """images/ and masks/ with three slices; the third mask is half right; pairs.csv names two patients."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    rows = ["scan,mask,group"]
    for n in range(3):
        mask = (np.roll(blob, n, 0) > 127) * np.uint8(255)
        mask[:, 40 if n == 2 else 64 :] = 0
        Image.fromarray(np.roll(blob, n, 0)).save(tmp_path / "images" / f"{n}.png")
        Image.fromarray(mask).save(tmp_path / "masks" / f"{n}.png")
        rows.append(f"images/{n}.png,masks/{n}.png,{'ann' if n else 'bob'}")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    return tmp_path


def test_json_has_the_fields_of_the_contract(folders, monkeypatch, capsys):
    monkeypatch.chdir("/")
    words = ["--pairs", str(folders / "pairs.csv"), "--json", str(folders / "deep/out.json")]
    assert main(["evaluate", *words]) == 0
    found = json.loads((folders / "deep/out.json").read_text())
    assert set(found["model"]) == {"name", "hash"}
    assert set(found["summary"]) >= SUMMARY
    assert set(found["cases"][0]) >= {"scan", "group", "slice", "dice"}
    assert found["summary"]["dice_mean"] == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert found["summary"]["group_dice_mean"] == pytest.approx((1 + 5 / 6) / 2)
    said = capsys.readouterr().out
    assert "dice_mean" in said
    assert "by group (2 of 2)" in said


def test_folders_give_the_same_as_pairs(folders):
    words = [str(folders / "images"), str(folders / "masks"), "--csv", str(folders / "out.csv")]
    assert main(["evaluate", *words]) == 0
    rows = list(csv.DictReader((folders / "out.csv").read_text().splitlines()))
    assert [float(row["dice"]) for row in rows] == pytest.approx([1, 1, 2 / 3])
    assert rows[0]["scan"].endswith("0.png")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pairs", "{}/gone.csv"], "gone.csv cannot be read"),
        (["{}/images", "{}/gone"], "cannot be read as a folder"),
        (["{}/images", "{}/masks", "--json", "{}/images"], "is a folder"),
        (["{}/images", "{}/masks", "--csv", "{}/pairs.csv/out.csv"], "cannot be written"),
        (["{}/images", "{}/masks", "--model", "{}/gone.safetensors"], "gone.safetensors cannot be read"),
    ],
)
def test_bad_input_gets_one_clear_line(folders, capsys, words, said):
    assert main(["evaluate", *(word.replace("{}", str(folders)) for word in words)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error


def test_a_pair_that_does_not_fit_is_named_and_the_exit_code_says_so(folders, capsys):
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(folders / "masks" / "1.png")
    assert main(["evaluate", str(folders / "images"), str(folders / "masks")]) == 1
    said = capsys.readouterr()
    assert "1.png has 3 x 3 pixels and 1.png has 64 x 64" in said.err


def test_a_second_reader_of_some_scans_is_compared_and_every_slice_is_a_row(folders, capsys):
    table = folders / "pairs.csv"
    lines = [
        line + cell
        for line, cell in zip(table.read_text().splitlines(), (",second", ",", ",masks/2.png", ","), strict=True)
    ]
    table.write_text("\n".join(lines))
    assert main(["evaluate", "--pairs", str(table), "--csv", str(folders / "out.csv")]) == 0
    rows = list(csv.DictReader((folders / "out.csv").read_text().splitlines()))
    assert [bool(row["agreement"]) for row in rows] == [False, True, False]
    said = capsys.readouterr().out
    assert "beside two readers" in said
    assert "first reader, second reader" in said


def test_a_scan_that_is_not_what_the_model_was_made_for_is_noted(folders, monkeypatch, capsys):
    match = ScanMatch(4, 0.75, "", "contrast-enhanced T1")
    monkeypatch.setattr(importlib.import_module("napari_unet_tumour.api.evaluate"), "match_scan", lambda *given: match)
    assert main(["evaluate", "--pairs", str(folders / "pairs.csv"), "--json", str(folders / "out.json")]) == 0
    matches = json.loads((folders / "out.json").read_text())["matches"]
    assert [(one["unlike"], one["slices"], one["doubtful"]) for one in matches] == [(0.75, 4, True)] * 3
    assert "0.png: 3 of 4 slices look unlike the training slices" in capsys.readouterr().err
