"""Empty slices between empty slices need no mirror image."""

from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest

from napari_unet_tumour.corrections import ReviewedContext
from napari_unet_tumour.engine.inference import segment
from napari_unet_tumour.models import registry
from napari_unet_tumour.phantom import phantom
from napari_unet_tumour.runtime import mirror
from napari_unet_tumour.runtime import model as runtimes
from napari_unet_tumour.runtime.mirror import EmptySlices
from napari_unet_tumour.runtime.predictor import RuntimePredictor
from napari_unet_tumour.settings import SegmentSettings


def prediction(highest: float) -> Future:
    found = Future()
    found.set_result(np.full((1, 2, 2), highest, np.float32))
    return found


def test_a_slice_and_both_neighbours_must_be_certainly_empty():
    known = EmptySlices()
    known.expect(range(6))
    for number, highest in enumerate((0.0, 0.01, 0.5, 0.0, 0.0)):
        known.add(number, prediction(highest))
    known.add(5, None)
    assert [known.is_open(n) for n in range(6)] == [False, True, True, True, True, False]
    assert [known.between(n) for n in range(6)] == [False, False, False, False, True, False]


def test_a_neighbour_that_was_never_begun_counts_as_not_empty():
    known = EmptySlices()
    known.expect(range(3))
    known.add(0, None)
    known.add(1, None)
    assert known.is_open(1)
    assert not known.between(1)


@pytest.fixture
def mirrored(monkeypatch):
    """What mirror images were asked for, by their highest grey value."""
    asked, work = [], RuntimePredictor._mirrored

    def note(self, working, scale):
        asked.append(scale)
        return work(self, working, scale)

    monkeypatch.setattr(RuntimePredictor, "_mirrored", note)
    return asked


def test_only_slices_between_empty_ones_go_without_it(mirrored, monkeypatch):
    model = runtimes.open_file(registry.find("default").path)
    head = np.asarray(phantom(seed=1, shape=(8, 200, 220))[0].array)
    # Ten copies of a slice without tumour, then three with one.
    planes = np.concatenate([np.repeat(head[:1], 10, 0), head[2:5]])[:, None]
    settings = SegmentSettings(device="cpu", tiling="whole", flip_tta=True, threshold=model.spec.threshold)

    def probability(settings=settings, numbers=()):
        mirrored.clear()
        steps = segment.iter_segment_planes(model, planes, settings, ReviewedContext(numbers))
        try:
            while True:
                next(steps)
        except StopIteration as end:
            return end.value

    found = probability()
    assert len(mirrored) == 5  # the first, and those from the last empty one on
    backwards = list(range(13, 0, -1))
    np.testing.assert_array_equal(probability(numbers=backwards), found)
    assert len(mirrored) == 5
    far_apart = range(0, 26, 2)
    everything = probability(numbers=far_apart)
    assert len(mirrored) == 13
    both = [0, *range(9, 13)]
    np.testing.assert_array_equal(found[both], everything[both])
    assert found[1:9].max() < 255 * mirror.CERTAIN
    assert (found[10:] > 25).any()
    probability(replace(settings, flip_tta=False))
    assert not mirrored
    monkeypatch.setattr(mirror, "CERTAIN", 0.0)
    np.testing.assert_array_equal(probability(), everything)
