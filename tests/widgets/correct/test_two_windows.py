"""One scan in two windows, and one scan twice in a window."""

import numpy as np
import pytest

from napari_unet_tumour.corrections import Store
from napari_unet_tumour.models import registry

pytestmark = pytest.mark.usefixtures("instant")
CORRECT = "Correct and fine-tune"


def volume(n=8):
    return np.random.default_rng(5).integers(0, 255, (n, 16, 16)).astype(np.uint8)


def draw_and_tick(one, n, value=1):
    one.viewer.dims.set_point(0, n)
    mask = one.widget.session.case.parts[0].mask
    mask.data_setitem((np.full(4, n), np.arange(4), np.arange(4)), value)
    one.click(one.panel.tick)
    one.widget._desk.watch.flush()


def window(opened):
    def add(viewer):
        viewer.add_image(volume(), name="scan")
        viewer.add_labels(np.zeros((8, 16, 16), np.uint8), name="mask")

    one = opened(add, widget=CORRECT)
    one.wait(lambda: one.widget.session is not None)
    return one


def test_two_windows_on_one_scan_keep_the_ticks_and_strokes_of_both(opened):
    first, second = window(opened), window(opened)
    for one, n in ((first, 1), (second, 2), (first, 3), (second, 4)):
        draw_and_tick(one, n)
    assert any("in another window" in text for text in (first.status, second.status)) or any(
        one.widget.session.journal.notice for one in (first, second)
    )
    scan = first.widget.session.case.parts[0].scan
    first.close()
    second.close()
    store = Store(registry.data_dir() / "corrections")
    record = store.load(scan)
    assert sorted(record.reviewed) == record.edited == [1, 2, 3, 4]
    assert all(store.mask(scan, n)[3, 3] == 1 for n in (1, 2, 3, 4))


def test_a_slice_that_both_windows_drew_is_kept_twice(opened):
    first, second = window(opened), window(opened)
    draw_and_tick(first, 5, 1)
    draw_and_tick(second, 5, 2)
    assert second.widget.session.journal.notice.startswith("Slice 6 was drawn in another window too")
    scan = first.widget.session.case.parts[0].scan
    folder = registry.data_dir() / "corrections" / scan
    kept = [np.load(path)["a"] for path in folder.glob("other-00005-*.npz")]
    assert [mask[3, 3] for mask in kept] == [1]
    assert Store(registry.data_dir() / "corrections").mask(scan, 5)[3, 3] == 2


def test_beginning_anew_in_one_window_takes_nothing_from_the_other(opened):
    first = window(opened)
    draw_and_tick(first, 1)
    second = window(opened)
    second.click(second.panel.afresh)
    draw_and_tick(second, 2)
    first.widget._desk.watch.flush()
    store, scan = Store(registry.data_dir() / "corrections"), first.widget.session.case.parts[0].scan
    assert sorted(store.load(scan).reviewed) == [1, 2]
    assert store.mask(scan, 1)[3, 3] == 1


def test_a_tick_that_is_taken_back_goes_from_the_disk(opened):
    one = window(opened)
    draw_and_tick(one, 1)
    one.click(one.panel.tick)
    one.widget._desk.watch.flush()
    assert Store(registry.data_dir() / "corrections").load(one.widget.session.case.parts[0].scan).reviewed == []


def test_a_tick_that_is_made_while_the_record_is_written_gets_written_too(opened, monkeypatch):
    one = window(opened)
    session = one.widget.session
    part = session.case.parts[0]
    save = session.journal._store.save

    def save_while_the_person_goes_on(record):
        save(record)
        if not session.is_reviewed(3):
            session.tick(3, part.pixels(3))

    one.viewer.dims.set_point(0, 3)
    part.mask.data_setitem((np.full(4, 3), np.arange(4), np.arange(4)), 1)
    monkeypatch.setattr(session.journal._store, "save", save_while_the_person_goes_on)
    draw_and_tick(one, 1)
    one.widget._desk.watch.flush()
    store = Store(registry.data_dir() / "corrections")
    assert sorted(store.load(part.scan).reviewed) == [1, 3]


def test_copies_of_a_scan_in_one_window_have_corrections_of_their_own(opened):
    one = window(opened)
    draw_and_tick(one, 1)
    copy = one.viewer.add_image(volume(), name="copy")
    one.panel.image.value = copy
    one.wait(lambda: one.widget.session is not None and one.widget.session.case.parts[0].image is copy)
    assert one.widget.session.reviewed() == []
    first, second = (layer for layer in one.viewer.layers if layer.name in ("scan", "copy"))
    one.panel.image.value = first
    one.wait(lambda: one.widget.session is not None and one.widget.session.case.parts[0].image is first)
    assert one.widget.session.reviewed() == [1]
    assert second is copy
