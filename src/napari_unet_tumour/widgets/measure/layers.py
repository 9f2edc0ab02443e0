"""Layers <-> the lesion report: what is measured, where to look, and the drawn diameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.measure.geometry import image_of as image_in_grid
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.widgets.layers import placement
from napari_unet_tumour.widgets.layers.geometry import scan_of
from napari_unet_tumour.widgets.layers.image_source import KEY, images
from napari_unet_tumour.widgets.layers.labels import image_of, without_unsure
from napari_unet_tumour.widgets.layers.world import PLACE, affine_of, axes_of, grid_shape, pixels_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Shapes

    from napari_unet_tumour.measure import MeasuredLesion
    from napari_unet_tumour.scans.placement import GridMap

DIAMETERS = "Lesion diameters"
LONGEST, PERPENDICULAR = "#ffcc00", "#00c7be"


@dataclass(frozen=True, eq=False)
class MeasureInput:
    """What a report reads of a mask layer and its image, frozen at the press of Measure.

    Parameters
    ----------
    mask : array
        The layer's pixels.
    scan : Scan or None
        The image's pixels.
    options : dict
        Keyword arguments of `iter_measure`.
    layer : napari.layers.Layer
        The layer whose pixels the figures count: the mask, or the image where the mask is put onto its grid.
    where : GridMap, optional
        How the mask must be moved onto the grid of `scan`; None where it is not.
    note : str
        What the person must know, or "".
    source : Scan, optional
        The scan that `layer` was opened from or lies on.
    """

    mask: Any
    scan: Scan | None
    options: dict[str, Any]
    layer: Any
    where: GridMap | None = None
    note: str = ""
    source: Scan | None = None

    def on_grid(self) -> tuple[Any, str]:
        """Return the labels on the scan's grid, and what the person must know about them; raises ScanError."""
        if self.where is None or self.scan is None:
            return self.mask, self.note
        placed = placement.moved(self.mask, self.where, self.options["mask_name"], self.scan.name)
        return placed.array, placed.note

    def pictured(self) -> tuple[Scan, Any]:
        """Return the mask as it was measured, with its place, and the image in its grid (None where there is none)."""
        labels, options = self.on_grid()[0], self.options
        mask = Scan(labels, options["axes"], options["affine"], options["units"], options["mask_name"])
        return mask, image_in_grid(self.scan, labels, options["mask_name"])


def masks(viewer: ViewerModel) -> list[Labels]:
    """Return the viewer's Labels layers."""
    from napari.layers import Labels

    return [layer for layer in viewer.layers if isinstance(layer, Labels)]


def scan_for(viewer: ViewerModel, mask: Labels) -> Image | None:
    """Return the image that a mask was made for, or else the one that it fits best: same grid, same shape, overlap."""
    own = image_of(viewer, mask)
    if own is not None:
        return own
    fits = [(image, _fit(mask, image)) for image in images(viewer)]
    best = max((fit for _, fit in fits), default=0)
    return next((image for image, fit in fits if fit == best), None) if best else None


def _fit(mask: Labels, image: Image) -> int:
    """Return 3 for the same grid, 2 for one of the same shape, 1 for one that overlaps, 0 for another place."""
    try:
        where = placement.grid_map(mask, image)
    except ScanError:
        return 0
    if where is not None and where.is_same:
        return 3
    return 2 if grid_shape(image) == tuple(pixels_of(mask).shape) else 1


def measured(mask: Labels, image: Image | None, in_pixels: bool, slice_axis: int | None = None) -> MeasureInput:
    """Freeze what a report needs; raises ScanError where the layers do not fit together."""
    where = None if image is None else placement.grid_map(mask, image)
    layer: Any = mask
    if image is not None and (where is None or not where.is_same):
        layer = image if where is not None or affine_of(image, axes_of(image))[1] == "mm" else mask
    axes = axes_of(layer)
    affine, units = affine_of(layer, axes)
    about = mask.metadata.get(KEY, {})
    options = {
        "axes": axes,
        "affine": affine,
        "units": "pixel" if in_pixels else units,
        "labels": label_names(mask),
        "slice_axis": slice_axis if where is None or slice_axis is None else where.axis_along(slice_axis),
        "mask_name": mask.name,
        "model": str(about.get("model", "")),
        "model_hash": str(about.get("hash", "")),
    }
    pixels = without_unsure(pixels_of(mask), mask.metadata)
    source = grid_of(layer)
    if image is None:
        return MeasureInput(pixels, None, options, mask, source=source)
    scan = Scan(pixels_of(image), axes + "c" * image.rgb, name=image.name)
    if where is None:
        return MeasureInput(
            pixels, scan, options, layer, None, "Mask and scan have no common place: taken pixel by pixel.", source
        )
    return MeasureInput(pixels, scan, options, layer, None if where.is_same else where, source=source)


def grid_of(layer: Any) -> Scan | None:
    """Return the scan whose grid a layer lies on; None where it has more axes than a scan."""
    try:
        return scan_of(pixels_of(layer), {"name": layer.name, "metadata": layer.metadata, **geometry_of(layer)})
    except OutputError:
        return None


def label_names(mask: Labels) -> dict[int, str]:
    """Read the label names from the layer's features, where Segment writes them and napari shows them."""
    table = mask.features
    if "index" not in table or "label" not in table:
        return {}
    return {int(index): str(name) for index, name in zip(table["index"], table["label"], strict=True)}


def show(viewer: ViewerModel, mask: Any, lesion: MeasuredLesion, slice_axis: int | None, text: str) -> None:
    """Bring a lesion on screen: its slice, its centre, and its two diameters with their lengths.

    `mask` is the layer whose pixels the figures count, see `MeasureInput`.
    """
    _draw(viewer, mask, lesion, text)
    missing = viewer.dims.ndim - mask.ndim
    if viewer.dims.ndisplay == 2 and slice_axis is not None and slice_axis + missing in viewer.dims.displayed:
        order = [axis for axis in viewer.dims.order if axis != slice_axis + missing]
        viewer.dims.order = (*order[:-2], slice_axis + missing, *order[-2:])
    middle = np.mean(lesion.longest_line, axis=0)
    place = mask.data_to_world(middle)
    hidden = [axis for axis in viewer.dims.not_displayed if axis >= missing]
    viewer.dims.set_point(hidden, [place[axis - missing] for axis in hidden])
    camera = getattr(viewer, "scene", viewer).camera  # before napari 0.9 it was the viewer's own
    centre = list(camera.center)
    shown = [place[axis - missing] if axis >= missing else 0.0 for axis in viewer.dims.displayed]
    centre[-len(shown) :] = shown
    camera.center = tuple(centre)


def diameters(viewer: ViewerModel) -> Shapes | None:
    """Return the layer that diameters are drawn in, if it is still there; a layer of the person's is never it."""
    from napari.layers import Shapes

    for layer in viewer.layers:
        mine = layer.metadata.get(KEY, {}).get("diameters") == str(layer.unique_id)
        if mine and isinstance(layer, Shapes) and layer.ndim:
            return layer
    return None


def _draw(viewer: ViewerModel, mask: Any, lesion: MeasuredLesion, text: str) -> None:
    lines = [np.array(lesion.longest_line), np.array(lesion.perpendicular_line)]
    layer = diameters(viewer)
    if layer is not None and layer.ndim != mask.ndim:
        viewer.layers.remove(layer)
        layer = None
    if layer is None:
        layer = _add(viewer, mask)
    for name, value in geometry_of(mask).items():
        setattr(layer, name, value)
    layer.selected_data = set()
    layer.data = []
    layer.add_lines(lines, edge_width=_width(mask), edge_color=[LONGEST, PERPENDICULAR])
    layer.features = {"size": [text, ""]}
    layer.text = {"string": "{size}", "color": "white", "size": 10, "anchor": "upper_left"}
    layer.visible = True


def _add(viewer: ViewerModel, mask: Any) -> Shapes:
    from napari.layers import Shapes

    active = viewer.layers.selection.active
    layer = Shapes(ndim=mask.ndim, name=DIAMETERS, **geometry_of(mask))
    layer.metadata = {KEY: {"diameters": str(layer.unique_id)}}
    viewer.add_layer(layer)
    layer.mode = "pan_zoom"
    if active is not None:
        viewer.layers.selection.active = active
    return layer


def geometry_of(mask: Any) -> dict[str, Any]:
    """Return what puts another layer at the place of a layer."""
    names = (*PLACE, "units", "axis_labels")
    return {name: getattr(mask, name) for name in names}


def _width(mask: Any) -> float:
    return float(max(0.4, max(pixels_of(mask).shape[: mask.ndim][-2:]) / 350))
