"""What the curve of a fine-tuning shows."""

import numpy as np

from napari_unet_tumour.widgets.correct.loss_curve_view import SCORE, LossCurve


def seen(curve, hue):
    """Return the columns of the picture, 0..1, in which a colour is seen."""
    image = curve.grab().toImage()
    wanted = tuple(int(hue[n : n + 2], 16) for n in (1, 3, 5))
    high = image.height() - 24  # above the caption
    columns = [
        x
        for x in range(image.width())
        if any(np.abs(np.subtract(image.pixelColor(x, y).getRgb()[:3], wanted)).max() < 20 for y in range(high))
    ]
    return np.array(columns) / image.width()


def test_what_ended_early_fills_the_picture(qtbot):
    curve = LossCurve()
    qtbot.addWidget(curve)
    curve.resize(300, curve.sizeHint().height())
    curve.begin(60)
    for seconds in (5, 10, 15):
        curve.add(seconds, 1 / seconds, seconds / 20)
    assert 0.2 < seen(curve, SCORE).max() < 0.3
    curve.end()
    assert seen(curve, SCORE).max() > 0.98
    curve.begin(60)
    curve.end()
    assert curve.budget == 60, "nothing was learnt"
