"""What a comparison of two models takes from the worker."""

from types import SimpleNamespace

import numpy as np

from napari_unet_tumour.settings import Progress, SegmentSettings
from napari_unet_tumour.widgets.correct.comparison import Comparison


def test_the_answer_before_the_habit_is_kept_for_the_planes_that_it_changed():
    """Otherwise the rule that is fitted to the corrected slices would be added to answers that have it already."""
    outlined, before = np.full((2, 1, 4, 4), 200, np.uint8), np.full((1, 4, 4), 90, np.uint8)

    def ask(name, model, raw, settings, context, scheduler, heard):
        assert (name, len(raw), context.recall) == ("segment_planes", 2, False)
        heard(Progress(1, 2, "", {"planes": [0]}))
        heard(Progress(2, 2, "", {"planes": [1], "plain": {1: before}}))
        return outlined

    case = SimpleNamespace(image=lambda number: np.zeros((1, 4, 4), np.uint8))
    order = SimpleNamespace(session=SimpleNamespace(case=case), segmenting=SegmentSettings(), scheduler="")
    comparison = Comparison(order, SimpleNamespace(ask=ask))
    planes = comparison._planes("model", SimpleNamespace(first=0), [5, 7], {})
    assert planes[5].plain is None
    np.testing.assert_array_equal(planes[7].plain.array(), before)
    np.testing.assert_array_equal(planes[7].probability.array(), outlined[1])
