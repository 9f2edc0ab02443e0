"""Training from folders: it learns, keeps the best, goes on after a kill, and never loses what it had."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image

from napari_unet_tumour import presets
from napari_unet_tumour.engine import model
from napari_unet_tumour.engine.training import train
from napari_unet_tumour.engine.training.train import iter_train
from napari_unet_tumour.errors import OutputError, TrainingError

SCRIPT = """
import json, sys, time
from napari_unet_tumour.engine.training.train import iter_train
from napari_unet_tumour.settings import TrainSettings
folder, out, settings = json.loads(sys.argv[1])
settings["progressive_stages"], settings["labels"] = tuple(settings["progressive_stages"]), tuple(settings["labels"])
for tick in iter_train(TrainSettings(**settings), folder + "/images", folder + "/masks", out, folder + "/cases.csv"):
    if "row" in tick.values:
        print(tick.message, flush=True)
        time.sleep(1)
"""


def start(folder, out, settings):
    """Train in a process of its own, on one thread, slowly enough to be killed in the middle."""
    words = json.dumps([str(folder), str(out), asdict(settings)])
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)


@pytest.fixture
def one_thread():
    """Compute on one thread, as the other process does: sums over threads differ in their last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def rows(out):
    with (out.with_name(f"{out.stem}.training") / "log.csv").open() as file:
        return list(csv.DictReader(file))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(folder, tiny, out, exhaust, **more):
    return exhaust(iter_train(tiny, folder / "images", folder / "masks", out, folder / "cases.csv", **more))


def test_training_lowers_the_loss_and_finds_the_discs(trained):
    _, out, _, result = trained
    log = rows(out)
    assert float(log[-1]["loss"]) < float(log[0]["loss"]) - 0.1
    assert float(log[-1]["val_dice"]) > 0.5
    assert result.scores["dice_mean"] > 0.5
    assert {"iou_mean", "precision_mean", "recall_mean", "accuracy_mean", "dice_p5"} <= result.scores.keys()


def test_the_best_weights_are_kept_with_their_card(trained):
    _, out, _, result = trained
    best = max(rows(out), key=lambda row: float(row["val_dice"]))
    assert result.best_pass == int(best["pass"])
    spec = model.load(out).spec
    assert spec.scores == result.scores
    assert (spec.network, spec.size, spec.labels) == ("dynunet", 64, ("background", "tumour"))


def test_run_card_names_settings_and_split(trained):
    folder, _, _, _ = trained
    card = json.loads((folder.parent / "model.training" / "run.json").read_text())
    assert card["settings"]["epochs"] == 8
    assert sum(map(len, card["split"].values())) == 48


def test_progress_has_loss_time_left_and_rows(trained):
    _, _, ticks, _ = trained
    steps = [tick for tick in ticks if "seconds_left" in tick.values]
    assert [tick.done for tick in steps] == list(range(1, steps[0].total + 1))
    assert steps[-1].values["seconds_left"] == 0
    assert len([tick for tick in ticks if "row" in tick.values]) == 8


def test_report_is_one_file_with_curves_cases_and_both_splits(trained):
    folder, _, _, _ = trained
    page = (folder.parent / "model.training" / "report.html").read_text()
    assert "by slice: held-out slices of persons it was trained on" in page
    assert page.count("data:image/png") == 8 + 4
    assert page.count("<svg") == 3
    assert "glioma" in page
    assert "http" not in page


@pytest.mark.slow
def test_same_seed_same_model_other_seed_other_model(folder, tiny, tmp_path, exhaust):
    first, again, other = (tmp_path / f"{name}.safetensors" for name in "abc")
    run(folder, tiny, first, exhaust)
    run(folder, tiny, again, exhaust)
    run(folder, replace(tiny, seed=7), other, exhaust)
    weights = [model.load(path).net.state_dict() for path in (first, again, other)]
    name = "input_block.conv1.conv.weight"
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[0][name], weights[2][name])


def test_killed_and_resumed_is_bitwise_the_uninterrupted_run(folder, tiny, tmp_path, exhaust, one_thread):
    settings = replace(tiny, epochs=4, early_stopping=3, schedule="reduce-on-plateau", patience=0)
    whole, cut = tmp_path / "whole" / "m.safetensors", tmp_path / "cut" / "m.safetensors"
    killed = start(folder, cut, settings)
    assert "pass 1" in killed.stdout.readline()
    killed.kill()
    killed.communicate()
    assert len(rows(cut)) in (1, 2)
    run(folder, settings, cut, exhaust, resume=True)
    run(folder, settings, whole, exhaust)
    assert digest(cut) == digest(whole)
    same = [name for name in rows(whole)[0] if name != "seconds"]
    assert [[row[n] for n in same] for row in rows(cut)] == [[row[n] for n in same] for row in rows(whole)]


@pytest.mark.slow
def test_stopped_within_a_pass_goes_on_at_that_step(folder, tiny, tmp_path, exhaust, monkeypatch):
    monkeypatch.setattr(train, "SAVE_EVERY", 0.0)
    whole, cut = tmp_path / "whole" / "m.safetensors", tmp_path / "cut" / "m.safetensors"
    run(folder, tiny, whole, exhaust)
    steps = iter_train(tiny, folder / "images", folder / "masks", cut, folder / "cases.csv")
    for tick in steps:
        if tick.done == 2 and "loss" in tick.values:
            break
    steps.close()
    ticks, _ = run(folder, tiny, cut, exhaust, resume=True)
    assert next(tick.done for tick in ticks if "loss" in tick.values) == 3
    assert digest(cut) == digest(whole)


def test_resume_without_a_checkpoint_starts(folder, tiny, tmp_path, exhaust):
    _, result = run(folder, replace(tiny, epochs=1), tmp_path / "m.safetensors", exhaust, resume=True)
    assert result.passes == 1


@pytest.mark.slow
def test_a_finished_training_can_be_made_longer(folder, tiny, tmp_path, exhaust):
    constant = replace(tiny, schedule="constant", epochs=1)
    run(folder, constant, tmp_path / "m.safetensors", exhaust)
    _, result = run(folder, replace(constant, epochs=2), tmp_path / "m.safetensors", exhaust, resume=True)
    assert result.passes == 2


def test_a_checkpoint_of_another_training_is_refused(folder, tiny, tmp_path, exhaust):
    tiny = replace(tiny, epochs=1)
    run(folder, tiny, tmp_path / "m.safetensors", exhaust)
    before = digest(tmp_path / "m.safetensors")
    for change, words in (
        ({"network": "basic-unet", "arguments": {}}, "checkpoint of another network"),
        ({"arguments": {"filters": [4, 8, 16]}}, "checkpoint of another network: its arguments"),
        ({"rate": 0.5}, "made with learning_rate = 0.002, here it is 0.5"),
        ({"epochs": 9}, "made with epochs = 1, here it is 9"),
    ):
        with pytest.raises(TrainingError, match=words):
            run(folder, replace(tiny, **change), tmp_path / "m.safetensors", exhaust, resume=True)
        assert digest(tmp_path / "m.safetensors") == before


def test_a_checkpoint_from_before_a_setting_was_there_goes_on(folder, tiny, tmp_path, exhaust):
    constant, out = replace(tiny, schedule="constant", epochs=1), tmp_path / "m.safetensors"
    run(folder, constant, out, exhaust)
    saved = tmp_path / "m.training" / "checkpoint.pt"
    state = torch.load(saved, weights_only=True)
    del state["identity"]["settings"]["carvemix_fraction"]
    torch.save(state, saved)
    _, result = run(folder, replace(constant, epochs=2), out, exhaust, resume=True)
    assert result.passes == 2
    with pytest.raises(TrainingError, match=r"made with carvemix_fraction = 0\.0, here it is 0\.5"):
        run(folder, replace(constant, epochs=2, carvemix_fraction=0.5), out, exhaust, resume=True)


def test_other_images_and_damaged_checkpoints_are_refused(folder, tiny, tmp_path, exhaust):
    tiny, out = replace(tiny, epochs=1), tmp_path / "m.safetensors"
    run(folder, tiny, out, exhaust)
    (folder / "images" / "0.png").rename(folder / "images" / "99.png")
    (folder / "masks" / "0.png").rename(folder / "masks" / "99.png")
    (folder / "cases.csv").write_text((folder / "cases.csv").read_text().replace("\n0.png", "\n99.png"))
    with pytest.raises(TrainingError, match="other images"):
        run(folder, tiny, out, exhaust, resume=True)
    saved = tmp_path / "m.training" / "checkpoint.pt"
    saved.write_bytes(saved.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="damaged"):
        run(folder, tiny, out, exhaust, resume=True)


def test_a_refused_training_leaves_nothing(folder, tiny, tmp_path, exhaust):
    (folder / "masks" / "0.png").unlink()
    out = tmp_path / "new" / "m.safetensors"
    with pytest.raises(TrainingError):
        run(folder, tiny, out, exhaust)
    assert not list(tmp_path.rglob("m.*"))


def test_an_earlier_model_is_not_overwritten(folder, tiny, tmp_path, exhaust):
    out = tmp_path / "m.safetensors"
    out.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        run(folder, tiny, out, exhaust)
    assert out.read_bytes() == b"precious"


def test_a_folder_that_cannot_be_written(folder, tiny, tmp_path, exhaust):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        run(folder, tiny, tmp_path / "file" / "m.safetensors", exhaust)
    with pytest.raises(OutputError, match="must end in"):
        run(folder, tiny, tmp_path / "m.pt", exhaust)


def test_a_loss_that_is_no_number_stops_and_keeps_the_best(folder, tiny, tmp_path, exhaust, monkeypatch):
    out, good = tmp_path / "m.safetensors", []
    learn = train.Learner.step

    def step(self, x, y):
        if self.taken == 5:
            good.append(digest(out))
            x = x * float("nan")
        return learn(self, x, y)

    monkeypatch.setattr(train.Learner, "step", step)
    with pytest.raises(TrainingError, match=r"pass 2, step .*best weights \(pass 1\).*lower --learning-rate"):
        run(folder, tiny, out, exhaust)
    assert [digest(out)] == good
    saved = torch.load(tmp_path / "m.training" / "checkpoint.pt", weights_only=True)
    assert all(torch.isfinite(t).all() for t in saved["learner"]["net"].values())


LIMITED = """
import resource, signal, torch
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from napari_unet_tumour.engine.training import checkpoint
from napari_unet_tumour.errors import OutputError
from pathlib import Path
path = Path(__import__("sys").argv[1])
checkpoint.save(path, {"weights": torch.ones(10)})
before = path.read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    checkpoint.save(path, {"weights": torch.ones(1_000_000)})
except OutputError as error:
    assert "cannot be written" in str(error) and "--resume" in str(error), error
else:
    raise SystemExit("no error")
assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_never_destroys_the_checkpoint_before(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", LIMITED, str(tmp_path / "checkpoint.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_early_stopping_ends_a_training_that_gains_nothing(folder, tiny, tmp_path, exhaust):
    fixed = {"filters": [4, 8, 8], "norm_name": "instance"}
    still = replace(tiny, arguments=fixed, learning_rate=0.0, ema=0.0, schedule="constant", early_stopping=2, epochs=50)
    _, result = run(folder, still, tmp_path / "m.safetensors", exhaust)
    assert (result.passes, result.best_pass) == (3, 1)


def test_the_last_weights_are_kept_without_a_validation_part(folder, tiny, tmp_path, exhaust):
    _, result = run(folder, replace(tiny, keep_checkpoint="last"), tmp_path / "m.safetensors", exhaust)
    assert result.best_pass == result.passes == 2
    split = json.loads((tmp_path / "m.training" / "run.json").read_text())["split"]
    assert set(split["val"]) < set(split["train"])
    assert not set(split["test"]) & set(split["train"])


def test_growing_sides_and_negatives(folder, make_folder, tiny, tmp_path, exhaust):
    free = make_folder("free", persons=2) / "images"
    for n, path in enumerate(sorted(free.iterdir())):  # tumour-free: none of the training images
        head = np.zeros((64, 64), np.uint8)
        head[12:52, 14:50] = np.random.default_rng(n).integers(40, 120, (40, 36))
        Image.fromarray(head).save(path)
    staged = replace(tiny, progressive_stages=((32, 6, 1), (64, 4, 1)), negative_share=0.2)
    run(folder, staged, tmp_path / "m.safetensors", exhaust, negatives=free)
    assert [row["side"] for row in rows(tmp_path / "m.safetensors")] == ["32", "64"]


@pytest.mark.parametrize(("loss", "optimiser"), [("bce", "adam"), ("dice", "adamw"), ("bce-dice", "adam")])
def test_every_loss_and_optimiser_learns(folder, tiny, tmp_path, exhaust, loss, optimiser):
    plain = replace(tiny, loss=loss, optimiser=optimiser, augment=False, learning_rate=1e-2)
    run(folder, plain, tmp_path / "m.safetensors", exhaust)
    log = rows(tmp_path / "m.safetensors")
    assert float(log[-1]["loss"]) < float(log[0]["loss"])


def test_three_channels_divided_by_255_as_the_tutorial_has_it(folder, tiny, tmp_path, exhaust):
    tutorial = replace(
        tiny, network="tutorial-unet", channels=3, normalisation="divide-by-255", split="slice", loss="bce"
    )
    small = replace(tutorial, arguments={"filters": [2, 4, 4, 8, 8]}, monitor="loss", augment=False, ema=0.0)
    _, result = run(folder, small, tmp_path / "m.safetensors", exhaust)
    assert model.load(result.path).spec.channels == ("red", "green", "blue")
    assert "The split is by slice" in (tmp_path / "m.training" / "report.html").read_text()


@pytest.mark.slow
def test_the_pretrained_encoders_recipe_trains(folder, tmp_path, exhaust):
    settings = presets.read_settings("flexible", size=64, epochs=1, batch=4, precision="float32", device="cpu")
    _, result = run(folder, settings, tmp_path / "m.safetensors", exhaust)
    assert model.load(result.path).spec.network == "flexible-unet"


def test_missing_tensorboard_is_an_error_before_anything_is_read(folder, tiny, tmp_path, exhaust, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match=r"napari-unet-tumour\[tensorboard\]"):
        run(folder, replace(tiny, tensorboard=True), tmp_path / "m.safetensors", exhaust)


def test_tensorboard_curves(folder, tiny, tmp_path, exhaust):
    pytest.importorskip("tensorboard")
    run(folder, replace(tiny, tensorboard=True, epochs=1), tmp_path / "m.safetensors", exhaust)
    assert list((tmp_path / "m.training" / "tensorboard").iterdir())
