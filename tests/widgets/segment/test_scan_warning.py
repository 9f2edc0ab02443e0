"""The Segment widget says before Run, and after it, that a scan is not what the model was made for."""

import numpy as np
import pytest

from napari_unet_tumour.phantom import phantom
from napari_unet_tumour.scans.training_match import statistics_of
from shared_window import make_napari_viewer, window_of_file  # noqa: F401 - these tests share a window


@pytest.fixture
def heads(save_known, home):
    """Slices of made-up heads; the model "known" has their statistics, and was made for contrast-enhanced T1."""
    slices = np.concatenate([phantom(shape=(12, 64, 64), seed=seed)[0].array[2:10] for seed in range(5)])
    typical = statistics_of(one[None].astype(float) for one in slices)
    save_known(home / "models/known.safetensors", ("T1ce",), typical=typical)
    return slices.astype(np.float32)


def warning(one):
    return str(one.panel.warning.value)


def test_a_scan_unlike_the_training_slices_is_said_to_be_so_before_and_after_run(opened, heads):
    one = opened(lambda viewer: viewer.add_image(heads[:8].max() - heads[:8], name="head"))
    one.wait(lambda: bool(warning(one)))
    assert warning(one).startswith("6 of 6 slices look unlike the training slices; the model was made for ")
    one.run()
    assert "look unlike" in warning(one)
    one.viewer.layers["head"].data = heads[:8]
    one.viewer.layers["head"].name = "t2 tse"
    one.click(one.panel.run)
    one.wait(lambda: warning(one).startswith("Its name says T2"))
    assert "look unlike" not in warning(one)
    one.wait(lambda: not one.widget.running)
    one.viewer.layers.remove("t2 tse")
    one.wait(lambda: not warning(one))


def test_a_scan_like_the_training_slices_gets_no_warning(opened, heads):
    one = opened(lambda viewer: viewer.add_image(heads[8:16], name="case 7"))
    one.run()
    one.qtbot.wait(600)
    assert warning(one) == ""
