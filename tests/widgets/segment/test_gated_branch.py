"""A model that has learnt from corrections, in the widgets: what is corrected vouches for its second answer."""

import numpy as np
import pytest
import torch

from napari_unet_tumour.engine import model, networks
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.widgets.segment.widget import SegmentWidget


@pytest.fixture
def second(home):
    """A model installed whose own answer is too low to be drawn, and whose second finds the whole slice."""
    spec = ModelSpec("second", "lite-unet", {"decoder": [8, 8, 8, 8, 8], "experts": 0, "gates": 1}, ("grey",), size=64)
    torch.manual_seed(0)
    net = networks.build(spec.network, 1, 1, **spec.arguments)
    for part, bias in ((net, -3.0), (net.second.net, 10.0)):
        part.head.weight.data.zero_()
        part.head.bias.data.fill_(bias)
    net.corrector.get_buffer("scale").fill_(1)
    net.second.get_buffer("gate_bias").fill_(20)
    net.second.get_buffer("share").fill_(1)
    model.save(home / "models/second.safetensors", spec, net.state_dict())
    return registry.find("second")


@pytest.fixture
def correcting(opened, scan, second):
    data = scan(8, 64, 64)
    one = opened(lambda viewer: viewer.add_image(data, name="scan"), widget="Correct and fine-tune")
    one.wait(lambda: one.widget.session is not None)
    one.widget._versions.use(second.hash)
    one.wait(lambda: one.widget._choice.entry is not None and one.widget._choice.entry.hash == second.hash)
    return one


def segment(one):
    one.click(one.panel.segment)
    one.wait(lambda: not one.widget.running)
    return one.viewer.layers[-1]


def correct(one, value=1):
    """Segment, paint a disc on slice 3 and tick it; return the mask layer."""
    mask = segment(one)
    assert not mask.data.any()
    one.widget.go(3)
    mask.brush_size = 8
    mask.paint((3, 32, 32), value)
    one.click(one.panel.tick)
    return mask


@pytest.mark.slow
def test_nothing_vouches_until_a_slice_is_corrected(correcting):
    one = correcting
    mask = correct(one)
    drawn = mask.data[3].copy()
    segment(one)
    assert np.array_equal(mask.data[3], drawn)
    assert all(mask.data[n].all() for n in range(8) if n != 3)


def test_an_unsure_slice_vouches_for_nothing(correcting):
    one = correcting
    mask = correct(one, 255)
    segment(one)
    assert not mask.data[np.arange(8) != 3].any()


def test_the_segment_widget_asks_it_with_the_same_corrections(correcting, opened):
    one = correcting
    mask = correct(one)
    other = SegmentWidget(one.viewer)
    one.viewer.window.add_dock_widget(other, name="Segment")
    other.choose_model("second")
    one.wait(lambda: other._choice.entry is not None and other._choice.entry.name == "second")
    one.viewer.layers.selection.active = one.viewer.layers["scan"]
    one.click(other._panel.run)
    one.wait(lambda: not other.running)
    assert all(mask.data[n].all() for n in range(8) if n != 3)
    assert not mask.data[3].all()
