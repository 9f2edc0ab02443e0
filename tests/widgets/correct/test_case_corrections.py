"""What is corrected of a case, over sessions: real layers and a real store, without a window."""

import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.corrections import Store
from napari_unet_tumour.widgets.correct.case import CasePart, CorrectionCase
from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections


@pytest.fixture
def session(scan, tmp_path):
    """Return a function that begins a session on a scan with this mask, the default one as the network drew it."""
    data = scan(12, 64, 64)

    def begin(mask=None):
        mask = (data > 127).astype(np.uint8) if mask is None else mask
        layout = layout_of(data.shape)
        part = CasePart(Image(data), data, layout, Labels(mask), data)
        held = lambda layer, layout, plane: layer.data[plane]  # noqa: E731
        one = CaseCorrections(CorrectionCase([part]), Store(tmp_path / "corrections"), held)
        one.journal.look()
        return one

    return begin


def tick(one, *slices):
    for n in slices:
        one.tick(n, one.case.pixels(n))
    one.journal.look()


def names(one):
    return [state.name for state in one.states()]


def test_the_hold_out_stays_through_rounds_and_restarts(session):
    one = session()
    tick(one, 0, 1, 2)
    assert names(one)[:3] == ["reviewed", "reviewed", "held out"]
    tick(one, 2, 2, 3, 4, 5, 0, 0)
    assert names(one)[:6] == ["reviewed", "reviewed", "held out"] * 2
    again = session()
    assert again.offer() == "6 reviewed"
    assert again.is_as_left()
    again.take_up()
    assert names(again)[:6] == ["reviewed", "reviewed", "held out"] * 2


def test_beginning_anew_keeps_roles_and_a_copy(session):
    one = session()
    tick(one, 1, 2, 3)
    mask = one.case.parts[0].mask.data.copy()
    mask[1] = 0
    again = session(mask)
    assert not again.is_as_left()
    again.journal.start_afresh()
    assert again.reviewed() == []
    tick(again, 3)
    assert names(again)[3] == "held out"
    store, scan_id = again._store, again.case.parts[0].scan
    assert store.load(scan_id).reviewed == [3]
    assert len(list(store.root.glob(f"{scan_id}.*"))) == 1
