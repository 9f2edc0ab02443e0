import json
import os
import signal
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_unet_tumour import scans
from napari_unet_tumour.cli import main
from napari_unet_tumour.engine import model, networks
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.scans.training_match import ScanMatch


@pytest.fixture
def folder(tmp_path, bright, blob):
    """A folder with one scan of every kind, and the name of the model as the default."""
    there = tmp_path / "in"
    there.mkdir()
    Image.fromarray(blob).save(there / "a.png")
    Image.fromarray(np.repeat(blob[..., None], 3, -1)).save(there / "b.jpg", quality=95)
    tifffile.imwrite(there / "c.tif", np.stack([blob] * 2))
    volume = np.stack([blob, np.zeros_like(blob), blob])
    scans.write_mask(there / "d.nii.gz", volume, Scan(volume, "zyx", np.diag([5, 1, 1, 1.0]), "mm"))
    (there / "notes.txt").write_text("no scan")
    return there


def masks_in(out):
    return sorted(p.name for p in out.iterdir() if "_mask" in p.name)


def test_a_folder_of_all_kinds(folder, blob, tmp_path, capsys):
    assert main(["segment", str(folder), "--out", str(tmp_path / "deep" / "out")]) == 0
    out = tmp_path / "deep" / "out"
    assert masks_in(out) == ["a_mask.png", "b_mask.png", "c_mask.tif", "d_mask.nii.gz"]
    np.testing.assert_array_equal(np.asarray(Image.open(out / "a_mask.png")), np.where(blob > 127, 255, 0))
    np.testing.assert_array_equal(tifffile.imread(out / "c_mask.tif"), np.stack([blob > 127] * 2))
    written = nibabel.load(out / "d_mask.nii.gz")
    np.testing.assert_allclose(written.affine, nibabel.load(folder / "d.nii.gz").affine)
    np.testing.assert_array_equal(
        np.asarray(written.dataobj) > 0, np.asarray(nibabel.load(folder / "d.nii.gz").dataobj) > 127
    )
    said = capsys.readouterr()
    assert f"{folder / 'd.nii.gz'} -> {out / 'd_mask.nii.gz'}: 3 slices, 2 with tumour, 400 tumour pixels" in said.out
    assert "4 scans done: 7 slices in" in said.err


def test_a_second_run_does_not_take_results_for_scans(folder, capsys):
    for _ in range(2):
        assert main(["segment", str(folder), "--out", str(folder)]) == 0
    assert "4 scans done" in capsys.readouterr().err.splitlines()[-1]
    assert not list(folder.glob("*_mask_mask*"))


def test_an_input_is_never_overwritten(folder, blob, capsys):
    Image.fromarray(blob).save(folder / "a_mask.png")
    words = [str(folder / "a.png"), str(folder / "a_mask.png")]
    assert main(["segment", *words, "--out", str(folder)]) == 1
    assert "written over the input" in capsys.readouterr().err
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "a_mask.png")), blob)
    assert (folder / "a_mask_mask.png").exists()


def test_equal_names_from_two_folders_get_two_files(folder, tmp_path, blob):
    (tmp_path / "other").mkdir()
    Image.fromarray(blob).save(tmp_path / "other" / "a.png")
    Image.fromarray(blob).save(tmp_path / "other" / "a.jpg")
    scans_given = [str(folder / "a.png"), str(tmp_path / "other" / "a.png"), str(tmp_path / "other" / "a.jpg")]
    assert main(["segment", *scans_given, scans_given[0], "--out", str(tmp_path / "out")]) == 0
    assert masks_in(tmp_path / "out") == ["a_jpg_mask.png", "a_png_mask.png", "in_a_mask.png"]


def test_json_has_a_row_for_every_scan_a_single_one_too(folder, tmp_path, monkeypatch):
    match = ScanMatch(4, 0.75, "FLAIR", "contrast-enhanced T1", "name")
    monkeypatch.setattr("napari_unet_tumour.api.scan_job.match_scan", lambda *given: match)
    out = tmp_path / "out"
    assert main(["segment", str(folder / "d.nii.gz"), "--out", str(out), "--json", str(tmp_path / "j/one.json")]) == 0
    found = json.loads((tmp_path / "j/one.json").read_text())
    assert found["model"]["name"] == "bright"
    assert [(one["status"], one["lesions"], one["unlike"]) for one in found["scans"]] == [("done", 2, 0.75)]
    assert found["scans"][0]["note"] == match.message
    assert not (out / "summary.csv").exists(), "a single scan has no table"
    (folder / "a.png").write_bytes(b"cut")
    assert main(["segment", str(folder), "--out", str(out), "--json", str(tmp_path / "all.json")]) == 1
    found = json.loads((tmp_path / "all.json").read_text())
    assert [one["status"] for one in found["scans"]] == ["failed", "done", "done", "done"]


def test_patterns_are_expanded(folder, tmp_path, capsys):
    assert main(["segment", str(folder / "[ac].*"), "--out", str(tmp_path / "out")]) == 0
    assert len(masks_in(tmp_path / "out")) == 2
    assert main(["segment", str(folder / "*.dcm"), "--out", str(tmp_path / "out")]) == 1
    assert "no file fits" in capsys.readouterr().err


def test_one_bad_scan_is_named_and_the_rest_is_done(folder, tmp_path, capsys):
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:100])
    (folder / "lie.png").write_bytes((folder / "d.nii.gz").read_bytes())
    words = [str(folder), str(tmp_path / "gone.png"), "--out", str(tmp_path / "out")]
    assert main(["segment", *words]) == 1
    said = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("error: ") for line in said) == 3
    for name in ("in/cut.png is cut", "in/lie.png holds gzip data", "gone.png does not exist"):
        assert any(name in line for line in said)
    assert "4 scans done, 3 failed" in said[-1]
    assert len(masks_in(tmp_path / "out")) == 4


@pytest.mark.parametrize("kind", ["nifti", "tiff"])
def test_format_and_probability(folder, blob, tmp_path, kind):
    words = [str(folder / "d.nii.gz"), "--out", str(tmp_path), "--format", kind, "--probability"]
    assert main(["segment", *words]) == 0
    ending = {"nifti": ".nii.gz", "tiff": ".tif"}[kind]
    probability = scans.read(tmp_path / f"d_probability{ending}").array
    assert probability.max() == 1
    np.testing.assert_array_equal(probability >= 0.5, scans.read(tmp_path / f"d_mask{ending}").array > 0)


def test_probability_of_a_picture_is_a_picture(folder, blob, tmp_path):
    assert main(["segment", str(folder / "a.png"), "--out", str(tmp_path), "--probability"]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a_probability.png")) > 127, blob > 127)


def test_several_labels_give_a_probability_each(folder, tmp_path, blob, monkeypatch):
    def three(in_channels, out_channels):
        return networks.nn.Sequential(networks.nn.Conv2d(in_channels, out_channels, 1))

    monkeypatch.setitem(networks.NETWORKS, "three", three)
    labels = ("background", "core", "oedema")
    spec = ModelSpec("three", "three", normalisation="divide-by-255", size=64, labels=labels)
    torch = networks.torch
    weights = {"0.weight": torch.tensor([0.0, 200, 0]).reshape(3, 1, 1, 1), "0.bias": torch.tensor([0.0, -100, -50])}
    model.save(registry.user_models_dir() / "three.safetensors", spec, weights)
    words = ["--model", "three", "--out", str(tmp_path), "--probability"]
    assert main(["segment", str(folder / "a.png"), *words]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a_mask.png")), (blob > 127) * 1)
    assert (np.asarray(Image.open(tmp_path / "a_probability-core.png")) > 127).sum() == 200
    assert (np.asarray(Image.open(tmp_path / "a_probability-oedema.png")) > 127).sum() == 0


def test_settings_and_axis_are_obeyed(folder, tmp_path, blob, capsys):
    words = [str(folder / "d.nii.gz"), "--out", str(tmp_path), "--min-object-size", "1000"]
    assert main(["segment", *words]) == 0
    assert "0 with tumour, 0 tumour pixels" in capsys.readouterr().out
    assert main(["segment", *words[:3], "--axis", "2"]) == 0
    assert "64 slices, 20 with tumour, 400 tumour pixels" in capsys.readouterr().out
    assert main(["segment", *words[:3], "--axis", "5"]) == 1
    assert "cannot be sliced along axis 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{in}/d.nii.gz", "--format", "png"], "a PNG holds one: choose --format"),
        (["{in}/a.png", "--format", "dicom-seg"], "is no DICOM series, so it cannot have a DICOM-SEG: choose --format"),
        (["{in}/a.png", "--model", "nope"], "no model is called 'nope' (known: bright)"),
        (["{in}/a.png", "--model", "{in}/notes.txt"], "notes.txt is not a model file"),
        (["{in}/a.png", "--out", "{in}/notes.txt"], "notes.txt cannot be written"),
        (["{in}/a.png", "--device", "cuda"], "A GPU (cuda) was asked for"),
        (["{in}/a.png", "--scheduler", "tcp://127.0.0.1:9"], "127.0.0.1:9"),
    ],
)
def test_bad_input_gets_one_clear_line_and_no_file(folder, tmp_path, monkeypatch, capsys, words, said):
    import torch

    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["segment", *(word.replace("{in}", str(folder)) for word in words)]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def two(bright):
    """A model installed that sees tumour where the second of its two channels is bright."""
    spec = ModelSpec("two", "brightness", normalisation="divide-by-255", size=64, channels=("T1", "FLAIR"))
    weights = {
        "0.weight": networks.torch.tensor([0.0, 200.0]).reshape(1, 2, 1, 1),
        "0.bias": networks.torch.tensor([-100.0]),
    }
    model.save(registry.user_models_dir() / "two.safetensors", spec, weights)
    return ["--model", "two"]


def test_a_file_for_each_channel(folder, two, blob, tmp_path, capsys):
    for name, image in (("t1", blob * 0), ("flair", blob)):
        volume = np.stack([image] * 3)
        for patient in ("p1", "p2"):
            (tmp_path / patient).mkdir(exist_ok=True)
            scans.write_mask(
                tmp_path / patient / f"{name}.nii.gz", volume, Scan(volume, "zyx", np.diag([5, 1, 1, 1.0]), "mm")
            )
    words = []
    for patient in ("p1", "p2"):
        there = tmp_path / patient
        words += ["--channels", f"t1={there / 't1.nii.gz'}", f"FLAIR={there / 'flair.nii.gz'}"]
    assert main(["segment", *words, *two, "--out", str(tmp_path / "out"), "--axis", "0"]) == 0
    said = capsys.readouterr()
    assert "3 slices, 3 with tumour, 600 tumour pixels" in said.out
    assert "2 scans done" in said.err
    for patient in ("p1", "p2"):
        written = nibabel.load(tmp_path / "out" / f"{patient}_t1_mask.nii.gz")
        source = nibabel.load(tmp_path / patient / "t1.nii.gz")
        np.testing.assert_array_equal(written.affine, source.affine)
        assert np.asarray(written.dataobj).sum() == 600


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["--channels", "T1={in}/a.png"], "nothing is given for FLAIR", 1),
        (["--channels", "T1={in}/a.png", "T3={in}/a.png"], "has no channel 'T3'", 1),
        (["--channels", "T1={in}/a.png", "t1={in}/a.png"], "channel T1 is given twice", 1),
        (["--channels", "T1={in}/a.png", "FLAIR={in}/gone.png"], "gone.png does not exist", 1),
        (["--channels", "T1={in}/a.png", "FLAIR={in}/c.tif"], "choose scans with the same axes", 1),
        (["--channels", "T1={in}/a.png", "FLAIR={in}/b.jpg"], "colours or channels of its own", 1),
        (["{in}/a.png"], "needs 2 channels (T1, FLAIR), the scan has 1: give a scan for each channel", 1),
        (["--channels", "T1"], "'T1' does not look like NAME=FILE", 2),
        ([], "give a SCAN, or --channels", 2),
    ],
)
def test_channels_that_do_not_fit_get_one_clear_line(folder, two, tmp_path, capsys, words, said, code):
    given = ["segment", *(word.replace("{in}", str(folder)) for word in words), *two, "--out", str(tmp_path / "out")]
    if code == 2:
        with pytest.raises(SystemExit, match="2"):
            main(given)
    else:
        assert main(given) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(errors) == 1
    assert said in errors[0]
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused_before_any_work(folder, tmp_path, capsys):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert main(["segment", str(folder / "a.png"), "--out", str(locked)]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_ctrl_c_stops_with_130_and_no_half_file(tmp_path, blob):
    home, out = tmp_path / "home", tmp_path / "out"
    spec = ModelSpec("slow", "unet", {"channels": [16, 32, 64], "num_res_units": 2}, size=256)
    net = networks.build("unet", 1, 1, **spec.arguments)
    (home / "models").mkdir(parents=True)
    model.save(home / "models" / "slow.safetensors", spec, net.state_dict())
    for n in range(60):
        tifffile.imwrite(tmp_path / f"{n}.tif", np.stack([np.roll(blob, n)] * 5))
    running = subprocess.Popen(
        [sys.executable, "-m", "napari_unet_tumour", "segment", str(tmp_path), "--model", "slow", "--out", str(out)],
        env={**os.environ, registry.HOME: str(home)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert "->" in running.stdout.readline()
    running.send_signal(signal.SIGINT)
    begin = time.monotonic()
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert time.monotonic() - begin < 10
    assert "interrupted: " in said.splitlines()[-1]
    assert "Traceback" not in said
    left = [out / name for name in masks_in(out)]
    assert 0 < len(left) < 60
    assert {path.name: tifffile.imread(path).shape for path in left} == {path.name: (5, 64, 64) for path in left}


@pytest.mark.slow
def test_a_real_scan(real_scans, tmp_path, capsys):
    if not registry.entries():
        pytest.skip("no model ships yet")
    scan = real_scans / "btp" / "01" / "Pre_Scan_T1.nii.gz"
    assert main(["segment", str(scan), "--out", str(tmp_path)]) == 0
    assert nibabel.load(tmp_path / "Pre_Scan_T1_mask.nii.gz").shape == nibabel.load(scan).shape
    assert "24 slices" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["segment", "evaluate"])
def test_a_part_that_the_model_cannot_show(command, folder, tmp_path, capsys):
    images = [str(folder / "a.png")] if command == "segment" else [str(folder), str(folder)]
    assert main([command, *images, "--part", "enhancing"]) == 1
    said = capsys.readouterr().err
    assert "model bright cannot show the enhancing part" in said
    assert "leave the part out" in said
