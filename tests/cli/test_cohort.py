"""A folder of scans: segmented once, a summary table, named failures, large images in tiles, several workers."""

import csv
import json
import os
import time

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_unet_tumour import jobs, scans
from napari_unet_tumour.api import cohort
from napari_unet_tumour.cli import main
from napari_unet_tumour.engine import model
from napari_unet_tumour.models import registry
from napari_unet_tumour.scans.scan import Scan


@pytest.fixture
def folder(tmp_path, bright, blob):
    there = tmp_path / "in"
    there.mkdir()
    for n in range(4):
        Image.fromarray(np.roll(blob, n, 0)).save(there / f"{n}.png")
    volume = np.stack([blob, np.zeros_like(blob), blob])
    scans.write_mask(there / "v.nii.gz", volume, Scan(volume, "zyx", np.diag([5, 2, 2, 1.0]), "mm"))
    return there


def table(out):
    with (out / "summary.csv").open() as file:
        return {os.path.basename(row["scan"]): row for row in csv.DictReader(file)}


def times(out):
    return {p.name: p.stat().st_mtime_ns for p in out.iterdir() if "_mask" in p.name}


def test_the_table_tells_volumes_and_the_second_run_does_nothing(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["segment", str(folder), "--out", str(out)]) == 0
    rows = table(out)
    assert len(rows) == 5
    volume = rows["v.nii.gz"]
    assert (volume["status"], volume["lesions"], volume["volume_unit"]) == ("done", "2", "ml")
    assert float(volume["volume"]) == float(volume["volume_tumour"]) == pytest.approx(2 * 200 * 20 / 1000)
    assert (rows["0.png"]["volume"], rows["0.png"]["volume_unit"]) == ("200.0", "pixels")
    before = times(out)
    assert main(["segment", str(folder), "--out", str(out)]) == 0
    assert times(out) == before
    assert table(out) == rows
    assert "5 scans done, 5 of them before this run" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["content", "settings", "model", "mask", "touch"])
def test_what_has_changed_is_done_again(folder, tmp_path, blob, change):
    out, more = tmp_path / "out", []
    assert main(["segment", str(folder), "--out", str(out)]) == 0
    before = times(out)
    again = set(before)
    if change == "content":
        Image.fromarray(255 - blob).save(folder / "1.png")
        again = {"1_mask.png"}
    elif change == "settings":
        more = ["--threshold", "0.7"]
    elif change == "model":
        file = registry.user_models_dir() / "bright.safetensors"
        found = model.load(file)
        model.save(file, found.spec, {k: v + 1 for k, v in found.net.state_dict().items()})
    elif change == "mask":
        (out / "2_mask.png").unlink()
        again = {"2_mask.png"}
    else:
        os.utime(folder / "1.png")
        again = set()
    assert main(["segment", str(folder), "--out", str(out), *more]) == 0
    after = times(out)
    assert {name for name in after if after[name] != before[name]} == again


def test_a_failure_is_in_the_table_and_tried_again(folder, tmp_path, capsys):
    out = tmp_path / "out"
    whole = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(whole[:60])
    assert main(["segment", str(folder), "--out", str(out)]) == 1
    row = table(out)["3.png"]
    assert row["status"] == "failed"
    assert "is cut or damaged" in row["reason"]
    assert sum(one["status"] == "done" for one in table(out).values()) == 4
    (folder / "3.png").write_bytes(whole)
    assert main(["segment", str(folder), "--out", str(out)]) == 0
    assert table(out)["3.png"]["status"] == "done"
    assert "5 scans done, 4 of them before this run" in capsys.readouterr().err


def test_a_record_that_was_cut_off_is_used_as_far_as_it_goes(folder, tmp_path):
    out = tmp_path / "out"
    assert main(["segment", str(folder), "--out", str(out)]) == 0
    record = out / cohort.RECORD_FILE
    record.write_text(record.read_text()[:-30])
    before = times(out)
    assert main(["segment", str(folder), "--out", str(out)]) == 0
    assert sum(before[name] != now for name, now in times(out).items()) == 1


def test_a_thousand_finished_scans_are_known_within_a_second(tmp_path):
    lines = []
    for n in range(1000):
        scan, mask = tmp_path / f"{n}.png", tmp_path / f"{n}_mask.png"
        scan.write_bytes(b"scan")
        mask.write_bytes(b"mask")
        lines.append((scan, mask))
    record = cohort.FinishedScans(tmp_path, {"model": "a"})
    for scan, mask in lines:
        record.add(scan, mask, {"scan": str(scan)}, cohort.fingerprint(scan))
    start = time.process_time()
    again = cohort.FinishedScans(tmp_path, {"model": "a"})
    assert all(again.row_of(scan, mask) for scan, mask in lines)
    assert time.process_time() - start < 1
    assert cohort.FinishedScans(tmp_path, {"model": "b"}).row_of(*lines[0]) is None


@pytest.mark.parametrize("kind", [".tif", ".zarr"])
def test_a_large_image_is_done_in_windows_into_its_own_format(tmp_path, bright, capsys, kind):
    image = np.random.default_rng(0).integers(0, 60, (1500, 1100)).astype(np.uint8)
    image[700:800, 900:1000] = 220
    there = tmp_path / f"slide{kind}"
    if kind == ".tif":
        tifffile.imwrite(there, image)
    else:
        zarr.create_array(there, shape=image.shape, dtype="u1", chunks=(256, 256))[:] = image
    assert main(["segment", str(there), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "1500 x 1100 pixels, so in windows of 64" in said.err
    assert "10000 tumour pixels" in said.out
    assert [p.name for p in (tmp_path / "out").iterdir()] == [f"slide_mask{kind}"]
    found = np.asarray(scans.read(tmp_path / "out" / f"slide_mask{kind}").array)
    np.testing.assert_array_equal(found > 0, image > 127)
    assert main(["segment", str(there), "--out", str(tmp_path / "out"), "--keep-largest"]) == 1
    assert "leave --keep-largest out" in capsys.readouterr().err


@pytest.fixture
def small(bright):
    """A model whose network the package knows, since the workers must build it too."""
    from napari_unet_tumour.engine import networks
    from napari_unet_tumour.models.spec import ModelSpec

    spec = ModelSpec("small", "dynunet", {"filters": [8, 16, 32]}, size=64)
    networks.torch.manual_seed(0)
    model.save(
        registry.user_models_dir() / "small.safetensors",
        spec,
        networks.build("dynunet", 1, 1, **spec.arguments).state_dict(),
    )
    yield "small"
    jobs.shutdown()


@pytest.mark.slow
def test_workers_share_a_cohort_and_give_the_same(folder, tmp_path, small):
    words = ["segment", str(folder), "--model", small]
    assert main([*words, "--out", str(tmp_path / "two"), "--workers", "2"]) == 0
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    assert times(tmp_path / "one").keys() == times(tmp_path / "two").keys()
    for one in (tmp_path / "one").glob("*_mask*"):
        here, there = (np.asarray(scans.read(p).array) > 0 for p in (one, tmp_path / "two" / one.name))
        assert (here == there).mean() > 0.99
    one, two = table(tmp_path / "one"), table(tmp_path / "two")
    assert one.keys() == two.keys()
    assert {row["status"] for row in two.values()} == {"done"}
    assert float(two["v.nii.gz"]["volume"]) == pytest.approx(float(one["v.nii.gz"]["volume"]), rel=0.05)
    assert json.loads((tmp_path / "two" / cohort.RECORD_FILE).read_text().splitlines()[0])["content"]


@pytest.mark.slow
def test_workers_name_what_fails_and_leave_large_ones_to_the_command(folder, tmp_path, small, capsys):
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:60])
    wide = np.zeros((1500, 1100), np.uint8)
    tifffile.imwrite(folder / "slide.tif", wide)
    out = tmp_path / "out"
    assert main(["segment", str(folder), "--model", small, "--out", str(out), "--workers", "2"]) == 1
    said = capsys.readouterr()
    assert f"error: {folder / '3.png'} is cut or damaged" in said.err
    assert f"note: {folder / 'slide.tif'}: 1500 x 1100 pixels, so in windows of 64" in said.err
    rows = table(out)
    assert [rows[name]["status"] for name in ("0.png", "3.png", "slide.tif", "v.nii.gz")] == [
        "done", "failed", "done", "done"
    ]  # fmt: skip
    assert (out / "slide_mask.tif").exists()


def test_what_a_killed_process_left_half_written_goes_and_nothing_else_does(folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    gone = out / ".4194305-12-0_mask.png"
    stay = [out / f".{os.getpid()}-12-0_mask.png", out / ".4194305-12-another.png", out / ".a-b-0_mask.png"]
    for one in (gone, *stay):
        one.write_bytes(b"half")
    assert main(["segment", str(folder), "--out", str(out)]) == 0
    assert not gone.exists()
    assert all(one.exists() for one in stay)
