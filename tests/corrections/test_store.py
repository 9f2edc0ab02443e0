"""The corrections on disk: known by content, whole after kill -9, listed, deletable, replayed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import dask.array
import numpy as np
import pytest

from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.corrections import UNSURE, Record, Store, scan_id
from napari_unet_tumour.errors import OutputError


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "corrections")


def volume(seed=0, shape=(20, 32, 24)):
    return np.random.default_rng(seed).integers(0, 4000, shape, np.int16)


def reviewed(store, scan, planes=(2, 3, 5), foreground=True):
    record = Record(scan, [20, 32, 24], 20, "p1")
    for plane in planes:
        mask = np.zeros((32, 24), np.uint8)
        mask[4:9, 4:9] = int(foreground)
        mask[0, 0] = UNSURE
        record.tick(plane, foreground)
        store.save_mask(scan, plane, mask)
        store.save_image(scan, plane, volume()[plane][None])
    store.save(record)
    return record


def test_a_scan_is_known_by_its_content():
    data = volume()
    layout = layout_of(data.shape)
    known = scan_id(data, layout)
    assert scan_id(data.copy(), layout) == known
    assert scan_id(data.astype(">i2"), layout) == known
    assert scan_id(dask.array.from_array(data, chunks=(1, 32, 24)), layout) == known
    assert len({known, scan_id(volume(1), layout), scan_id(data.astype(np.int32), layout)}) == 3
    assert scan_id(data, layout_of(data.shape, rows=0, columns=2)) != known


def test_knowing_a_large_scan_reads_only_a_few_planes():
    reads = []

    def read(block, block_info=None):
        reads.append(block_info[0]["array-location"][0][0])
        return block

    data = dask.array.zeros((500, 64, 64), chunks=(1, 64, 64), dtype=np.uint8)
    scan_id(data.map_blocks(read, dtype=np.uint8, meta=np.zeros((0, 0, 0), np.uint8)), layout_of(data.shape))
    assert len(reads) <= 9


def test_what_was_saved_comes_back(store):
    record = reviewed(store, "a")
    again = store.load("a")
    assert (again.reviewed, again.roles, again.person) == ([2, 3, 5], {2: "train", 3: "train", 5: "held out"}, "p1")
    assert again.changed >= record.changed - 1
    _, first, second = store.corrections("a")
    assert (first.slice, first.held_out, second.slice, second.held_out) == (3, False, 5, True)
    assert np.array_equal(first.image, volume()[3][None])
    assert first.mask[5, 5] == 1
    assert first.mask[0, 0] == UNSURE
    assert sorted(store.masks("a")) == [2, 3, 5]


def test_it_is_compact_and_names_nobody(store):
    reviewed(store, "a", planes=range(20))
    files = list((store.root / "a").iterdir())
    assert sum(f.stat().st_size for f in files if f.name.startswith("mask")) < 20 * 600
    assert "p1" in (store.root / "a" / "record.json").read_text()
    assert not [f for f in files if f.name.startswith(".")]


def test_earlier_scans_are_replayed_listed_and_deleted(store):
    for scan in ("a", "b", "c"):
        reviewed(store, scan)
        time.sleep(0.01)
    store.save(Record("empty", [20, 32, 24], 20))
    assert [one.scan for one in store.records()] == ["c", "b", "a"]
    assert [one.scan for one in store.replay(but=["c"])] == ["b"] * 3 + ["a"] * 3
    store.delete("b")
    assert [one.scan for one in store.replay()] == ["c"] * 3 + ["a"] * 3
    assert not (store.root / "b").exists()


def test_beginning_anew_keeps_a_copy(store):
    reviewed(store, "a")
    store.set_aside("a")
    store.clear("a")
    assert not store.masks("a")
    copies = [path for path in store.root.iterdir() if path.name != "a"]
    assert len(copies) == 1
    assert len(list(copies[0].glob("mask-*.npz"))) == 3
    assert [one.scan for one in store.records()] == ["a"], "a copy is no scan of its own"
    store.delete("a")
    assert not list(store.root.iterdir())


def test_a_damaged_file_costs_only_itself(store):
    reviewed(store, "a")
    (store.root / "a" / "mask-00003.npz").write_bytes(b"PK\x03\x04 cut")
    assert [one.slice for one in store.corrections("a")] == [2, 5]
    (store.root / "a" / "record.json").write_text('{"scan": 3, "reviewed": ["x"]}')
    assert store.load("a") is None
    assert store.records() == []


def test_a_full_disk_is_one_clear_line_and_leaves_no_half_file(store):
    store.root.write_text("a file in the way of the folder")
    with pytest.raises(OutputError, match=r"Corrections are not on disk .*: free some space"):
        store.save_mask("a", 0, np.zeros((4, 4), np.uint8))
    store.root.unlink()
    store.save_mask("a", 0, np.zeros((4, 4), np.uint8))


@pytest.mark.skipif(os.name == "nt", reason="no such limit on Windows")
def test_a_write_that_is_cut_short_leaves_the_old_file(store):
    code = """
        import resource, sys
        from pathlib import Path
        import numpy as np
        from napari_unet_tumour.corrections import Store
        from napari_unet_tumour.errors import OutputError
        store = Store(Path(sys.argv[1]))
        store.save_image("a", 1, np.zeros((1, 8, 8)))
        store.save_mask("a", 1, np.full((8, 8), 7, np.uint8))
        resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
        try:
            store.save_mask("a", 1, np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8))
        except OutputError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), store.root], capture_output=True, text=True, check=True
    )
    assert "free some space" in done.stdout
    assert (store.mask("a", 1) == 7).all()
    assert not list(store.root.glob("*/.*"))


def test_kill_9_while_writing_leaves_whole_files(store):
    code = """
        import itertools, sys
        from pathlib import Path
        import numpy as np
        from napari_unet_tumour.corrections import Record, Store
        store = Store(Path(sys.argv[1]))
        for n in itertools.count():
            record = Record("a", [20, 256, 256], 20)
            for plane in range(20):
                store.save_mask("a", plane, np.full((256, 256), n % 200, np.uint8))
                record.tick(plane, True)
                store.save(record)
            print(n, flush=True)
    """
    for seconds in (0.3, 0.05, 0.5):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), store.root], stdout=subprocess.PIPE, text=True
        ) as writer:
            writer.stdout.readline()
            time.sleep(seconds)
            writer.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
        assert store.load("a").reviewed == list(range(len(store.load("a").reviewed)))
        masks = store.masks("a")
        assert len(masks) == 20
        assert all(len(np.unique(mask)) == 1 for mask in masks.values())


def test_every_third_slice_with_foreground_is_held_out():
    record = Record("a")
    for plane in range(8):
        record.tick(plane, foreground=plane != 1)
    assert record.held_out == [3, 6]
    assert record.roles[1] == "empty"


def test_a_role_is_for_good():
    record = Record("a")
    for plane in (2, 4, 9):
        record.tick(plane, True)
    for _ in range(2):
        record.untick(4)
        record.untick(9)
        record.tick(9, True)
        record.tick(4, True)
    assert (record.roles[4], record.roles[9]) == ("train", "held out")
    record.tick(1, False)
    record.tick(1, True)
    assert record.roles[1] == "train", "a true negative that was trained on is never held out"


def test_no_gui_and_no_torch_is_needed():
    code = "import sys; sys.modules['napari'] = sys.modules['torch'] = None; import napari_unet_tumour.corrections"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)


def test_only_masks_of_the_same_part_are_replayed(store):
    reviewed(store, "a")
    record = reviewed(store, "b")
    record.part = "enhancing"
    store.save(record)
    assert {one.scan for one in store.replay()} == {"a"}
    assert {one.scan for one in store.replay((), "enhancing")} == {"b"}
    assert store.load("b").part == "enhancing"
