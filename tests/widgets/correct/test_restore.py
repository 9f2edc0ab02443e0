"""Restoring what an earlier session left, and leaving again before it is done."""

import numpy as np
import pytest

from napari_unet_tumour.corrections import Store
from napari_unet_tumour.models import registry

pytestmark = pytest.mark.usefixtures("instant")
CORRECT = "Correct and fine-tune"


def volume():
    data = np.full((5, 16, 16), 40, np.uint8)
    data[:, 4:9, 4:9] = 220
    return data


def tick(one, number):
    one.viewer.dims.set_point(0, number)
    one.click(one.panel.tick)


def window(opened, mask):
    def add(viewer):
        viewer.add_image(volume(), name="scan")
        viewer.add_labels(mask.copy(), name="mask")

    one = opened(add, widget=CORRECT)
    one.wait(lambda: one.widget.session is not None)
    return one


@pytest.mark.parametrize("as_left", [True, False])
def test_a_tick_before_all_is_restored_is_kept_when_the_panel_closes_at_once(opened, as_left):
    mask = (volume() > 127).astype(np.uint8)
    one = window(opened, mask)
    tick(one, 1)
    scan = one.widget.session.case.parts[0].scan
    one.close()
    shown = mask if as_left else np.zeros_like(mask)
    one = window(opened, shown)
    if not as_left:
        one.click(one.panel.restore)
        assert one.status == "Restoring: reading the saved masks…", "at once"
    tick(one, 3)
    layer = one.viewer.layers["mask"]
    one.close()
    store = Store(registry.data_dir() / "corrections")
    assert sorted(store.load(scan).reviewed) == [1, 3]
    assert np.array_equal(store.mask(scan, 1), mask[1])
    assert np.array_equal(layer.data[1], mask[1])
