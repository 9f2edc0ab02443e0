from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.settings import SegmentSettings
from napari_unet_tumour.tiling.grid import (
    SAMPLE,
    TileGrid,
    is_tiled,
    sample_regions,
    step_of,
    tile_grid_of,
    window_starts,
)

SPEC = ModelSpec("m", "none", size=64)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 5), st.integers(1, 3))
def test_blocks_cover_every_pixel_once_and_see_every_window_of_theirs(
    height: int, width: int, shrink: int, run: int
) -> None:
    tiling = TileGrid((height, width), 64, shrink, run * 4 * step_of(64))
    seen = np.zeros((height, width), int)
    grids = [set(window_starts(length, 64)) for length in tiling.working]
    for block in tiling.nearest_first():
        seen[block.region] += 1
        for axis in (0, 1):
            region, reads, length = block.region[axis], block.reads[axis], tiling.working[axis]
            assert reads.start <= region.start < region.stop <= reads.stop
            first, last = reads.start // shrink, -(-reads.stop // shrink)
            local = {first + s for s in window_starts(last - first, 64)}
            assert local <= grids[axis] or length <= 64
            low, high = region.start // shrink, -(-region.stop // shrink)
            assert {s for s in grids[axis] if s + 64 > low and s < high} <= local
    assert (seen == 1).all()


def test_the_block_in_view_comes_first() -> None:
    tiling = TileGrid((2000, 2000), 64, 1, 192)
    first = tiling.nearest_first((1000, 1990))[0]
    assert first.region[0].start <= 1000 < first.region[0].stop
    assert first.region[1].start <= 1990 < first.region[1].stop


def test_what_is_cut_into_windows() -> None:
    auto, tiled, whole = (SegmentSettings(tiling=w) for w in ("auto", "tiled", "whole"))
    assert not is_tiled((1024, 512), SPEC, auto)
    assert is_tiled((1025, 512), SPEC, auto)
    assert not is_tiled((1025, 512), ModelSpec("m", "none", size=512), auto)
    assert is_tiled((100, 100), SPEC, tiled)
    assert not is_tiled((99_999, 100), SPEC, whole)


@pytest.mark.parametrize("shrink", [1, 4])
def test_less_memory_means_smaller_blocks(shrink: int) -> None:
    sides = [
        tile_grid_of((9999, 9999), SPEC, SegmentSettings(memory=m, downsample=shrink)).side for m in (128, 512, 4096)
    ]
    assert sides == sorted(sides)
    assert sides[0] < sides[-1]
    assert all(side % (4 * step_of(64)) == 0 for side in sides)


def test_a_sample_is_bounded_and_reaches_both_ends() -> None:
    count, side = SAMPLE
    regions = sample_regions((100_000, 40))
    assert len(regions) == count
    assert regions[0][0].start == 0
    assert regions[-1][0].stop == 100_000
    assert all(r[0].stop - r[0].start == side and r[1] == slice(0, 40) for r in regions)
