"""Run a model in ONNX Runtime on planes and tiles; the counterpart of `engine.inference.torch_predictor`."""

from __future__ import annotations

from collections import deque
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.postprocess.component_check import has_classifier, lower_unlikely
from napari_unet_tumour.runtime.mirror import EmptySlices
from napari_unet_tumour.runtime.normalisation import as_in
from napari_unet_tumour.runtime.preprocess import STEP, as_bytes, as_planes, bounded, coloured, resize
from napari_unet_tumour.runtime.session import PIXELS
from napari_unet_tumour.runtime.sliding_window import blend, downsampled, upsampled
from napari_unet_tumour.tiling.grid import RAW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from napari_unet_tumour.runtime.model import RuntimeModel
    from napari_unet_tumour.runtime.preprocess import Planes
    from napari_unet_tumour.settings import SegmentSettings
    from napari_unet_tumour.tiling.grid import Tile

    Array = NDArray[np.float32]
    Answer = Callable[[], NDArray[np.uint8]]
    # By plane: its prediction, and that of its mirror image where there is one.
    Going = dict[int, tuple[Future[Array], Future[Array] | None]]


class RuntimePredictor:
    """Predicts in ONNX Runtime, on the CPU.

    Parameters
    ----------
    model : RuntimeModel
        The model.
    settings : SegmentSettings
        Test-time augmentation, windows and memory.
    numbers : sequence of int, optional
        Where in their volume the planes that `begin` gets lie; as they are counted by default.
    """

    # The next batch is read while one is computed.
    ahead = 1
    notice = ""

    def __init__(self, model: RuntimeModel, settings: SegmentSettings, numbers: Sequence[int] = ()) -> None:
        self._model, self._settings, self._numbers = model, settings, numbers
        self._empty = EmptySlices()
        self.twofold = model.twofold
        self._pool, self._closed = model.session.pool, False

    def begin(
        self, read: Callable[[list[int]], NDArray[Any]], left: Sequence[int], shape: Sequence[int]
    ) -> tuple[list[int], Answer]:
        """Start predicting some of the planes that are left; the returned function waits for (n, L, H, W) uint8."""
        channels, height, width = shape
        spec = self._model.spec
        raw = RAW * self._settings.memory // (channels * height * width)
        chosen = list(left[: max(1, min(PIXELS // spec.size**2, raw))])
        places = [self._numbers[n] if self._numbers else n for n in left]
        self._empty.expect(places)
        planes = as_planes(read(chosen), spec)
        return chosen, partial(self._finish, planes, self._start(planes, places), places)

    def planes(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """Return (n, L, H, W) for whole planes (n, C, H, W)."""
        planes = as_planes(raw, self._model.spec)
        return self._finish(planes, self._start(planes, ()), ())

    def block(self, raw: NDArray[Any], sample: NDArray[Any], block: Tile) -> NDArray[np.uint8]:
        """Return (L, H, W) uint8 for the region of a tile; see `engine.inference.sliding_window.block_probability`."""
        spec, factor = self._model.spec, max(1, self._settings.downsample)
        shape = tuple(part.stop - part.start for part in block.region)
        labels = (len(spec.labels) - 1) * (1 + self.twofold)
        here, whole = (coloured(bounded(one[None], sample[None]), spec) for one in (raw, sample))
        if not here.max() > here.min() and here.max() <= whole.min():
            return np.zeros((labels, *shape), np.uint8)
        normal = as_in(spec.normalisation, whole if whole.max() > whole.min() else here)
        working = normal(downsampled(here, factor))[0]
        # Windows with only the plane's darkest value are background: most of a slide, and the air around a head.
        lowest = np.full((1, spec.in_channels, 1, 1), whole.min(), np.float32)
        found = blend(self._windows, working, spec.size, float(normal(lowest).max()))
        if found is None:
            return np.zeros((labels, *shape), np.uint8)
        native = upsampled(found[:, block.inner[0], block.inner[1]], block.before, factor)
        return as_bytes(native[:, : shape[0], : shape[1]])

    def close(self) -> None:
        """Cancel predictions that were started and are no longer wanted."""
        self._closed = True

    def _start(self, planes: Planes, places: Sequence[int]) -> Going:
        """Start predicting planes, and their mirror images unless the neighbours may show that none is needed."""
        varied = np.flatnonzero(planes.varied).tolist()
        going: Going = {n: (self._pool.submit(self._predict, planes.working[n]), None) for n in varied}
        for n, place in zip(range(len(planes.varied)), places, strict=False):
            self._empty.add(place, going[n][0] if n in going else None)
        if self._settings.flip_tta:
            self._add_mirrored(going, planes, [n for n in varied if not (places and self._empty.is_open(places[n]))])
        return going

    def _finish(self, planes: Planes, going: Going, places: Sequence[int]) -> NDArray[np.uint8]:
        """Wait for the prediction (n, L, H, W) of planes, with the mirror images that turn out to be needed."""
        spec = self._model.spec
        later = [n for n, (_, turned) in going.items() if turned is None and self._settings.flip_tta]
        self._add_mirrored(going, planes, [n for n in later if not self._empty.between(places[n])])
        labels = (len(spec.labels) - 1) * (1 + self.twofold)
        found = np.zeros((len(planes.varied), labels, *planes.frame.native), np.uint8)
        checks = self._settings.check_components and has_classifier(spec)
        for n, (plain, turned) in going.items():
            own, mirrored = plain.result(), None if turned is None else turned.result()
            found[n] = planes.back(_mean(own, mirrored))
            if checks:
                lower_unlikely(found[n], planes.working[n], own, mirrored, planes.frame, spec)
        return found

    def _add_mirrored(self, going: Going, planes: Planes, chosen: Iterable[int]) -> None:
        for n in chosen:
            turned = self._pool.submit(self._mirrored, planes.working[n], self._model.spec.flip_scale)
            going[n] = going[n][0], turned

    def _probability(self, working: Array) -> Callable[[], Array]:
        """Start predicting an image (C, h, w); the returned function waits for the mean over image and mirror image."""
        plain = self._pool.submit(self._predict, working)
        mirrored = self._pool.submit(self._mirrored, working, 1.0) if self._settings.flip_tta else None
        return lambda: _mean(plain.result(), None if mirrored is None else mirrored.result())

    def _mirrored(self, working: Array, scale: float) -> Array:
        """Return the probability from the left-right mirror image, `scale` times as large, on the image's grid."""
        copy = working[..., ::-1]
        if scale == 1.0:
            return np.asarray(self._predict(copy)[..., ::-1])
        shape = (working.shape[1], working.shape[2])
        height, width = (max(1, round(side * scale)) for side in shape)
        grown_by = ((0, 0), (0, -height % STEP), (0, -width % STEP))
        shown = np.pad(resize(copy[None], (height, width))[0], grown_by, mode="edge")
        found = resize(self._predict(shown)[None, :, :height, :width], shape)[0]
        return np.asarray(found[..., ::-1])

    def _predict(self, image: Array) -> Array:
        """Return the probability for an image; raises CancelledError, which nobody sees, once nobody waits for it."""
        if self._closed:
            raise CancelledError
        logits = self._model.session.logits(image)
        return np.concatenate([to_probability(one) for one in np.split(logits, 1 + self.twofold)])

    def _windows(self, windows: Iterable[Array]) -> Iterator[Array]:
        """Yield the probability of each window; a few are computed at the same time."""
        going: deque[Callable[[], Array]] = deque()
        for window in windows:
            going.append(self._probability(window))
            if len(going) > self._model.session.at_once:
                yield going.popleft()()
        yield from (one() for one in going)


def _mean(own: Array, mirrored: Array | None) -> Array:
    return own if mirrored is None else (own + mirrored) * np.float32(0.5)


def to_probability(logits: Array) -> Array:
    """Return the labels' probability (L, h, w) for logits (O, h, w)."""
    if len(logits) == 1:
        # Equal to 1 / (1 + exp(-x)), which would overflow.
        return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits), np.float32)
    powers = np.exp(logits - logits.max(0))
    return np.asarray(powers[1:] / powers.sum(0), np.float32)
