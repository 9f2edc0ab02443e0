"""Which files come in, and what their results are called."""

from __future__ import annotations

import itertools
import os
import unicodedata

import pytest

from napari_unet_tumour.api.result_index import ResultIndex
from napari_unet_tumour.cli import _paths
from napari_unet_tumour.scans.pictures import read_folder


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def names(paths, out, owners=None):
    chosen = _paths.targets(paths, out, lambda path: ".nii.gz", owners)
    return {path: target.name for path, target in chosen.items()}


def test_names_do_not_depend_on_the_order_and_never_collide(tmp_path):
    files = [
        put(tmp_path / one)
        for one in (
            "P1/s/T1.nii",
            "P2/s/T1.nii",
            "P2/s/T1.nii.gz",
            "P1/s_T1.nii",
            "P3/t1.nii",
            "x/P1_s_T1.nii",
            "P4/x.nii",
        )
    ]
    wanted = names(files, tmp_path)
    assert len({name.casefold() for name in wanted.values()}) == len(files)
    assert wanted[files[-1]] == "x_mask.nii.gz"
    for order in itertools.islice(itertools.permutations(files), 0, 5040, 97):
        assert names(order, tmp_path) == wanted


def test_a_scan_keeps_its_name_and_none_gets_anothers(tmp_path):
    one, other = put(tmp_path / "P1/T1.nii"), put(tmp_path / "P2/T1.nii")
    assert names([one], tmp_path) == {one: "T1_mask.nii.gz"}
    owners = {"T1_mask.nii.gz": os.path.realpath(one)}
    assert names([other], tmp_path, owners) == {other: "P2_T1_mask.nii.gz"}
    assert names([other, one], tmp_path, owners) == {other: "P2_T1_mask.nii.gz", one: "T1_mask.nii.gz"}


def test_the_same_name_in_two_unicode_forms_is_one(tmp_path):
    paths = [put(tmp_path / form / unicodedata.normalize(form, "é.nii")) for form in ("NFC", "NFD")]
    assert len({unicodedata.normalize("NFC", name) for name in names(paths, tmp_path).values()}) == 2


@pytest.mark.parametrize("length", [100, 245, 251])
def test_long_names_fit_the_file_system(tmp_path, length):
    paths = [put(tmp_path / f"{'ü' * ((length - 6) // 2)}{n}.nii") for n in range(2)]
    found = names(paths, tmp_path)
    assert len(set(found.values())) == 2
    for name in found.values():
        put(tmp_path / "out" / name)


def test_a_folder_is_called_by_its_name(tmp_path, monkeypatch):
    put(tmp_path / "P1" / "inner" / "IM1.dcm")
    monkeypatch.chdir(tmp_path / "P1")
    for word in (".", "./", "inner/.."):
        (path,) = _paths.expand([word])
        assert names([path], tmp_path) == {path: "P1_mask.nii.gz"}


def test_results_in_the_folder_of_a_series_are_no_scans(tmp_path):
    folder = tmp_path / "P1"
    put(folder / "IM1.dcm")
    results = [put(folder / "P1_mask.nii.gz"), put(folder / "P1_mask.rtstruct.dcm")]
    ResultIndex(folder).add(folder, results)
    assert _paths.expand([str(folder)]) == [folder]


def test_a_result_is_ours_until_a_person_changes_it(tmp_path):
    scan, mask = put(tmp_path / "a.nii"), put(tmp_path / "a_mask.nii")
    written = ResultIndex(tmp_path)
    assert not written.is_ours(mask, scan)
    written.add(scan, [mask])
    assert ResultIndex(tmp_path).is_ours(mask, scan)
    assert not ResultIndex(tmp_path).is_ours(mask, tmp_path / "b.nii")
    mask.write_bytes(b"y")
    assert not ResultIndex(tmp_path).is_ours(mask, scan)


def test_hidden_files_and_folders_among_slices_are_skipped(tmp_path):
    import numpy as np
    from PIL import Image

    for n in range(3):
        Image.fromarray(np.full((4, 4), n, np.uint8)).save(tmp_path / f"{n}.png")
    for name in (".DS_Store", "._1.png", "Thumbs.db"):
        put(tmp_path / name)
    (tmp_path / "more.png").mkdir()
    assert read_folder(tmp_path).array.shape == (3, 4, 4)
