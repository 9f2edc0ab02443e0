from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.engine import tasks
from napari_unet_tumour.engine.inference import segment
from napari_unet_tumour.engine.model import load, save
from napari_unet_tumour.errors import DeviceError, ModelError
from napari_unet_tumour.settings import Progress, SegmentSettings

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from napari_unet_tumour.models.spec import ModelSpec

CPU = SegmentSettings(device="cpu")


@pytest.fixture
def file(tmp_path: Path, small_spec: ModelSpec, small_state: dict[str, torch.Tensor]) -> Path:
    save(tmp_path / "small.safetensors", small_spec, small_state)
    return tmp_path / "small.safetensors"


def _run(steps: Any) -> tuple[list[Progress], Any]:
    ticks: list[Progress] = []
    result = exhaust(steps, ticks.append)
    return ticks, result


def test_planes_are_segmented_by_path_and_by_bytes(file: Path) -> None:
    planes = np.random.default_rng(0).random((3, 1, 50, 60))
    _, expected = _run(segment.iter_segment_planes(load(file), planes, CPU))
    for model in (str(file), file.read_bytes()):
        ticks, found = _run(tasks.iter_segment_planes(model, planes, CPU))
        np.testing.assert_array_equal(found, expected)
        assert ticks[-1].done == 3


def test_warming_up_runs_the_model_and_says_where(file: Path) -> None:
    ticks, device = _run(tasks.iter_preload(str(file), "cpu"))
    assert device == tasks.describe("cpu")
    assert ticks
    assert _run(tasks.iter_preload()) == ([], tasks.describe())


def test_errors_are_ours(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="absent"):
        _run(tasks.iter_preload(str(tmp_path / "absent.safetensors")))
    with pytest.raises(DeviceError):
        tasks.describe("abacus")
