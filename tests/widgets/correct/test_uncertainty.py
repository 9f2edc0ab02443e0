"""How unsure the network is of a slice: from its answers to that slice alone."""

import numpy as np
from napari.layers import Image, Labels

from napari_unet_tumour.base.compressed import CompressedArray
from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.widgets.correct.case import CasePart
from napari_unet_tumour.widgets.correct.uncertainty import Uncertainty
from napari_unet_tumour.widgets.layers.predictions import PREDICTIONS, PlanePrediction, PredictionCache


def test_answers_along_another_axis_are_none_to_a_slice():
    data, mask = np.zeros((6, 6, 6), np.float32), Labels(np.zeros((6, 6, 6), np.uint8))
    along, across = layout_of(data.shape), layout_of(data.shape, rows=0, columns=1)
    values = CompressedArray(np.full((1, 6, 6), 128, np.uint8))
    answer = PlanePrediction(2, None, values, CompressedArray(np.ones((6, 6), np.uint8)))
    part, found = CasePart(Image(data), data, along, mask, data), Uncertainty(6)
    for layout, known in ((across, False), (along, True)):
        PREDICTIONS[mask] = PredictionCache(layout)
        PREDICTIONS[mask].keep(answer)
        found.see(2, part, 2)
        assert (2 in found, found[2] > 0) == (known, known)
