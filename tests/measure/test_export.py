import csv
import json

import numpy as np
import pytest

from napari_unet_tumour import __version__
from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.measure import as_rows, compare, measure, write_csv, write_json


@pytest.fixture
def report():
    mask = np.zeros((3, 40, 40), np.uint8)
    mask[1, 5:25, 5:15] = 1
    mask[2, 30:34, 30:33] = 2
    image = np.full(mask.shape, 7.0)
    image[2] = np.nan
    return measure(
        mask,
        image,
        spacing=(5, 1, 1),
        labels=("background", "tumour, äußere", "core"),
        mask_name="m",
        model="t1ce-small",
        model_hash="abc",
    )


def test_the_csv_has_a_row_per_lesion_and_per_label(report, tmp_path):
    write_csv(tmp_path / "new/out.csv", report)
    with (tmp_path / "new/out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["kind"], r["label"], r["number"]) for r in rows] == [
        ("lesion", "1", "1"),
        ("lesion", "2", "2"),
        ("label", "1", ""),
        ("label", "2", ""),
    ]
    first = rows[0]
    assert (first["name"], first["volume"], first["volume_units"], first["voxels"]) == (
        "tumour, äußere",
        "1",
        "ml",
        "200",
    )
    assert (float(first["longest"]), first["length_units"], first["measurable"]) == (
        pytest.approx(report.lesions[0].longest, abs=1e-4),
        "mm",
        "yes",
    )
    assert (first["position_z"], first["centroid_z"], first["mean"]) == ("5", "1", "7")
    assert (rows[1]["mean"], rows[1]["measurable"]) == ("", "no")
    assert {(r["model"], r["model_hash"], r["version"], r["mask"]) for r in rows} == {
        ("t1ce-small", "abc", __version__, "m")
    }
    assert len({tuple(row) for row in as_rows(report)}) == 1


def test_the_csv_says_what_changed_since_an_earlier_mask(report, tmp_path):
    earlier = np.zeros((3, 40, 40), np.uint8)
    earlier[1, 5:25, 5:35] = 1
    names = ("background", "tumour", "core")
    write_csv(tmp_path / "out.csv", report, compare(report, measure(earlier, spacing=(5, 1, 1), labels=names)))
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["category"] for row in rows] == ["", "", "partial response", "progressive disease"]
    assert (rows[2]["volume_before"], rows[2]["volume_change"]) == ("3", "-66.6667")
    assert (rows[3]["volume_before"], rows[3]["volume_change"]) == ("0", "")


def test_the_json_is_strict_and_complete(report, tmp_path):
    write_json(tmp_path / "out.json", report, compare(report, report))
    text = (tmp_path / "out.json").read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert found["model"] == {"name": "t1ce-small", "hash": "abc"}
    assert found["version"] == __version__
    assert found["units"] == {"length": "mm", "area": "mm2", "volume": "ml"}
    assert found["lesions"][0]["longest_line"] == [list(p) for p in report.lesions[0].longest_line]
    assert found["lesions"][1]["brightness"] == {"mean": None, "p5": None, "p50": None, "p95": None}
    assert [t["name"] for t in found["labels"]] == ["tumour, äußere", "core"]
    assert found["comparison"]["changes"][0]["category"] == "stable disease"
    assert "medical device" in found["disclaimer"]


def test_an_empty_report_still_makes_files(tmp_path):
    empty = measure(np.zeros((4, 4), np.uint8))
    write_csv(tmp_path / "a.csv", empty)
    write_json(tmp_path / "a.json", empty)
    assert (tmp_path / "a.csv").read_text().startswith("kind,")
    assert json.loads((tmp_path / "a.json").read_text())["lesions"] == []


@pytest.mark.parametrize("write", [write_csv, write_json])
def test_what_cannot_be_written_leaves_nothing(report, tmp_path, write):
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "file/out", report)
    old = tmp_path / "out"
    old.mkdir()
    with pytest.raises(OutputError):
        write(old, report)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "out"]
