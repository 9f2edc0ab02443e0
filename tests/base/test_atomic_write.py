"""Files are written whole or not at all: after a failure, a killed process, a power cut."""

import errno
import os
from pathlib import Path

import pytest

from napari_unet_tumour.base.atomic_write import atomic, atomic_path, fsync_dir, remove_stale_temp, write_bytes_atomic
from napari_unet_tumour.errors import OutputError


def write_half(path, error: BaseException) -> None:
    with atomic(path) as part:
        part.write_text("half")
        raise error


def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path):
    (tmp_path / "m.nii").write_text("old")
    with pytest.raises(OutputError, match=r"No space left"):
        write_half(tmp_path / "m.nii", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "n.nii", KeyboardInterrupt())
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("m.nii", "old")]


def test_the_error_names_the_file_and_the_remedy(tmp_path):
    (tmp_path / "taken").write_text("a file in the way of the folder")
    with pytest.raises(OutputError, match=r"taken.m\.csv cannot be written \(.+\): choose another file$"):
        write_bytes_atomic(tmp_path / "taken" / "m.csv", b"", "choose another file")


@pytest.mark.parametrize("sync", [True, False])
def test_the_disk_has_the_content_before_the_name(tmp_path, monkeypatch, sync):
    done = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(os.fstat(handle).st_size), fsync(handle)))
    monkeypatch.setattr(Path, "replace", lambda part, path: (done.append(path.name), replace(part, path)))
    with atomic_path(tmp_path / "a.npz", sync) as part:
        part.write_bytes(b"12345")
    assert done == ([5] if sync else []) + ["a.npz"]
    fsync_dir(tmp_path)
    fsync_dir(tmp_path / "not there")


def test_what_a_killed_process_left_is_swept(tmp_path):
    gone, alive = tmp_path / f".{2**31 - 1}-17-m.nii", tmp_path / f".{os.getpid()}-17-m.nii"
    other = tmp_path / f".{2**31 - 1}-17-other.nii"
    for part in (gone, alive, other):
        part.write_text("half")
    remove_stale_temp(tmp_path, [tmp_path / "m.nii"])
    assert sorted(tmp_path.iterdir()) == sorted([alive, other])
