"""How long a mouse move of a stroke takes with each kind of brush, without drawing it on the screen.

Usage: python benchmarks/brush_speed.py
A window at 60 pictures a second leaves 16.7 ms per move. Processor time is counted, so that other programs do not.
"""

import time

import numpy as np
from napari.components import ViewerModel

from napari_unet_tumour.phantom import phantom
from napari_unet_tumour.widgets.brush.brush import Brush
from napari_unet_tumour.widgets.brush.limits import BrushKind

MOVES, STEP_PX, ROUNDS = 60, 3, 5


def stroke(mask, number: int, side: int) -> list[float]:
    """Draw a line of `MOVES` moves across a slice, undo it; return seconds per move."""
    rows = np.linspace(side * 0.3, side * 0.6, MOVES)
    places = [(number, row, side * 0.25 + STEP_PX * n) for n, row in enumerate(rows)]
    took = []
    with mask.block_history():
        for before, at in zip([places[0], *places], places, strict=False):
            start = time.thread_time()
            mask._draw(1, before, at)
            took.append(time.thread_time() - start)
    mask.undo()
    return took


def main() -> None:
    """Print a row per size of slice, brush and kind: least median and least 95th percentile of all rounds."""
    head, _ = phantom()
    for side in (256, 512):
        times = -(-side // head.array.shape[1])
        image = np.kron(head.array[10:13], np.ones((1, times, times), np.float32))[:, :side, :side]
        image += np.random.default_rng(0).normal(0, image.std() / 20, image.shape).astype(np.float32)
        viewer = ViewerModel()
        viewer.add_image(image)
        mask = viewer.add_labels(np.zeros(image.shape, np.uint8))
        viewer.dims.set_point(0, 1)
        brush, mask.mode = Brush(viewer), "paint"
        for mask.brush_size in (10, 20, 40, 80):
            for brush.kind in BrushKind:
                rounds = np.array([stroke(mask, 1, side) for _ in range(ROUNDS)]) * 1000
                median, most = np.median(rounds, 1).min(), np.quantile(rounds, 0.95, 1).min()
                print(
                    f"{side} x {side}, brush {mask.brush_size:3} px, {brush.kind.value:12}: "
                    f"{median:6.2f} ms per move, p95 {most:6.2f} ms"
                )


if __name__ == "__main__":
    main()
