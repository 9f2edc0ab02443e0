from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_unet_tumour.base.slicing import SliceLayout, layout_of
from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.engine.inference import memory
from napari_unet_tumour.engine.inference import segment as segmenting
from napari_unet_tumour.engine.inference.accelerate import Runner, accelerated
from napari_unet_tumour.engine.inference.preprocess import to_working_planes
from napari_unet_tumour.engine.inference.segment import iter_segment, iter_segment_planes, segment
from napari_unet_tumour.engine.model import Model
from napari_unet_tumour.errors import DeviceError, ModelError, ScanError
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.settings import Progress, SegmentSettings

PLAIN = SegmentSettings(device="cpu")


class Threshold(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, :1] - 0.5) * 40


def threshold_model(channels: tuple[str, ...] = ("grey",), size: int = 64) -> Model:
    spec = ModelSpec("threshold", "none", channels=channels, normalisation="divide-by-255", size=size)
    return Model(spec, Threshold().eval(), "0" * 12)


THRESHOLD = threshold_model()


@st.composite
def scans_with_a_box(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, SliceLayout]:
    """An array of any axis order, some axes flipped, with one bright box in one plane; its truth; its layout."""
    sides = [draw(st.integers(1, 300)), draw(st.integers(1, 300))]
    coarse = max(1.0, max(sides) / 64)
    least = int(np.ceil(3 * coarse))
    box = []
    for side in sides:
        length = draw(st.integers(min(side, least), side))
        start = draw(st.integers(0, side - length))
        box.append(slice(start, start + length))
    slices = draw(st.lists(st.integers(1, 3), max_size=2))
    volume = np.zeros((*slices, *sides), np.uint8)
    # A corner keeps a plane that is all box from being blank.
    where = tuple(draw(st.integers(0, n - 1)) for n in slices)
    volume[(*where, *box)] = 255
    order = draw(st.permutations(range(volume.ndim)))
    turn = tuple(slice(None, None, draw(st.sampled_from([1, -1]))) for _ in order)
    truth = (volume > 0).transpose(order)[turn]
    array = volume.transpose(order)[turn]
    rows, columns = order.index(volume.ndim - 2), order.index(volume.ndim - 1)
    return array, truth, layout_of(array.shape, rows=rows, columns=columns)


@settings(max_examples=100, deadline=None)
@given(scans_with_a_box())
def test_the_mask_lands_within_half_a_pixel(scan: tuple[np.ndarray, np.ndarray, SliceLayout]) -> None:
    array, truth, layout = scan
    mask = segment(THRESHOLD, array, layout, PLAIN).mask
    assert mask.shape == array.shape
    if all(len(np.unique(plane)) == 1 for plane in layout.read_planes(array, range(layout.planes))):
        assert not mask.any()
        return
    coarse = max(1.0, max(layout.plane_shape) / 64)
    # Where the working grid is the coarser one, the mask's own grid rounds by up to half a native pixel more.
    rounding = 0.5 if coarse > 1 else 0.0
    found, real = (np.argwhere(m) for m in (mask, truth))
    off = np.abs(found.mean(0) - real.mean(0))
    assert off.max() <= 0.5 * coarse + rounding
    for edge in (np.min, np.max):
        assert np.abs(edge(found, 0) - edge(real, 0)).max() <= coarse + rounding


SIZES = [(1, 1), (1, 4096), (4096, 3), (333, 777), pytest.param(4096, 4096, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_size_gives_a_mask_of_its_size(small_model: Model, height: int, width: int) -> None:
    array = np.random.default_rng(0).integers(0, 4096, (height, width), np.uint16)
    found = segment(small_model, array, layout_of(array.shape), PLAIN)
    assert found.mask.shape == (height, width)
    assert found.mask.dtype == np.uint8
    assert found.probability.shape == (1, 1, height, width)
    assert found.labels == ("background", "tumour")


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("yx", (40, 50)),
        ("zyx", (5, 40, 50)),
        ("tzyx", (2, 3, 40, 50)),
        ("yxc", (40, 50, 3)),
        ("zyxc", (4, 40, 50, 4)),
        ("czyx", (3, 4, 40, 50)),
    ],
)
def test_every_kind_of_scan(small_model: Model, axes: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    layout = layout_of(shape, axes)
    found = segment(small_model, array, layout, PLAIN)
    assert found.mask.shape == layout.mask_shape
    assert 0 < found.mask.mean() < 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_slice_axis_gives_what_the_turned_scan_gives(small_model: Model, axis: int) -> None:
    array = np.random.default_rng(0).random((20, 24, 28))
    rows, columns = (a for a in range(3) if a != axis)
    turned = np.moveaxis(array, axis, 0)
    direct = segment(small_model, array, layout_of(array.shape, rows=rows, columns=columns), PLAIN)
    expected = segment(small_model, turned, layout_of(turned.shape), PLAIN)
    np.testing.assert_array_equal(np.moveaxis(direct.mask, axis, 0), expected.mask)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return np.random.default_rng(0).random((6, 70, 90)).astype(np.float32)


@pytest.mark.parametrize("flip_tta", [False, True])
def test_the_answer_does_not_depend_on_the_chunks(
    small_model: Model, volume: np.ndarray, flip_tta: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, ask = layout_of(volume.shape), SegmentSettings(device="cpu", flip_tta=flip_tta)
    small_model = replace(small_model, spec=replace(small_model.spec, flip_size=80))
    whole = segment(small_model, volume, layout, ask)
    for planes in (1, 2, 4):
        monkeypatch.setitem(memory.WORKING, "cpu", planes * 64 * 64)
        chunked = segment(small_model, volume, layout, ask)
        np.testing.assert_array_equal(chunked.probability, whole.probability)
    raw = layout.read_planes(volume, [4])
    alone = exhaust(iter_segment_planes(small_model, raw, ask))
    np.testing.assert_array_equal(alone[0], whole.probability[4])


def test_progress_carries_the_planes_in_the_given_order(
    small_model: Model, volume: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(memory.WORKING, "cpu", 2 * 64 * 64)
    layout, order = layout_of(volume.shape), [3, 5, 4, 0, 2]
    steps, ticks = iter_segment(small_model, volume, layout, PLAIN, order), []
    result = exhaust(steps, ticks.append)
    assert all(isinstance(tick, Progress) for tick in ticks)
    assert [tick.values["planes"] for tick in ticks] == [[3, 5], [4, 0], [2]]
    assert [(tick.done, tick.total) for tick in ticks] == [(2, 5), (4, 5), (5, 5)]
    whole = segment(small_model, volume, layout, PLAIN)
    for tick in ticks:
        np.testing.assert_array_equal(tick.values["probability"], whole.probability[tick.values["planes"]])
    np.testing.assert_array_equal(result.mask[order], whole.mask[order])
    assert not result.mask[1].any()


def test_closing_in_the_middle_frees_everything_and_leaks_no_mode(
    small_model: Model, volume: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(memory.WORKING, "cpu", 64 * 96)

    class Counted(np.ndarray):
        pass

    array = volume.copy().view(Counted)
    alive = weakref.ref(array)
    steps = iter_segment(small_model, array, layout_of(array.shape), PLAIN)
    next(steps)
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
    steps.close()
    del steps, array
    gc.collect()
    assert alive() is None


def test_flips_average_a_plane_with_its_mirrored_copy(small_model: Model) -> None:
    raw = np.random.default_rng(0).random((1, 1, 64, 64)).astype(np.float32)
    plain = SegmentSettings(device="cpu", precision="float32")
    ask = replace(plain, flip_tta=True)
    averaged = exhaust(iter_segment_planes(small_model, raw, ask)).astype(int)
    singles = [
        np.flip(exhaust(iter_segment_planes(small_model, np.flip(raw, axes), plain)), axes).astype(int)
        for axes in ((), (3,))
    ]
    planes = to_working_planes(raw, small_model.spec, torch.device("cpu"))
    mean = accelerated(small_model, torch.device("cpu"), "float32").probability(planes.working, flip_tta=True)
    assert np.abs(planes.back(mean)().astype(int) - np.mean(singles, 0)).max() <= 1
    mirrored = exhaust(iter_segment_planes(small_model, raw[..., ::-1], ask))[..., ::-1]
    assert np.abs(averaged - mirrored).max() <= 1
    assert np.abs(averaged - singles[0]).max() > 2


class OneSided(torch.nn.Module):
    """Sees what is bright in the left half only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left = torch.arange(x.shape[3]) < x.shape[3] // 2
        return torch.where(left & (x[:, :1] > -1), 8.0, -8.0)


def test_with_flips_what_one_copy_alone_sees_is_found_on_a_slice_where_they_agree_on_nothing() -> None:
    model = Model(ModelSpec("one-sided", "none", size=64), OneSided().eval(), "3" * 12)
    planes = np.zeros((2, 1, 64, 64), np.float32)
    planes[:, 0, 10:20, 40:50] = 200
    planes[1, 0, 30:40, 27:37] = 200  # across the middle: half of it is seen by either copy
    plain = SegmentSettings(device="cpu", precision="float32")
    assert not (exhaust(iter_segment_planes(model, planes, plain))[:, 0, 12:18, 42:48] > 127).any()
    with_flips = replace(plain, flip_tta=True, threshold=0.6)
    found = segment(model, planes[:, 0], layout_of((2, 64, 64)), with_flips)
    assert found.mask[0, 12:18, 42:48].all()
    assert (abs(found.probability[0, 0, 12:18, 42:48] - 127.0) <= 1).all()  # which is less than the threshold
    other = segment(model, np.flip(planes[:, 0], 2), layout_of((2, 64, 64)), with_flips)
    np.testing.assert_array_equal(found.mask[0], np.flip(other.mask[0], 1))


class Moved(torch.nn.Module):
    """Two answers: the first sees the left half, the second what is bright."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left = (torch.arange(x.shape[3]) < x.shape[3] // 2).expand_as(x)
        return torch.cat([torch.where(left, 8.0, -8.0), torch.where(x > 0, 8.0, -8.0)], 1)


@pytest.mark.parametrize("scale", [1.0, 1.25])
def test_both_answers_of_a_tuned_network_are_of_the_slice_and_its_mirrored_copy(scale: float) -> None:
    run = Runner(Moved(), torch.device("cpu"), torch.float32, twofold=True)
    working = torch.zeros(1, 1, 32, 64)
    working[..., 8:24, 4:20] = 1
    first, second = run.probability(working, flip_tta=True, scale=scale)[0]
    np.testing.assert_allclose(first[:, 8:24], 0.5, atol=1e-3)
    np.testing.assert_allclose(second[10:22, 6:18], 1, atol=1e-3)
    np.testing.assert_allclose(second[:, 24:], 0, atol=1e-3)


def test_a_mirrored_copy_of_another_size_is_seen_at_that_size_and_lies_on_the_same_pixels() -> None:
    sizes = []

    class Bright(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sizes.append(tuple(x.shape[2:]))
            return torch.where(x[:, :1] > 0, 8.0, -8.0)

    model = Model(ModelSpec("bright", "none", size=64, flip_size=80), Bright().eval(), "4" * 12)
    array = np.zeros((2, 60, 40), np.float32)
    array[:, 10:30, 5:15] = 200
    plain = SegmentSettings(device="cpu", precision="float32")
    with_flips = segment(model, array, layout_of(array.shape), replace(plain, flip_tta=True))
    assert sizes[-2:] == [(64, 64), (96, 96)]  # 64 x 43 and 80 x 54, padded
    once = segment(model, array, layout_of(array.shape), plain)
    assert sizes[-1] == (64, 64)
    differ = with_flips.mask != once.mask
    assert differ.mean() < 0.02
    np.testing.assert_array_equal(with_flips.mask[:, 12:28, 7:13], 1)


def test_blank_planes_are_empty_whatever_the_network_says() -> None:
    class Sure(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :1] * 0 + 9

    model = Model(THRESHOLD.spec, Sure().eval(), "1" * 12)
    array = np.zeros((4, 33, 33), np.float32)
    array[1] = 200
    array[2] = np.nan
    array[3, 5, 5] = 1
    mask = segment(model, array, layout_of(array.shape), PLAIN).mask
    assert mask.reshape(4, -1).any(1).tolist() == [False, False, False, True]


def test_several_labels_share_by_softmax() -> None:
    class ByGrey(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return -((x - torch.tensor([0.0, 0.5, 1.0])[:, None, None].to(x)) ** 2) * 100

    spec = ModelSpec("three", "none", labels=("background", "core", "rim"), normalisation="divide-by-255", size=64)
    array = np.repeat(np.array([[0, 0, 128, 128, 255, 255]], np.uint8), 64, 0).repeat(11, 1)[:, :64]
    found = segment(Model(spec, ByGrey().eval(), "2" * 12), array, layout_of(array.shape), PLAIN)
    assert found.probability.shape == (1, 2, 64, 64)
    np.testing.assert_array_equal(found.mask, np.choose(array // 127, [0, 1, 2]))
    assert found.labels == spec.labels


def test_settings_decide_the_mask() -> None:
    array = np.zeros((3, 64, 64), np.uint8)
    array[:, 4:20, 4:20] = 255
    array[1, 40:44, 40:44] = 255
    array[2, 60, 60] = 255
    layout = layout_of(array.shape)
    plain = segment(THRESHOLD, array, layout, PLAIN).mask
    np.testing.assert_array_equal(plain, array > 0)
    small = segment(THRESHOLD, array, layout, SegmentSettings(device="cpu", min_object_size=10)).mask
    assert small[1, 41, 41]
    assert not small[2, 60, 60]
    largest = segment(THRESHOLD, array, layout, SegmentSettings(device="cpu", keep_largest=True)).mask
    assert largest.sum() == 3 * 16 * 16


def test_lazy_scans_are_read_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(memory.WORKING, "cpu", 2 * 64 * 64)
    seen: list[int] = []

    def block(block_info: Any) -> np.ndarray:
        seen.append(block_info[None]["array-location"][0][0])
        return np.full((1, 64, 64), 200, ">u2") + (np.arange(64) % 50)

    lazy = da.map_blocks(block, dtype=">u2", chunks=((1,) * 6, (64,), (64,)), meta=np.empty((0, 0, 0), ">u2"))
    steps = iter_segment(THRESHOLD, lazy, layout_of(lazy.shape), PLAIN)
    next(steps)
    assert seen == [0, 1]
    assert exhaust(steps).mask.all()


def test_scans_that_do_not_fit_are_refused() -> None:
    array = np.zeros((2, 64, 64))
    with pytest.raises(ModelError, match="needs 1 channel"):
        segment(THRESHOLD, array, layout_of(array.shape, "cyx"), PLAIN)
    with pytest.raises(ScanError, match="complex"):
        segment(THRESHOLD, array + 1j, layout_of(array.shape), PLAIN)


def test_memory_stays_bounded_by_the_batch(small_model: Model) -> None:
    """A volume is never copied to float: the largest read is a batch of planes."""
    reads = []

    class Spy:
        shape, dtype = (400, 256, 256), np.dtype(np.uint16)

        def __getitem__(self, index: Any) -> np.ndarray:
            reads.append(index)
            return np.zeros((256, 256), np.uint16)

    steps = iter_segment(small_model, Spy(), layout_of(Spy.shape), PLAIN)
    tick = next(steps)
    assert len(reads) == tick.done <= 8 * (256 // 64) ** 2
    steps.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_there_is_an_error() -> None:
    array = np.zeros((64, 64))
    with pytest.raises(DeviceError, match="GPU"):
        segment(THRESHOLD, array, layout_of(array.shape), SegmentSettings(device="cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_gpu_agrees_with_the_cpu(small_model: Model, volume: np.ndarray) -> None:
    layout = layout_of(volume.shape)
    here = segment(small_model, volume, layout, PLAIN)
    there = segment(small_model, volume, layout, SegmentSettings(device="cuda"))
    assert np.abs(here.probability.astype(int) - there.probability).mean() < 1


def test_a_habit_in_the_model_file_moves_the_outline_and_nothing_else() -> None:
    rows, columns = np.mgrid[:64, :64]
    radius = np.hypot(rows - 32, columns - 30)
    scan = np.zeros((3, 64, 64), np.uint8)
    scan[1] = np.where(radius < 14, 220, 40) - 70 * (radius < 7).astype(np.uint8)
    plain = segment(THRESHOLD, scan, layout_of(scan.shape), PLAIN)
    # Log odds fall with the distance to the outline, inwards.
    weights = [0.0, 0.0, -20.0, 0.0, *[0.0] * 5]
    spec = replace(THRESHOLD.spec, habit={"weights": weights, "direction": [], "scans": []})
    moved = segment(replace(THRESHOLD, spec=spec), scan, layout_of(scan.shape), PLAIN)
    assert plain.mask[1][radius < 13].all()
    assert not moved.mask[1][radius < 10].any()
    assert moved.mask[1].any()
    assert not moved.mask[[0, 2]].any()


class Lazy:
    """An array that notes which planes were read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim
        self.read: list[int] = []

    def __getitem__(self, key: Any) -> np.ndarray:
        self.read += np.atleast_1d(np.arange(len(self.array))[key[0] if isinstance(key, tuple) else key]).tolist()
        return self.array[key]


@pytest.mark.parametrize("most", [1 << 27, 2 * 64 * 64])
def test_a_habit_reads_no_plane_twice_while_planes_are_kept(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(segmenting, "KEPT_BYTES", most)
    rows, columns = np.mgrid[:64, :64]
    scan = np.stack([np.where(np.hypot(rows - 32, columns - 30) < n, 220, 40) for n in range(5, 17)]).astype(np.uint8)
    weights = [0.0, 0.0, -20.0, 0.0, *[0.0] * 5]
    spec = replace(THRESHOLD.spec, habit={"weights": weights, "direction": [], "scans": []})
    lazy = Lazy(scan)
    steps = iter_segment(replace(THRESHOLD, spec=spec), lazy, layout_of(scan.shape), PLAIN)
    plain: dict[int, np.ndarray] = {}
    for progress in steps:
        plain |= progress.values["plain"]
    assert sorted(lazy.read)[:1] == [0]
    assert len(lazy.read) == len(scan) if most == 1 << 27 else len(lazy.read) > len(scan)
    own = segment(THRESHOLD, scan, layout_of(scan.shape), PLAIN).probability
    assert sorted(plain) == list(range(len(scan)))
    assert all(np.array_equal(own[n], one) for n, one in plain.items())
