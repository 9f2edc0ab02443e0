"""The list of a folder: found by names, kept on disk outside the folder, resumed."""

import json
import os
import time

import nibabel
import numpy as np
import pytest

from napari_unet_tumour import jobs, scans
from napari_unet_tumour.api.pairs import read_pairs
from napari_unet_tumour.api.scan_job import iter_segment_file
from napari_unet_tumour.cli import main
from napari_unet_tumour.errors import OutputError, ScanError, TableError
from napari_unet_tumour.models import registry
from napari_unet_tumour.worklist import ACCEPTED, CORRECTED, NEW, SEGMENTED, Worklist, find_cases
from napari_unet_tumour.worklist.pairs import write_pairs
from napari_unet_tumour.worklist.segmenting import note_segmented, task_for


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv(registry.HOME, str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path):
    """Three scans, one of them in a folder, with a mask beside one."""
    folder = tmp_path / "scans"
    (folder / "patient 2").mkdir(parents=True)
    for name in ("a.nii.gz", "b.nii.gz", "patient 2/t1.nii.gz", "a_mask.nii.gz"):
        image = nibabel.Nifti1Image(np.full((16, 16, 4), 9, np.uint8), np.eye(4))
        nibabel.save(image, folder / name)
    (folder / "masks").mkdir()
    nibabel.save(image, folder / "masks" / "b.nii.gz")
    (folder / "notes.txt").write_text("no scan")
    (folder / ".hidden.nii.gz").write_bytes(b"")
    return folder


def everything(folder):
    return {str(path): path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_scans_are_found_by_their_names(folder):
    assert [case.key for case in find_cases(folder)] == ["a.nii.gz", "b.nii.gz", "patient 2/t1.nii.gz"]


def test_a_folder_of_dicom_files_is_one_case(tmp_path):
    for name in ("p1/s1/IM_0001", "p1/s1/IM_0002", "p2/s1/1.dcm", "p2/s1/2.dcm"):
        path = tmp_path / "dicom" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "dicom" / "p3").mkdir()
    (tmp_path / "dicom" / "p3" / "README").write_text("nothing here")
    assert [case.key for case in find_cases(tmp_path / "dicom")] == ["p1/s1", "p2/s1"]
    assert [case.key for case in find_cases(tmp_path / "dicom" / "p1" / "s1")] == ["."]
    assert Worklist(tmp_path / "dicom" / "p1" / "s1").cases[0].name == "s1"


def test_a_link_to_a_folder_above_ends(folder):
    (folder / "patient 2" / "up").symlink_to(folder)
    assert len(find_cases(folder)) == 3


def test_a_thousand_scans_open_within_a_second_and_are_not_read(tmp_path, monkeypatch):
    for n in range(1000):
        path = tmp_path / "many" / f"patient {n:04}" / "t1ce.nii.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"not even a scan")
    first = Worklist(tmp_path / "many")
    states = {case.key: {"state": SEGMENTED, "lesions": 1, "volume": 2.5} for case in first.cases}
    first.update(first.cases[0].key, state=SEGMENTED)
    first._file.write_text(json.dumps({"folder": "", "cases": states}))
    monkeypatch.setattr(scans, "read", None)
    start = time.process_time()
    again = Worklist(tmp_path / "many")
    assert time.process_time() - start < 1
    assert again.count(SEGMENTED) == len(again.cases) == 1000


def test_states_are_kept_and_nothing_is_written_into_the_folder(folder):
    before = everything(folder)
    one = Worklist(folder)
    assert {case.state for case in one.cases} == {NEW}
    one.update("a.nii.gz", state=ACCEPTED, lesions=2, volume=3.5)
    one.update("b.nii.gz", problem="b.nii.gz is damaged", broken=True)
    again = Worklist(folder)
    assert (again["a.nii.gz"].state, again["a.nii.gz"].lesions, again["a.nii.gz"].volume) == (ACCEPTED, 2, 3.5)
    assert again["a.nii.gz"].date == time.strftime("%Y-%m-%d")
    assert again["b.nii.gz"].date == ""
    assert again.next_open().key == "patient 2/t1.nii.gz"
    assert everything(folder) == before


def test_the_order_of_what_comes_next(folder):
    one = Worklist(folder)
    assert [one.next_open(key).key for key in (None, "a.nii.gz", "patient 2/t1.nii.gz", "gone")] == [
        "a.nii.gz", "b.nii.gz", "a.nii.gz", "a.nii.gz",
    ]  # fmt: skip
    assert one.next_open("a.nii.gz", without=["b.nii.gz"]).key == "patient 2/t1.nii.gz"
    for case in one.cases:
        one.update(case.key, state=ACCEPTED)
    assert one.next_open() is None


def test_two_windows_lose_nothing_of_each_other(folder):
    one, other = Worklist(folder), Worklist(folder)
    one.update("a.nii.gz", state=ACCEPTED)
    other.update("b.nii.gz", state=CORRECTED)
    found = Worklist(folder)
    assert (found["a.nii.gz"].state, found["b.nii.gz"].state) == (ACCEPTED, CORRECTED)


def test_a_scan_that_comes_back_has_its_state(folder):
    Worklist(folder).update("a.nii.gz", state=ACCEPTED)
    (folder / "a.nii.gz").rename(folder / "away")
    Worklist(folder).update("b.nii.gz", state=CORRECTED)
    (folder / "away").rename(folder / "a.nii.gz")
    assert Worklist(folder)["a.nii.gz"].state == ACCEPTED


def test_names_that_are_alike_have_masks_of_their_own(folder):
    one = Worklist(folder)
    names = [one.mask_path(key) for key in ("a/b.nii.gz", "a_b.nii.gz", "a_b.nii", "x" * 300 + ".nii")]
    assert len({str(name).lower() for name in names}) == 4
    assert all(len(name.name) <= 200 and name.name.endswith("_mask.nii.gz") for name in names)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_data_folder_is_one_line(folder, home):
    home.mkdir()
    home.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        Worklist(folder).update("a.nii.gz", state=ACCEPTED)
    home.chmod(0o700)


def test_a_change_that_could_not_be_written_is_written_with_the_next(folder, monkeypatch):
    one = Worklist(folder)
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OutputError, match=r"cannot be written \(No space left\): free some space"):
            one.update("a.nii.gz", state=ACCEPTED)
    assert one["a.nii.gz"].state == ACCEPTED
    one.update("b.nii.gz", state=CORRECTED)
    assert Worklist(folder)["a.nii.gz"].state == ACCEPTED


def test_bad_input_is_one_line(folder, tmp_path):
    with pytest.raises(ScanError, match=r"nowhere cannot be read as a folder.*check the path"):
        Worklist(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScanError, match=r"holds no scan.*choose another folder"):
        Worklist(tmp_path / "empty")
    one = Worklist(folder)
    one.update("a.nii.gz", state=ACCEPTED)
    (one.home / "list.json").write_text('{"cases": [1')
    with pytest.raises(TableError, match="is damaged: move it to another folder"):
        Worklist(folder)
    (one.home / "list.json").rename(tmp_path / "moved.json")
    assert Worklist(folder)["a.nii.gz"].state == NEW


def test_the_accepted_ones_are_a_table_for_finetune(folder, tmp_path):
    one = Worklist(folder)
    with pytest.raises(OutputError, match=r"no case of .* is accepted yet"):
        write_pairs(tmp_path / "p.csv", one)
    mask = one.mask_path("a.nii.gz")
    mask.parent.mkdir(parents=True)
    scan = scans.read(folder / "a.nii.gz")
    scans.write_mask(mask, np.ones(scan.array.shape, np.uint8), scan)
    for key in ("a.nii.gz", "b.nii.gz"):
        one.update(key, state=ACCEPTED)
    assert write_pairs(tmp_path / "p.csv", one) == 2
    pair, free = read_pairs(tmp_path / "p.csv")
    assert free.is_tumour_free
    assert (pair.scan.resolve(), pair.mask.resolve()) == ((folder / "a.nii.gz").resolve(), mask.resolve())


def test_what_a_worker_made_never_takes_a_persons_state(folder):
    one = Worklist(folder)
    entry = registry.find("default")
    path, content, job, settings = task_for(one, "a.nii.gz", entry)
    assert (path, content, job.path, job.outputs.mask) == (
        str(entry.path), entry.hash, one["a.nii.gz"].path, one.network_path("a.nii.gz"),
    )  # fmt: skip
    assert settings.threshold == entry.spec.defaults["threshold"]
    assert note_segmented(one, "a.nii.gz", None).problem.startswith("too large")
    one.update("b.nii.gz", state=CORRECTED)
    assert note_segmented(one, "b.nii.gz", None).state == CORRECTED


def test_the_command_lists_segments_and_writes_pairs(folder, bright, tmp_path, capsys, home):
    (folder / "broken.nii.gz").write_bytes(b"nonsense")
    assert main(["worklist", str(folder), "--list"]) == 0
    assert capsys.readouterr().out.count("new") == 4
    assert main(["worklist", str(folder), "--pairs", str(tmp_path / "p.csv")]) == 1
    assert "accepted yet" in capsys.readouterr().err
    assert main(["worklist", str(tmp_path / "no"), "--list"]) == 1


def test_the_command_segments_what_is_new_and_names_what_is_broken(folder, bright, capsys, monkeypatch):
    """The worker's own function, run here."""

    def run(task, *args):
        steps = iter_segment_file(*args)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    monkeypatch.setattr(jobs, "run", run)
    (folder / "broken.nii.gz").write_bytes(b"nonsense")
    before = everything(folder)
    Worklist(folder).update("b.nii.gz", state=ACCEPTED)
    assert main(["worklist", str(folder), "--segment", "--model", bright]) == 1
    told = capsys.readouterr()
    assert told.err.startswith("broken.nii.gz: ")
    assert told.err.count("\n") == 1
    one = Worklist(folder)
    assert [case.state for case in one.cases] == [SEGMENTED, ACCEPTED, NEW, SEGMENTED]
    assert one["broken.nii.gz"].problem in told.err
    assert (one["a.nii.gz"].lesions, one["a.nii.gz"].volume) == (0, 0)
    assert one.best_mask("a.nii.gz") == one.network_path("a.nii.gz")
    assert one.best_mask("b.nii.gz") is None
    assert everything(folder) == before


def test_a_case_is_segmented_for_the_part_that_is_chosen(folder):
    one, entry = Worklist(folder), registry.find("default")
    *_, job, settings = task_for(one, "a.nii.gz", entry, "enhancing")
    assert settings.part == "enhancing"
    assert job.outputs.labels == ("background", "enhancing part")
    *_, job, settings = task_for(one, "a.nii.gz", entry)
    assert settings.part == "whole"
    assert job.outputs.labels == ("background", "tumour")
