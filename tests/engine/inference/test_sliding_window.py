"""Large planes: what windows and blocks give, that memory bounds what is read, and that nothing depends on blocks."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
import pytest
import torch

from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.engine.inference import memory, sliding_window
from napari_unet_tumour.engine.inference.segment import iter_segment, iter_segment_block, iter_segment_into, segment
from napari_unet_tumour.engine.model import Model
from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.settings import SegmentSettings
from napari_unet_tumour.tiling import grid
from napari_unet_tumour.tiling.grid import TileGrid, intensity_sample, needs_tiling, tile_grid_of

TILED = SegmentSettings(device="cpu", tiling="tiled")


class Bright(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, :1] - 0.5) * 40


def bright(**about: Any) -> Model:
    spec = ModelSpec("bright", "none", **{"normalisation": "divide-by-255", "size": 64, **about})
    return Model(spec, Bright().eval(), "b" * 12)


@pytest.fixture(scope="module")
def blobs() -> np.ndarray:
    rng = np.random.default_rng(0)
    image = rng.integers(10, 60, (700, 900)).astype(np.uint8)
    for row, column in zip(rng.integers(0, 660, 40), rng.integers(0, 860, 40), strict=True):
        image[row : row + rng.integers(3, 40), column : column + rng.integers(3, 40)] = 230
    return image


@pytest.mark.parametrize("shape", [(700, 900), (65, 900), (20, 30), (1, 500), (64, 64)])
def test_every_pixel_is_answered_at_its_own_size(blobs: np.ndarray, shape: tuple[int, int]) -> None:
    image = blobs[: shape[0], : shape[1]]
    np.testing.assert_array_equal(segment(bright(), image, layout_of(image.shape), TILED).mask, image > 127)


def test_shrunk_windows_land_on_the_right_pixels(blobs: np.ndarray) -> None:
    image = np.full((301, 407), 20, np.uint8)
    image[40:121, 60:205] = 230
    found = segment(bright(), image, layout_of(image.shape), replace(TILED, downsample=4)).mask
    where = np.argwhere(found)
    assert np.abs(where.min(0) - (40, 60)).max() <= 2
    assert np.abs(where.max(0) - (120, 204)).max() <= 2


def test_blending_is_monais_own(small_model: Model) -> None:
    from monai.inferers.utils import sliding_window_inference

    working = torch.randn(1, 150, 130, generator=torch.Generator().manual_seed(0))
    net = small_model.net
    with torch.inference_mode():
        ours = sliding_window.blend(lambda x: net(x).sigmoid(), working, 64, 3)
        theirs = sliding_window_inference(working[None], (64, 64), 3, lambda x: net(x).sigmoid(), 0.25, "gaussian")
    torch.testing.assert_close(ours, theirs[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("downsample", [1, 2])
def test_the_answer_does_not_depend_on_the_blocks(
    small_model: Model, blobs: np.ndarray, monkeypatch: pytest.MonkeyPatch, downsample: int
) -> None:
    ask = replace(TILED, downsample=downsample)
    layout = layout_of(blobs.shape)
    at_once = segment(small_model, blobs, layout, ask).probability
    monkeypatch.setattr(
        "napari_unet_tumour.tiling.streaming.tile_grid_of", lambda shape, spec, s: TileGrid(shape, 64, downsample, 192)
    )
    in_parts = segment(small_model, blobs, layout, ask).probability
    assert np.abs(at_once.astype(int) - in_parts).max() <= 2


def test_a_scan_in_windows_is_as_bright_as_the_whole(small_model: Model, blobs: np.ndarray) -> None:
    """A window is normalised by the whole plane: the same pixels give the same prediction wherever they are."""
    layout = layout_of(blobs.shape)
    model = Model(replace(small_model.spec, normalisation="robust-zscore"), small_model.net, "z" * 12)
    dark = segment(model, blobs, layout, TILED).probability
    assert np.abs(dark.astype(int) - segment(model, 3.0 * blobs - 7, layout, TILED).probability).mean() < 1


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "float64", "int64"])
def test_any_values_and_gaps(blobs: np.ndarray, dtype: str) -> None:
    image = blobs.astype(dtype)
    if image.dtype.kind == "f":
        image[5, 5], image[300, 300] = np.nan, np.inf
        image[100:120] = -np.inf
    found = segment(bright(), image, layout_of(image.shape), TILED).mask
    expected = image > 127
    np.testing.assert_array_equal(found, expected)


def test_colours_and_stacks(blobs: np.ndarray) -> None:
    colours = np.repeat(blobs[..., None], 4, -1)
    np.testing.assert_array_equal(segment(bright(), colours, layout_of(colours.shape, "yxc"), TILED).mask, blobs > 127)
    stack = np.stack([blobs, np.zeros_like(blobs), blobs[::-1]], axis=2)
    layout = layout_of(stack.shape, rows=1, columns=0)
    np.testing.assert_array_equal(segment(bright(), stack, layout, TILED).mask, stack > 127)
    with pytest.raises(ModelError, match="needs 1 channel"):
        segment(bright(), stack, layout_of(stack.shape, "cyx"), TILED)


def test_small_pieces_go_and_those_that_lie_across_blocks_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "napari_unet_tumour.tiling.streaming.tile_grid_of", lambda shape, spec, s: TileGrid(shape, 64, 1, 192)
    )
    image = np.full((500, 500), 20, np.uint8)
    image[190:195, 100:104] = 230  # 20 pixels across the border at 192
    image[300:302, 300:304] = 230  # 8 pixels
    found = segment(bright(), image, layout_of(image.shape), replace(TILED, min_object_size=15)).mask
    assert found[190:195, 100:104].all()
    assert found.sum() == 20


def test_a_lazy_image_is_read_and_written_part_by_part(blobs: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    import zarr

    monkeypatch.setattr(
        "napari_unet_tumour.tiling.streaming.tile_grid_of", lambda shape, spec, s: TileGrid(shape, 64, 1, 192)
    )
    largest = []

    class Spy:
        shape, dtype = blobs.shape, blobs.dtype

        def __getitem__(self, index: Any) -> np.ndarray:
            largest.append(blobs[index].size)
            return blobs[index]

    mask = zarr.zeros(blobs.shape, dtype=np.uint8, chunks=(192, 192))
    layout = layout_of(blobs.shape)
    ticks = list(iter_segment_into(mask, bright(), Spy(), layout, TILED, point=(690, 890)))
    assert max(largest[1:]) <= (192 + 3 * 64) ** 2  # the first is the sample of the whole
    assert ticks[0].values["region"] == (slice(576, 700), slice(768, 900))
    assert [t.done for t in ticks] == list(range(1, ticks[0].total + 1))
    np.testing.assert_array_equal(mask[:], blobs > 127)
    with pytest.raises(ScanError, match="keeping the largest piece"):
        exhaust(iter_segment_into(mask, bright(), Spy(), layout, replace(TILED, keep_largest=True)))


def test_one_block_by_itself_is_what_the_whole_run_gives(small_model: Model, blobs: np.ndarray) -> None:
    layout = layout_of(blobs.shape)
    whole = segment(small_model, blobs, layout, TILED).probability[0]
    block = tile_grid_of(blobs.shape, small_model.spec, TILED).block(0, 0)
    sample = intensity_sample(lambda region: layout.read_planes(blobs, [0], region)[0], blobs.shape)
    raw = layout.read_planes(blobs, [0], block.reads)[0]
    found = exhaust(iter_segment_block(small_model, raw, sample, block, TILED))
    np.testing.assert_array_equal(found, whole[(slice(None), *block.region)])


def test_a_huge_plane_as_a_whole_is_shrunk_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plane that fits gives, but for the way it is shrunk."""
    rows, columns = np.mgrid[:3000, :2000]
    image = (255 * np.exp(-((rows - 900) ** 2 + (columns - 700) ** 2) / 300**2)).astype(np.uint8)
    layout, whole = layout_of(image.shape), SegmentSettings(device="cpu", tiling="whole")
    small = replace(whole, memory=128)
    expected = segment(bright(), image, layout, whole)
    reads = []

    def block(part: np.ndarray) -> np.ndarray:
        reads.append(part.size)
        return part

    lazy = da.from_array(image, chunks=(100, 2000)).map_blocks(block, dtype=np.uint8)
    assert not needs_tiling((1, 3000, 2000), bright().spec, whole)
    monkeypatch.setattr(grid, "RAW", 4000)
    monkeypatch.setattr("napari_unet_tumour.tiling.streaming.RAW", 4000)
    assert needs_tiling((1, 3000, 2000), bright().spec, small)
    found = exhaust(iter_segment(bright(), lazy, layout, small))
    assert max(reads) <= 100 * 2000
    both = (found.mask > 0) & (expected.mask > 0)
    assert 2 * both.sum() / (found.mask.sum() + expected.mask.sum()) > 0.99


# ---- full memory --------------------------------------------------------------------------------------------------


def full_above(model: Model, pixels: dict[str, int], sizes: list[tuple[str, int]]) -> Model:
    """A copy of a model whose network runs out of memory above so many pixels at once, by kind of device."""

    class Hungry(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            taken = x.shape[0] * x.shape[2] * x.shape[3]
            sizes.append((x.device.type, taken))
            if taken > pixels[x.device.type]:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
            return model.net(x)

    return Model(model.spec, Hungry().eval(), "f" * 12)


def notices(model: Model, array: np.ndarray, ask: SegmentSettings) -> tuple[Any, list[str]]:
    steps, said = iter_segment(model, array, layout_of(array.shape), ask), [""]
    result = exhaust(steps, lambda tick: said.append(tick.message) if tick.message != said[-1] else None)
    return result, said[1:]


@pytest.mark.slow
def test_full_memory_means_smaller_batches_and_the_same_answer(small_model: Model) -> None:
    array = np.random.default_rng(0).integers(0, 255, (12, 64, 64)).astype(np.uint8)
    ask = SegmentSettings(device="cpu", precision="float32")
    plain = segment(small_model, array, layout_of(array.shape), ask)
    found, said = notices(full_above(small_model, {"cpu": 3 * 64 * 64}, []), array, ask)
    assert said == ["the memory is full: working in smaller batches"]
    assert np.abs(found.probability.astype(int) - plain.probability).max() <= 1


@pytest.mark.parametrize("windows_are", ["whole", "tiled"])
@pytest.mark.slow
def test_then_smaller_windows_and_an_answer_alike(windows_are: str) -> None:
    image = np.full((256, 256), 20, np.uint8)
    image[90:140, 100:180] = 230
    ask = SegmentSettings(device="cpu", tiling=windows_are, precision="float32")
    sizes: list[tuple[str, int]] = []
    found, said = notices(full_above(bright(size=256), {"cpu": 2 * 128 * 128}, sizes), image, ask)
    assert "working in smaller windows" in said[-1]
    assert sizes[-1][1] <= 2 * 128 * 128
    np.testing.assert_array_equal(found.mask, image > 127)


def test_then_the_cpu_and_then_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    seen: list[memory.BatchLimits] = []

    def work(now: memory.BatchLimits) -> str:
        seen.append(now)
        if now.device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "found"

    monkeypatch.setattr(memory, "release_memory", lambda device: None)
    steady = memory.OomRetry(memory.BatchLimits(gpu, 4))
    assert steady.run(work, 256) == "found"
    assert [(r.device, r.batch, r.window) for r in seen] == [
        (gpu, 4, 0), (gpu, 2, 0), (gpu, 1, 0), (gpu, 1, 128), (gpu, 1, 64), (cpu, 1, 0),
    ]  # fmt: skip
    assert steady.notice == "the GPU's memory is full: working on the CPU"
    with pytest.raises(memory.DeviceError, match="the memory is full: close other programs"):
        memory.BatchLimits(cpu, 1, 64).smaller(64, MemoryError())


LIMITED = """
import resource, numpy as np, psutil, torch
from napari_unet_tumour.engine import networks
from napari_unet_tumour.engine.inference import memory
from napari_unet_tumour.engine.model import Model
from napari_unet_tumour.engine.inference.segment import iter_segment, segment
from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.settings import SegmentSettings
from napari_unet_tumour.models.spec import ModelSpec

torch.manual_seed(0)
net = networks.build("tutorial-unet", 1, 1, filters=[8, 16]).eval()
model = Model(ModelSpec("m", "none", size=256), net, "m" * 12)
array = np.random.default_rng(0).integers(0, 255, (24, 64, 64)).astype(np.uint8)
ask = SegmentSettings(device="cpu", precision="float32")
expected = segment(model, array, layout_of(array.shape), ask).probability
memory.WORKING["cpu"] = 24 * 256 * 256
taken = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (taken + 190_000_000, -1))
notices, steps = set(), iter_segment(model, array, layout_of(array.shape), ask)
found = exhaust(steps, lambda tick: notices.add(tick.message))
print(sorted(notices), int(np.abs(found.probability.astype(int) - expected).max()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory by a Linux call")
def test_a_real_limit_of_memory_is_met_by_smaller_batches() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("['the memory is full: working in smaller batches']"), done.stdout
    assert int(done.stdout.split()[-1]) <= 1


def test_other_errors_are_not_taken_for_full_memory() -> None:
    steady = memory.OomRetry(memory.BatchLimits(torch.device("cpu"), 8))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        steady.run(lambda now: (_ for _ in ()).throw(RuntimeError("shape mismatch")), 64)
    assert steady.limits.batch == 8
    assert memory.is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
