"""Layers <-> the lesion report: what is measured, where to look, and the drawn diameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.widgets.layers.image_source import KEY, images
from napari_unet_tumour.widgets.layers.labels import image_of, without_unsure

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Shapes
    from numpy.typing import NDArray

    from napari_unet_tumour.measure import MeasuredLesion

DIAMETERS = "Lesion diameters"
LONGEST, PERPENDICULAR = "#ffcc00", "#00c7be"
TIME = ("t", "time", "frame")


@dataclass(frozen=True, eq=False)
class MeasureInput:
    """What a report reads of a mask layer and its image, frozen at the press of Measure.

    Parameters
    ----------
    mask : array
        The layer's pixels.
    scan : Scan or None
        The image's pixels in the same grid.
    options : dict
        Keyword arguments of `iter_measure`.
    note : str
        What the person must know, or "".
    """

    mask: Any
    scan: Scan | None
    options: dict[str, Any]
    note: str = ""


def masks(viewer: ViewerModel) -> list[Labels]:
    """Return the viewer's Labels layers."""
    from napari.layers import Labels

    return [layer for layer in viewer.layers if isinstance(layer, Labels)]


def scan_for(viewer: ViewerModel, mask: Labels) -> Image | None:
    """Return the image that a mask was made for, or else the first one in the same grid."""
    alike = (image for image in images(viewer) if _grid_shape(image) == tuple(_pixels(mask).shape))
    return image_of(viewer, mask) or next(alike, None)


def measured(mask: Labels, image: Image | None, in_pixels: bool, slice_axis: int | None = None) -> MeasureInput:
    """Freeze what a report needs; raises ScanError where the layers do not fit together."""
    axes = axes_of(mask)
    affine, units = affine_of(mask, axes)
    about = mask.metadata.get(KEY, {})
    options = {
        "axes": axes,
        "affine": affine,
        "units": "pixel" if in_pixels else units,
        "labels": _names(mask),
        "slice_axis": slice_axis,
        "mask_name": mask.name,
        "model": str(about.get("model", "")),
        "model_hash": str(about.get("hash", "")),
    }
    pixels = without_unsure(_pixels(mask), mask.metadata)
    if image is None:
        return MeasureInput(pixels, None, options)
    if _grid_shape(image) != tuple(_pixels(mask).shape):
        raise ScanError(
            f"layer '{image.name}' has other pixels than '{mask.name}' ({_by(_grid_shape(image))} and "
            f"{_by(_pixels(mask).shape)}): choose the mask's scan, or none"
        )
    scan = Scan(_pixels(image), axes + "c" * image.rgb, name=image.name)
    note = "" if _same_place(mask, image) else f"'{image.name}' lies elsewhere than the mask: brightness goes by pixel."
    return MeasureInput(pixels, scan, options, note)


def axes_of(layer: Any) -> str:
    """Return a letter per axis: the last three are space, unless one of them is called time; the others "t"."""
    words = [str(label).lower() for label in layer.axis_labels]
    space = [i for i in range(layer.ndim) if words[i] not in TIME][-3:]
    return "".join("zyx"[space.index(i) - len(space)] if i in space else "t" for i in range(layer.ndim))


def _pixels(layer: Any) -> Any:
    return layer.data[0] if layer.multiscale else layer.data


def _grid_shape(image: Image) -> tuple[int, ...]:
    return tuple(_pixels(image).shape[: image.ndim])


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)


def _names(mask: Labels) -> dict[int, str]:
    """Read the label names from the layer's features, where Segment writes them and napari shows them."""
    table = mask.features
    if "index" not in table or "label" not in table:
        return {}
    return {int(index): str(name) for index, name in zip(table["index"], table["label"], strict=True)}


def world_of(layer: Any) -> NDArray[np.float64]:
    """Return (n+1, n+1) index -> world of all axes of a layer, in its units."""
    origin = np.array(layer.data_to_world(np.zeros(layer.ndim)))
    steps = [np.array(layer.data_to_world(one)) - origin for one in np.eye(layer.ndim)]
    matrix = np.eye(layer.ndim + 1)
    matrix[:-1] = np.column_stack([*steps, origin])
    return matrix


def affine_of(layer: Any, axes: str) -> tuple[NDArray[np.float64], str]:
    """Return the affine of the spatial axes in mm where the layer's units are lengths, else as it is, in pixels."""
    space = [i for i, letter in enumerate(axes) if letter != "t"]
    keep = [*space, layer.ndim]
    matrix = world_of(layer)[np.ix_(keep, keep)]
    factors = [_millimetres(layer.units[i]) for i in space]
    if any(factor is None for factor in factors):
        return matrix, "pixel"
    return np.diag([*(f or 1.0 for f in factors), 1.0]) @ matrix, "mm"


def _millimetres(unit: Any) -> float | None:
    """Return how many mm a unit of length is, None for pixels and the like."""
    from pint import get_application_registry

    registry = get_application_registry()  # type: ignore[no-untyped-call]
    if not registry.is_compatible_with(str(unit), "mm"):
        return None
    return float(registry.Quantity(1, str(unit)).to("mm").magnitude)


def _same_place(mask: Labels, image: Image) -> bool:
    corners = np.array(list(np.ndindex(*(2,) * mask.ndim))) * (np.array(_pixels(mask).shape) - 1)
    apart = [np.subtract(mask.data_to_world(c), image.data_to_world(c)) for c in corners]
    return bool(np.abs(apart).max() <= 0.5 * np.linalg.norm(world_of(mask)[:-1, :-1], axis=0).min())


def show(viewer: ViewerModel, mask: Labels, lesion: MeasuredLesion, slice_axis: int | None, text: str) -> None:
    """Bring a lesion on screen: its slice, its centre, and its two diameters with their lengths."""
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


def _draw(viewer: ViewerModel, mask: Labels, lesion: MeasuredLesion, text: str) -> None:
    lines = [np.array(lesion.longest_line), np.array(lesion.perpendicular_line)]
    layer = diameters(viewer)
    if layer is not None and layer.ndim != mask.ndim:
        viewer.layers.remove(layer)
        layer = None
    if layer is None:
        layer = _add(viewer, mask)
    for name, value in _place(mask).items():
        setattr(layer, name, value)
    layer.selected_data = set()
    layer.data = []
    layer.add_lines(lines, edge_width=_width(mask), edge_color=[LONGEST, PERPENDICULAR])
    layer.features = {"size": [text, ""]}
    layer.text = {"string": "{size}", "color": "white", "size": 10, "anchor": "upper_left"}
    layer.visible = True


def _add(viewer: ViewerModel, mask: Labels) -> Shapes:
    from napari.layers import Shapes

    active = viewer.layers.selection.active
    layer = Shapes(ndim=mask.ndim, name=DIAMETERS, **_place(mask))
    layer.metadata = {KEY: {"diameters": str(layer.unique_id)}}
    viewer.add_layer(layer)
    layer.mode = "pan_zoom"
    if active is not None:
        viewer.layers.selection.active = active
    return layer


def _place(mask: Labels) -> dict[str, Any]:
    names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    return {name: getattr(mask, name) for name in names}


def _width(mask: Labels) -> float:
    return float(max(0.4, max(_pixels(mask).shape[-2:]) / 350))
