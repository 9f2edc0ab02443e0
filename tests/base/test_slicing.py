from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unet_tumour.base.slicing import SliceLayout, layout_of, with_slice_distance
from napari_unet_tumour.errors import ScanError


@st.composite
def layouts(draw: st.DrawFn) -> SliceLayout:
    ndim = draw(st.integers(2, 5))
    shape = draw(st.lists(st.integers(1, 4), min_size=ndim, max_size=ndim))
    order = draw(st.permutations(range(ndim)))
    channel = order[2] if ndim > 2 and draw(st.booleans()) else None
    return SliceLayout(tuple(shape), order[0], order[1], channel)


@given(layouts())
def test_every_pixel_is_in_exactly_one_plane_and_comes_back(layout: SliceLayout) -> None:
    array = np.arange(np.prod(layout.shape)).reshape(layout.shape)
    planes = layout.read_planes(array, range(layout.planes))
    assert planes.shape == (layout.planes, layout.channels, *layout.plane_shape)
    assert sorted(planes.ravel()) == list(range(array.size))
    back = np.full(layout.mask_shape, -1)
    for n, plane in enumerate(planes):
        layout.write_plane(back, n, plane[0])
    first = array if layout.channel is None else array.take(0, layout.channel)
    np.testing.assert_array_equal(back, first)


@given(layouts(), st.data())
def test_index_selects_what_take_reads(layout: SliceLayout, data: st.DataObject) -> None:
    array = np.random.default_rng(0).random(layout.shape)
    n = data.draw(st.integers(0, layout.planes - 1))
    mask = array if layout.channel is None else array.take(0, layout.channel)
    np.testing.assert_array_equal(layout.to_array_order(mask[layout.index(n)]), layout.read_planes(array, [n])[0, 0])


def test_planes_are_numbered_in_c_order() -> None:
    layout = layout_of((2, 3, 4, 5))
    assert [layout.index(n)[:2] for n in range(layout.planes)] == [(t, z) for t in range(2) for z in range(3)]
    with pytest.raises(IndexError):
        layout.index(6)


def test_axes_are_chosen() -> None:
    assert layout_of((4, 5)) == SliceLayout((4, 5), 0, 1)
    assert layout_of((9, 4, 5)) == SliceLayout((9, 4, 5), 1, 2)
    assert layout_of((9, 4, 3), rgb=True) == SliceLayout((9, 4, 3), 0, 1, 2)
    assert layout_of((3, 9, 4), "cyx") == SliceLayout((3, 9, 4), 1, 2, 0)
    assert layout_of((3, 9, 4), "xyz") == SliceLayout((3, 9, 4), 1, 0)
    assert layout_of((3, 9, 4), "zyx", rows=0, columns=1) == SliceLayout((3, 9, 4), 0, 1)
    assert layout_of((3, 9, 4), rows=2) == SliceLayout((3, 9, 4), 2, 1)
    assert layout_of((3, 9, 4), columns=-2) == SliceLayout((3, 9, 4), 2, 1)


@pytest.mark.parametrize(
    ("shape", "kwargs", "words"),
    [
        ((5,), {}, "at least two"),
        ((), {}, "at least two"),
        ((4, 0, 5), {}, "axis 1 has 0 pixels"),
        ((4, 3), {"rgb": True}, "beside the channels"),
        ((4, 5, 6), {"rows": 1, "columns": -2}, "two different axes"),
        ((4, 5, 6), {"rows": 3}, "no axis 3"),
        ((4, 5, 6), {"rows": -4}, "no axis -4"),
        ((4, 5, 3), {"rgb": True, "rows": 2}, "holds the channels"),
        ((4, 5, 6), {"axes": "yx"}, "letter per axis"),
        ((4, 5, 6), {"axes": "yyx"}, "letter per axis"),
    ],
)
def test_nonsense_is_refused_in_one_line(shape: tuple[int, ...], kwargs: dict[str, int], words: str) -> None:
    with pytest.raises(ScanError, match=words) as caught:
        layout_of(shape, **kwargs)
    assert "\n" not in str(caught.value)


def test_lazy_planes_are_read_alone_and_native() -> None:
    seen = []

    def block(block_info: dict[int, dict[str, list[tuple[int, int]]]]) -> np.ndarray:
        seen.append(block_info[None]["array-location"][0][0])
        return np.ones((1, 4, 5), ">i2")

    lazy = da.map_blocks(block, dtype=">i2", chunks=((1,) * 9, (4,), (5,)), meta=np.empty((0, 0, 0), ">i2"))
    taken = layout_of(lazy.shape).read_planes(lazy, [7, 2])
    assert seen == [7, 2]
    assert taken.dtype == np.dtype("i2")
    assert taken.dtype.isnative


def test_taken_planes_are_a_copy() -> None:
    array = np.zeros((2, 3, 4))
    array.flags.writeable = False
    taken = layout_of(array.shape).read_planes(array, [0])
    taken[:] = 1
    assert not array.any()


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, -1)])
def test_the_distance_of_planes_has_no_sign(signs):
    spacing = [s * n for s, n in zip(signs, (6.0, 1.5, 1.5), strict=True)]
    assert with_slice_distance(layout_of((5, 8, 9)), 0, spacing).slice_distance == 4.0
