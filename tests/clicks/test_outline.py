from __future__ import annotations

import numpy as np
import pytest

from napari_unet_tumour.clicks.answer import INSIDE, Click, Known
from napari_unet_tumour.clicks.outline import Stack, iter_outline


def ball(depth: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """A ball of radius 5 slices and 20 pixels that drifts sideways, and another bright one far from it."""
    slices, rows, columns = np.ogrid[:depth, :128, :128]
    truth = ((slices - 7) / 5) ** 2 + ((rows - 60) / 20) ** 2 + ((columns - 50 - slices) / 20) ** 2 <= 1
    other = np.broadcast_to(np.hypot(rows - 20, columns - 110) <= 6, truth.shape)
    volume = np.random.default_rng(0).integers(0, 20, truth.shape) + np.where(rows < 100, 80, 10)
    volume[truth | other] += 100
    return volume.astype(np.uint8), truth


def outlined(net, volume, start, clicks, **more):
    return dict(iter_outline(net, Stack(volume.__getitem__, len(volume)), start, clicks, **more))


def test_a_lesion_is_followed_and_ends(net) -> None:
    volume, truth = ball()
    found = outlined(net, volume, 7, [Click(60, 57)])
    there = [n for n in range(len(volume)) if truth[n].sum() > 40]
    assert set(there) <= set(found) <= {min(there) - 1, *there, max(there) + 1}
    mask = np.zeros_like(truth)
    for n, one in found.items():
        mask[n] = one >= INSIDE
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9
    assert not mask[:, 14:27, 104:117].any()


@pytest.mark.parametrize("start", [0, 14])
def test_clicks_on_the_first_and_last_slice(net, start) -> None:
    volume, _ = ball()
    found = outlined(net, volume, start, [Click(60, 60)])
    assert start in found
    assert found[start][60, 60] >= INSIDE


def test_clicks_that_only_remove_lead_nowhere(net) -> None:
    volume, _ = ball()
    assert list(outlined(net, volume, 7, [Click(60, 57, -1)])) == [7]


def test_a_blank_slice_ends_it(net) -> None:
    volume, _ = ball()
    volume[9:] = 0
    assert max(outlined(net, volume, 7, [Click(60, 57)])) == 8


def test_a_box_is_enough(net) -> None:
    volume, truth = ball()
    region = np.zeros((128, 128), bool)
    region[40:80, 37:77] = True
    found = outlined(
        lambda x: np.where(x[:, 6].any((1, 2))[:, None, None], x[:, 6], x[:, 4] * (x[:, 0] > 0.5)),
        volume, 7, [], known=lambda n: Known(region=region) if n == 7 else Known(),
    )  # fmt: skip
    assert len(found) >= 5
    assert ((found[7] >= INSIDE) & truth[7]).sum() > 0.8 * truth[7].sum()
