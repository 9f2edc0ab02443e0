"""From a scan to its mask: predict planes in batches, or large planes in tiles, on the scan's grid."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_unet_tumour.base.old_names import accept_old_names
from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.corrections import ReviewedContext
from napari_unet_tumour.engine.inference import loading
from napari_unet_tumour.engine.inference.fusion import AnswerFusion, fuse_single_plane
from napari_unet_tumour.engine.inference.part import has_own_habit, shows_part, wider, with_part, with_part_of_tile
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.postprocess.enhancing_part import check_part, label_names
from napari_unet_tumour.postprocess.threshold import keep_largest_component
from napari_unet_tumour.runtime import model as runtimes
from napari_unet_tumour.runtime.model import RuntimeModel
from napari_unet_tumour.runtime.preprocess import check_channels
from napari_unet_tumour.settings import Progress, SegmentSettings
from napari_unet_tumour.tiling import streaming
from napari_unet_tumour.tiling.grid import needs_tiling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import Region, SliceLayout
    from napari_unet_tumour.engine.inference.loading import AnyModel
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.scans.training_match import ScanMatch
    from napari_unet_tumour.tiling.grid import Tile

    Answer = Callable[[], NDArray[np.uint8]]
    Carried = Callable[[Iterator[Progress]], Iterator[Progress]]
    # Raw plane (C, H, W) and its probability (L, H, W) -> another probability.
    Change = Callable[[NDArray[Any], NDArray[np.uint8]], NDArray[np.uint8]]

Read = Callable[[Sequence[int], "Region | None"], "NDArray[Any]"]
# Planes that a habit may need again are kept up to so many bytes; beyond that they are read again.
KEPT_BYTES = 1 << 27


class Predictor(Protocol):
    """Runs a model, in torch or in ONNX Runtime; predictions are uint8, 0..255 for 0..1.

    Parameters
    ----------
    twofold : bool
        Whether predictions have 2 L instead of L layers: without the gated branch, then with it.
    """

    twofold: bool

    @property
    def notice(self) -> str:
        """A note for the user about how the model runs, or ""."""

    @property
    def ahead(self) -> int:
        """Number of unfinished batches when another one is started."""

    def begin(
        self, read: Callable[[list[int]], NDArray[Any]], left: Sequence[int], shape: Sequence[int]
    ) -> tuple[list[int], Answer]:
        """Start predicting some of the planes (C, H, W) that are left.

        Returns the numbers of these planes, and a function that waits for their prediction (n, L, H, W).
        """

    def planes(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """Return (n, L, H, W) for whole planes (n, C, H, W)."""

    def block(self, raw: NDArray[Any], sample: NDArray[Any], block: Tile) -> NDArray[np.uint8]:
        """Return (L, h, w) for the region of a tile, see `engine.inference.sliding_window.block_probability`."""

    def close(self) -> None:
        """Cancel predictions that were started and are no longer wanted."""


@accept_old_names({"lone": "isolated_removed"})
@dataclass(frozen=True, eq=False)
class Segmentation:
    """The segmentation of a scan.

    Parameters
    ----------
    mask : numpy.ndarray
        uint8 in the scan's axes without the channel axis; 0 = background, then `labels` in order.
    probability : numpy.ndarray
        (planes, L, H, W) uint8, 0..255 for 0..1, one layer per label without the background.
    labels : tuple of str
        Names by pixel value, background first.
    isolated_removed : int
        Components that were removed because only one slice shows them; see `postprocess.isolated`.
    unlikely_removed : int
        Lesions that were removed because all their slices together are unlikely; see `postprocess.lesion_check`.
    match : ScanMatch, optional
        How similar the scan is to the model's training slices; None if not checked.
    """

    mask: NDArray[np.uint8]
    probability: NDArray[np.uint8]
    labels: tuple[str, ...]
    isolated_removed: int = 0
    match: ScanMatch | None = None
    unlikely_removed: int = 0


def segment(model: AnyModel, array: Any, layout: SliceLayout, settings: SegmentSettings | None = None) -> Segmentation:
    """Segment a whole scan; see `iter_segment`."""
    return exhaust(iter_segment(model, array, layout, settings or SegmentSettings()))


def iter_segment(
    model: AnyModel, array: Any, layout: SliceLayout, settings: SegmentSettings, order: Sequence[int] | None = None
) -> Generator[Progress, None, Segmentation]:
    """Segment a scan in memory; `iter_segment_into` writes the result into any array.

    Parameters
    ----------
    array : array-like
        Of `layout.shape`, numpy or lazy; only the current planes are read.
    order : sequence of int, optional
        The planes to segment, in this order; all by default.

    Yields
    ------
    Progress
        Once per batch or tile; values are "planes" (list of int), "region" (rows and columns, None for whole
        planes) and "probability" (k, L, H, W) uint8.

    Raises
    ------
    ScanError, ModelError, DeviceError
        The scan's values or channels, or the device, cannot be used.
    """
    probability = _zeros(model, layout.planes, layout.plane_shape)
    mask = np.zeros(layout.mask_shape, np.uint8)
    yield from iter_segment_into(mask, model, array, layout, settings, order, probability)
    return Segmentation(mask, probability, label_names(model.spec, settings.part))


def iter_segment_into(
    mask: Any,
    model: AnyModel,
    array: Any,
    layout: SliceLayout,
    settings: SegmentSettings,
    order: Sequence[int] | None = None,
    probability: Any = None,
    point: tuple[int, int] | None = None,
) -> Generator[Progress, None, None]:
    """Segment a scan of any size into an array that may be on disk; progress and errors as `iter_segment`.

    Parameters
    ----------
    mask : array-like
        uint8 of `layout.mask_shape`, numpy or zarr; written batch by batch, or tile by tile.
    probability : array-like, optional
        uint8 (planes, L, H, W), written in the same way.
    point : (row, column), optional
        Tiles nearest to this point of a plane come first.
    """
    order = range(layout.planes) if order is None else order
    if settings.keep_largest and not isinstance(mask, np.ndarray):
        raise ScanError("keeping the largest piece needs the whole mask in memory: switch it off for a scan this large")
    shape = (layout.channels, *layout.plane_shape)
    read: Read = lambda planes, region: layout.read_planes(array, planes, region)  # noqa: E731
    for progress in _iter_parts(model, read, order, shape, settings, point):
        found, region = progress.values["probability"], progress.values["region"]
        part = streaming.PredictionChunk(progress.values["planes"], region, found, progress.done, progress.total)
        if probability is not None:
            for n, one in zip(part.planes, found, strict=True):
                probability[(n, slice(None), *(region or ()))] = one
        streaming.write_chunk(mask, layout, part, settings)
        yield progress
    streaming.finalise_mask(mask, layout, model.spec, settings, order, probability)
    if settings.keep_largest:
        mask[...] = keep_largest_component(mask)


def iter_segment_planes(
    model: AnyModel | str | bytes,
    planes: NDArray[Any],
    settings: SegmentSettings,
    corrected: ReviewedContext | None = None,
) -> Generator[Progress, None, NDArray[np.uint8]]:
    """Predict raw planes (N, C, H, W): returns the probability (N, L, H, W) uint8; progress as in `iter_segment`.

    Parameters
    ----------
    model : AnyModel, str or bytes
        A model, or the path or the content of its file; raises ModelError for an invalid one.
    corrected : ReviewedContext, optional
        Which planes of the scan these are, and what a person has corrected there; only a model that has learnt
        from corrections asks for it. Without corrections, the planes that the model has learnt from are known again.
    """
    model = _opened(model, settings)
    probability = _zeros(model, len(planes), planes.shape[2:])
    read: Read = lambda which, region: planes[(list(which), slice(None), *(region or ()))]  # noqa: E731
    asked = corrected is None or (corrected.recall and not corrected.masks)
    asked = asked and settings.part == model.spec.part  # corrected slices show the part that it was fine-tuned on
    fits = asked and not needs_tiling(planes.shape[1:], model.spec, settings)
    recalled = _recalled(model.spec, planes) if fits and model.spec.corrected else None
    corrected = recalled[0] if recalled else corrected
    ticks = _iter_parts(model, read, range(len(planes)), planes.shape[1:], settings, corrected=corrected)
    for tick in recalled[1](ticks) if recalled else ticks:
        probability[(tick.values["planes"], slice(None), *(tick.values["region"] or ()))] = tick.values["probability"]
        yield tick
    return probability


def _opened(model: AnyModel | str | bytes, settings: SegmentSettings) -> AnyModel:
    return loading.load_for(model, settings, export=False) if isinstance(model, (str, bytes)) else model


def _recalled(spec: ModelSpec, planes: NDArray[Any]) -> tuple[ReviewedContext, Carried] | None:
    """Return the corrected slices that a model's file keeps of these planes, and what carries them."""
    # scipy, which carrying needs, takes half a second.
    from napari_unet_tumour.corrections.remembered import recall
    from napari_unet_tumour.engine.inference.recalled import context_of, iter_recalled

    found = recall(spec.corrected, planes)
    return (context_of(found, len(planes)), partial(iter_recalled, found=found, spec=spec)) if found else None


def iter_segment_block(
    model: AnyModel | str | bytes, raw: NDArray[Any], sample: NDArray[Any], block: Tile, settings: SegmentSettings
) -> Generator[Progress, None, NDArray[np.uint8]]:
    """Predict one tile of a large plane, see `sliding_window.block_probability`; the progress carries notices.

    The model is as in `iter_segment_planes`.
    """
    model = _opened(model, settings)
    check_channels(len(raw), model.spec)
    find = predictor(model, settings)
    try:
        found = _OnePrediction(find, settings, model.spec).block(raw, sample, block)
    finally:
        find.close()
    yield Progress(1, 1, find.notice)
    return found


def predictor(model: AnyModel, settings: SegmentSettings, numbers: Sequence[int] = ()) -> Predictor:
    """Return the predictor of a model: in ONNX Runtime on a CPU if possible, else in torch.

    A model that was loaded in torch (`Model`) also runs in ONNX Runtime if its graph exists.

    Parameters
    ----------
    numbers : sequence of int, optional
        Where in their volume the planes lie; as they are counted by default.

    Raises
    ------
    ModelError
        The model cannot show the part of the tumour that the settings ask for.
    """
    check_part(model.spec, settings.part)
    if not isinstance(model, RuntimeModel):
        net = model.net
        found = (
            runtimes.opened(model.spec, model.hash, lambda: {name: t.numpy() for name, t in net.state_dict().items()})
            if runtimes.applies(settings)
            else None
        )
        if not isinstance(found, RuntimeModel):
            from napari_unet_tumour.engine.inference.torch_predictor import TorchPredictor

            return TorchPredictor(model, settings, "" if found is None else found.text)
        model = found
    from napari_unet_tumour.runtime.predictor import RuntimePredictor

    return RuntimePredictor(model, settings, numbers)


def _zeros(model: AnyModel, planes: int, shape: Sequence[int]) -> NDArray[np.uint8]:
    return np.zeros((planes, len(model.spec.labels) - 1, *shape), np.uint8)


def _iter_parts(
    model: AnyModel,
    read: Read,
    order: Sequence[int],
    shape: Sequence[int],
    settings: SegmentSettings,
    point: tuple[int, int] | None = None,
    corrected: ReviewedContext | None = None,
) -> Generator[Progress, None, None]:
    find = predictor(model, settings, corrected.numbers if corrected else ())
    try:
        if needs_tiling(shape, model.spec, settings):
            yield from _iter_tiles(find, model.spec, read, order, shape, settings, point)
            return
        changed = shows_part(model.spec, settings) or has_own_habit(model.spec, settings)
        kept = _KeptPlanes(read)
        steps: Iterator[Progress] = _iter_batches(find, kept.read if changed else read, order, shape)
        if find.twofold:
            steps = _iter_fused(steps, settings, corrected)
        yield from _iter_changed(steps, model.spec, kept.take, settings) if changed else steps
    finally:
        find.close()


class _KeptPlanes:
    """Keeps the planes that were read last, so that none is read from disk twice."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()

    def read(self, numbers: Sequence[int], region: Region | None) -> NDArray[Any]:
        """Read whole planes (n, C, H, W), and keep them."""
        planes = self._read(numbers, region)
        self._kept.update(zip(numbers, planes, strict=True))
        while sum(plane.nbytes for plane in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return planes

    def take(self, number: int) -> NDArray[Any]:
        """Return a plane (C, H, W), and keep it no longer."""
        plane = self._kept.pop(number, None)
        return self._read([number], None)[0] if plane is None else plane


def _iter_changed(
    steps: Iterator[Progress], spec: ModelSpec, take: Callable[[int], NDArray[Any]], settings: SegmentSettings
) -> Iterator[Progress]:
    """Turn what the network has found into the part that is asked for, then outline it as the reader does.

    The values of the progress also have "plain", the answers (L, H, W) before the reader's habit, by plane where that
    changed them.
    """
    outline = _habit(spec, settings)
    for progress in steps:
        plain: dict[int, NDArray[np.uint8]] = {}
        new = []
        for n, one in zip(progress.values["planes"], progress.values["probability"], strict=True):
            plane = take(n)
            answer = with_part(plane, one, spec, settings)
            new.append(outline(plane, answer))
            if new[-1] is not answer:
                plain[n] = answer
        found = np.stack(new) if new else progress.values["probability"]
        yield replace(progress, values={**progress.values, "probability": found, "plain": plain})


def _habit(spec: ModelSpec, settings: SegmentSettings) -> Change:
    """Return what outlines an answer to a plane as the reader does whose habit the model file keeps."""
    if not has_own_habit(spec, settings):
        return lambda plane, probability: probability
    # scipy, which it needs, takes half a second.
    from napari_unet_tumour.postprocess.outline_habit import with_habit

    own = replace(settings, threshold=spec.threshold, min_object_size=spec.min_object_size)
    return lambda plane, probability: with_habit(plane, probability, spec, own)


def _iter_fused(
    steps: Iterator[Progress], settings: SegmentSettings, corrected: ReviewedContext | None
) -> Iterator[Progress]:
    """Fuse the two predictions once all planes are predicted, because components are connected through the slices."""
    known = corrected or ReviewedContext()
    fusion = AnswerFusion(settings, known.masks)
    places: dict[int, int] = {}
    for progress in steps:
        for n, both in zip(progress.values["planes"], progress.values["probability"], strict=True):
            place = known.numbers[n] if known.numbers else n
            places[place] = n
            fusion.add(place, both)
        if progress.done < progress.total:
            none = progress.values["probability"][:0, : len(progress.values["probability"][0]) // 2]
            yield replace(progress, values={**progress.values, "planes": [], "probability": none})
            continue
        numbers, found = zip(*fusion.iter_planes(), strict=True)
        values = {"planes": [places[number] for number in numbers], "region": None, "probability": np.stack(found)}
        yield replace(progress, values=values)


def _iter_batches(
    find: Predictor, read: Read, order: Sequence[int], shape: Sequence[int]
) -> Generator[Progress, None, None]:
    waiting: deque[tuple[list[int], Answer]] = deque()
    sent = done = 0
    while sent < len(order) or waiting:
        if sent < len(order):
            waiting.append(find.begin(lambda chosen: read(chosen, None), order[sent:], shape))
            sent += len(waiting[-1][0])
        if len(waiting) > find.ahead or sent == len(order):
            chosen, answer = waiting.popleft()
            done += len(chosen)
            values = {"planes": chosen, "region": None, "probability": answer()}
            yield Progress(done, len(order), find.notice, values)


def _iter_tiles(
    find: Predictor,
    spec: ModelSpec,
    read: Read,
    order: Sequence[int],
    shape: Sequence[int],
    settings: SegmentSettings,
    point: tuple[int, int] | None,
) -> Generator[Progress, None, None]:
    check_channels(shape[0], spec)
    one = _OnePrediction(find, settings, spec)
    for part in streaming.iter_predict_tiles(one, read, order, shape, spec, settings, point):
        values = {"planes": part.planes, "region": part.region, "probability": part.probability}
        yield Progress(part.done, part.total, find.notice, values)


class _OnePrediction:
    """A predictor for large planes; the two predictions of a network with a gated branch are fused plane by plane."""

    def __init__(self, find: Predictor, settings: SegmentSettings, spec: ModelSpec) -> None:
        self._find, self._settings, self._spec = find, settings, spec

    def planes(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """Return (n, L, H, W) for whole planes."""
        found = self._find.planes(raw)
        if self._find.twofold:
            found = np.stack([fuse_single_plane(one, self._settings) for one in found])
        if shows_part(self._spec, self._settings):
            pairs = zip(raw, found, strict=True)
            found = np.stack([with_part(plane, one, self._spec, self._settings) for plane, one in pairs])
        return found

    def block(self, raw: NDArray[Any], sample: NDArray[Any], block: Tile) -> NDArray[np.uint8]:
        """Return (L, h, w) for the region of a tile."""
        if not shows_part(self._spec, self._settings):
            return self._fused(self._find.block(raw, sample, block))
        factor = max(1, self._settings.downsample)
        wide, inside = wider(block, factor)
        found = self._fused(self._find.block(raw, sample, wide))
        return with_part_of_tile(raw, sample, wide, found, factor, self._spec)[:, *inside]

    def _fused(self, found: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return fuse_single_plane(found, replace(self._settings, flip_tta=False)) if self._find.twofold else found
