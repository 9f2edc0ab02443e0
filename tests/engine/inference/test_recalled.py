"""A fine-tuned model answers its own scan as it did when the corrections were made."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.corrections import UNSURE, ReviewedContext, ReviewedSlice
from napari_unet_tumour.corrections.carry import CarryWeights
from napari_unet_tumour.corrections.remembered import remember
from napari_unet_tumour.corrections.stack import stacks_of
from napari_unet_tumour.engine import model as models
from napari_unet_tumour.engine.inference.segment import iter_segment_planes
from napari_unet_tumour.settings import SegmentSettings

SETTINGS = SegmentSettings(device="cpu")
ROWS, COLUMNS = np.mgrid[:64, :64]


@pytest.fixture(scope="module")
def scan():
    """Return slices (9, 1, H, W) of a head with a bright lesion in slices 2 to 6, and their masks."""
    rng = np.random.default_rng(1)
    head = np.hypot(ROWS - 32, COLUMNS - 32) < 28
    lesion = np.stack([(np.hypot(ROWS - 30, COLUMNS - 36) < 8) & (2 <= n <= 6) for n in range(9)])
    return (head * (80 + rng.normal(0, 4, lesion.shape)) + 90 * lesion)[:, None].astype(np.float32), lesion * np.uint8(
        1
    )


@pytest.fixture(scope="module")
def plain(small_spec):
    """Return a model that sees nothing for certain anywhere."""
    net = nn.Conv2d(1, 1, 3, padding=1)
    with torch.no_grad():
        net.weight.fill_(0.01)
        net.bias.fill_(-2.0)
    return models.Model(small_spec, net.eval().requires_grad_(False), "0" * 12)


@pytest.fixture(scope="module")
def knowing(plain, scan):
    """Return the model with slice 4 of the scan in its file."""
    planes, masks = scan
    layout = replace(layout_of((9, 64, 64)), slice_distance=1.0)
    stacks = stacks_of("scan", layout, (3.0, 3.0, 6.0), [4], lambda some: planes[some])
    mask = masks[4].copy()
    mask[0, :5] = UNSURE
    kept = remember(stacks, [ReviewedSlice("scan", 4, planes[4], mask)])
    return replace(plain, spec=replace(plain.spec, corrected=kept, carry=CarryWeights().to_dict()))


def answers(model, planes, exhaust, corrected=None):
    ticks, found = exhaust(iter_segment_planes(model, planes, SETTINGS, corrected))
    shown = [n for tick in ticks for n in tick.values["planes"]]
    assert sorted(shown) == list(range(len(planes)))
    for tick in ticks:
        for n, one in zip(tick.values["planes"], tick.values["probability"], strict=True):
            assert np.array_equal(found[n], one)
    return found


def dice(one, other):
    return 2 * np.sum(one & other) / (one.sum() + other.sum())


def test_neighbours_follow_and_the_corrected_slice_is_as_drawn(knowing, plain, scan, exhaust):
    planes, masks = scan
    before, found = answers(plain, planes, exhaust), answers(knowing, planes, exhaust)
    for n in (3, 5):
        assert dice(found[n, 0] >= 128, masks[n] > 0) > max(0.85, dice(before[n, 0] >= 128, masks[n] > 0))
    drawn = masks[4][1:] > 0
    assert np.array_equal(found[4, 0, 1:], drawn * np.uint8(255))
    assert np.array_equal(found[4, 0, 0, :5], before[4, 0, 0, :5])  # unsure pixels keep the network's answer


def test_it_says_which_answers_are_not_the_networks_own(knowing, scan, exhaust):
    planes, _ = scan
    ticks, _ = exhaust(iter_segment_planes(knowing, planes, SETTINGS))
    recalled = [n for tick in ticks for n in tick.values["recalled"]]
    assert {3, 4, 5} <= set(recalled) < set(range(9))
    ticks, _ = exhaust(iter_segment_planes(knowing, planes + 1, SETTINGS))
    assert not any(tick.values.get("recalled") for tick in ticks)


def test_other_scans_and_their_company_are_answered_as_before(knowing, plain, scan, exhaust):
    planes, _ = scan
    others = planes[::-1] + 1
    before = answers(plain, others, exhaust)
    assert np.array_equal(answers(knowing, others, exhaust), before)
    together = answers(knowing, np.concatenate([others, planes]), exhaust)
    assert np.array_equal(together[:9], before)
    assert np.array_equal(together[9:], answers(knowing, planes, exhaust))


def test_what_a_person_has_corrected_now_counts_instead(knowing, plain, scan, exhaust):
    planes, masks = scan
    before = answers(plain, planes, exhaust)
    for context in (ReviewedContext(masks={2: masks[2]}), ReviewedContext(recall=False)):
        assert np.array_equal(answers(knowing, planes, exhaust, context), before)


def test_it_survives_the_file(knowing, small_model):
    again = models.load(models.to_bytes(knowing.spec, small_model.net.state_dict()))
    assert again.spec.corrected == knowing.spec.corrected
