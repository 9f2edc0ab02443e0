"""Segment one scan, and choose along which axis a scan is sliced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour import scans
from napari_unet_tumour.api import channels
from napari_unet_tumour.api import clicks as clicking
from napari_unet_tumour.api.batch import LoadedScan, local_predictor, to_segmentation
from napari_unet_tumour.base.slicing import SliceLayout, layout_of, with_slice_distance
from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.models import registry
from napari_unet_tumour.postprocess.enhancing_part import check_part
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.scans.training_match import match_scan
from napari_unet_tumour.settings import ENHANCING, WHOLE, SegmentSettings

if TYPE_CHECKING:
    from napari_unet_tumour.api.batch import OnTick
    from napari_unet_tumour.engine.inference.loading import AnyModel
    from napari_unet_tumour.engine.inference.segment import Segmentation
    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.runtime.clicks import ClickModel

Image = str | Path | Scan | np.ndarray[Any, Any]

CLEARLY = 1.2
COLOUR_SIDE = 30


def load_model(name: str | Path = "default") -> Model:
    """Load a model, ready to use.

    Parameters
    ----------
    name : str or pathlib.Path
        "default", a name or hash of an installed model ("napari-unet-tumour models list"), or a model file.

    Returns
    -------
    Model
        With `spec` (the description), `net` (torch module) and `hash`.

    Raises
    ------
    ModelError
        There is no such model, or its file cannot be used.
    """
    from napari_unet_tumour.engine import model

    return model.load(registry.find(name).path)


def load_for(entry: registry.ModelEntry, settings: SegmentSettings) -> AnyModel:
    """Return a model ready for segmenting with these settings, without torch if possible."""
    from napari_unet_tumour.engine.inference import loading

    return loading.load_for(entry.path, settings)


def load_clicks(entry: registry.ModelEntry) -> ClickModel:
    """Return what answers the clicks of a model, without torch if possible."""
    from napari_unet_tumour.engine.clicks import predict

    return predict.load_clicks(entry.path)


def clicks_of(model: Model) -> ClickModel:
    """Return what answers the clicks of a model that is loaded."""
    from napari_unet_tumour.engine.clicks import predict

    return predict.in_torch(model)


def segment(
    image: Image | Mapping[str, Image],
    model: str | Path | Model = "default",
    settings: SegmentSettings | None = None,
    *,
    part: str | None = None,
    axes: str | None = None,
    axis: int | None = None,
    clicks: Iterable[Sequence[Any]] = (),
    boxes: Iterable[Sequence[Any]] = (),
    outline: bool = False,
    on_tick: OnTick | None = None,
) -> Segmentation:
    """Outline the tumour in one scan.

    Parameters
    ----------
    image : path, Scan or numpy.ndarray, or a mapping of channel names to them
        A file that `scans.read` reads, a scan, or pixels of any integer, float or bool dtype. For a model with several
        channels a mapping, e.g. {"T1": "t1.nii.gz", "FLAIR": "flair.nii.gz"}: the mask has the grid of the first one,
        and the others are resampled to it by position.
    model : str, pathlib.Path or Model
        As for `load_model`, or a loaded model.
    settings : SegmentSettings, optional
        How to segment; by default the model's own settings.
    part : {"whole", "enhancing"}, optional
        Which part of the tumour the mask shows, in place of the settings' own; "enhancing" only with a model of
        contrast-enhanced T1 with one label. Clicks outline the whole lesion in any case.
    axes : str, optional
        For a numpy array, a letter per axis: "z" "y" "x" space, "t" time, "c" channels or colours. By default
        "yx", "zyx" or "tzyx" by the number of axes; a last axis of 3 or 4 after two of at least 30 is "c" (colours).
    axis : int, optional
        The array axis to slice along; by default that of `slice_axis`.
    clicks : iterable of (z, y, x, sign) or (z, y, x, sign, label), optional
        Index positions for every axis of the mask (two for a flat image), in the order of clicking; the sign is +1
        where the lesion is and -1 where it is not, the label a name or number (1 by default). Lesions are outlined
        again around the clicks; the rest of the mask is the network's own.
    boxes : iterable of (z, y, x, z, y, x) or with a label after them, optional
        Boxes around lesions: two opposite corners in one slice.
    outline : bool
        Follow each clicked lesion to the neighbouring slices, as far as it extends.
    on_tick : callable, optional
        Called with a `Progress` after every batch; an exception from it stops the work.

    Returns
    -------
    Segmentation
        `mask` (the array's shape without channels) uint8, `probability` (planes, labels, H, W) uint8
        (0..255 for 0..1), `labels` (names by value), `match` (similarity to the training slices).

    Raises
    ------
    ScanError, ModelError, DeviceError
        The scan cannot be read or used, the model does not fit it or cannot show the part, the device does not exist,
        or a click lies outside the scan or has an unknown label.

    Examples
    --------
    >>> from napari_unet_tumour import segment
    >>> from napari_unet_tumour.phantom import phantom
    >>> scan, truth = phantom(shape=(3, 128, 128))
    >>> found = segment(scan)
    >>> found.mask.shape, found.mask.dtype.name, found.labels
    ((3, 128, 128), 'uint8', ('background', 'tumour'))
    """
    if isinstance(model, (str, Path)):
        entry = registry.find(model)
        settings = settings_for(entry.spec, settings, part)
        chosen = load_for(entry, settings)
    else:
        chosen, settings = model, settings_for(model.spec, settings, part)
    if isinstance(image, Mapping):
        given = {name: _scan_of(one, axes, name) for name, one in channels.named(image, chosen.spec).items()}
        work = LoadedScan(None, *channels.stacked(given, chosen.spec, lambda scan: layout_for(scan, axis)))
    else:
        scan = channels.as_channels(_scan_of(image, axes), chosen.spec)
        work = LoadedScan(None, scan, layout_for(scan, axis))
    marks = clicking.marks_of(clicks, boxes, len(work.layout.mask_shape))
    clicking.sorted_marks(marks, work.layout, chosen.spec)
    planes = work.planes()
    answer = local_predictor(chosen, settings)(planes, on_tick or (lambda progress: None))
    found = to_segmentation(answer, work.layout, settings, chosen.spec)
    if marks:
        clicked = load_clicks(entry) if isinstance(model, (str, Path)) else clicks_of(model)
        spacing = clicking.spacing_of(work.scan, work.layout)
        found = clicking.with_clicks(found, marks, planes, work.layout, clicked, settings, outline, spacing)
    return replace(found, match=match_scan(work.scan, work.layout, chosen.spec))


def default_settings(spec: ModelSpec) -> SegmentSettings:
    """Return the settings that a model recommends."""
    return SegmentSettings(**spec.defaults)


def settings_for(spec: ModelSpec, settings: SegmentSettings | None = None, part: str | None = None) -> SegmentSettings:
    """Return settings, by default the model's own, for a part of the tumour; raises ModelError if it has no such."""
    chosen = settings or default_settings(spec)
    if part is not None:
        if part not in (WHOLE, ENHANCING):
            raise ModelError(f"there is no part '{part}': choose '{WHOLE}' or '{ENHANCING}'")
        chosen = replace(chosen, part=part)
    check_part(spec, chosen.part)
    return chosen


def slice_axis(scan: Scan) -> int | None:
    """Return the array axis that a volume is sliced along; None for a single plane.

    This is the spatial axis whose spacing is at least 1.2 times that of the others, as between the slices of most
    scanners; else the first spatial axis.
    """
    space = scan.spatial
    if len(space) < 3:
        return None
    widest = int(np.argmax(scan.spacing))
    second = max(s for i, s in enumerate(scan.spacing) if i != widest)
    return space[widest] if scan.spacing[widest] >= CLEARLY * second else space[0]


def layout_for(scan: Scan, axis: int | None = None) -> SliceLayout:
    """Choose the planes of a scan.

    Parameters
    ----------
    scan : Scan
        With 2 or 3 spatial axes, and any other axes.
    axis : int, optional
        The spatial array axis to slice along; by default that of `slice_axis`.

    Raises
    ------
    ScanError
        `axis` is not a spatial axis, or the scan is a single plane.
    """
    along = slice_axis(scan) if axis is None else _checked(scan, axis)
    shown = [place for place in scan.spatial if place != along]
    if len(shown) != 2:
        return layout_of(scan.array.shape, scan.axes)
    layout = layout_of(scan.array.shape, scan.axes, rows=shown[0], columns=shown[1])
    return (
        layout
        if along is None
        else with_slice_distance(layout, along, dict(zip(scan.spatial, scan.spacing, strict=True)))
    )


def _checked(scan: Scan, axis: int) -> int:
    if len(scan.spatial) < 3:
        raise ScanError(f"{scan.name} is a single plane ({scan.axes}), it cannot be sliced: leave the axis out")
    if axis not in scan.spatial:
        raise ScanError(
            f"{scan.name} cannot be sliced along axis {axis} (axes {scan.axes}): "
            f"choose one of {', '.join(map(str, scan.spatial))}"
        )
    return axis


def _scan_of(image: Image, axes: str | None, name: str = "array") -> Scan:
    if isinstance(image, Scan):
        return image
    if isinstance(image, (str, Path)):
        return scans.read(Path(image).expanduser())
    letters = axes or _axes_of(image.shape)
    if len(letters) != image.ndim:
        raise ScanError(f"the axes '{letters}' do not fit an array with {image.ndim} axes: give a letter for each")
    return Scan(image, letters, name=name)


def _axes_of(shape: tuple[int, ...]) -> str:
    colours = len(shape) > 2 and shape[-1] in (3, 4) and min(shape[-3:-1]) >= COLOUR_SIDE
    space = "tzyx"[-(len(shape) - colours) :]
    return space + "c" if colours else space
