"""Intervals of rates, against statsmodels' printed values and by simulation."""

import numpy as np
import pytest

from napari_unet_tumour.engine.metrics.intervals import mean_interval, share_interval, wilson


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"), [(5, 50, 0.0435, 0.2136), (0, 55, 0.0, 0.0653), (10, 10, 0.7225, 1.0)]
)
def test_wilson_is_the_published_one(hits, count, low, high):
    assert wilson(hits, count) == pytest.approx((low, high), abs=1e-4)


def test_of_nothing_there_is_no_interval():
    assert share_interval([], []) == (None, None)


def test_slices_of_one_head_count_as_one_head():
    hits = [True] * 50 + [False] * 450
    apart = share_interval(hits, [str(n) for n in range(500)])
    heads = share_interval(hits, [str(n // 50) for n in range(500)])
    assert apart[1] - apart[0] < 0.06
    assert heads[1] - heads[0] > 0.2
    assert heads[0] <= 0.1 <= heads[1]


def test_no_hit_at_all_is_not_certainty():
    low, high = share_interval([False] * 300, [str(n % 10) for n in range(300)])
    assert low == 0
    assert high == pytest.approx(wilson(0, 10)[1])


def test_few_groups_fall_back_to_wilson():
    hits = np.arange(40) % 4 == 0
    assert share_interval(list(hits), ["a"] * 20 + ["b"] * 20) == wilson(10, 40)


def test_the_interval_of_a_mean_is_over_groups_and_needs_some():
    values = [0.2] * 10 + [0.8] * 90
    who = [str(n // 10) for n in range(100)]
    low, high = mean_interval(values, who)
    assert low < 0.74 < high
    assert high - low > 0.15, "ten persons, one of them much worse"
    assert mean_interval(values[:40], who[:40]) == (None, None)
