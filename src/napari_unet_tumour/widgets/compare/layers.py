"""Layers <-> a comparison: masks as plain data, and the layer that shows where they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.measure import difference_names
from napari_unet_tumour.measure.agreement import BOTH, ONLY_FIRST, ONLY_SECOND, OTHER_LABEL
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.widgets.layers.image_source import KEY, hidden_axes, slider_point
from napari_unet_tumour.widgets.layers.labels import without_unsure
from napari_unet_tumour.widgets.layers.world import affine_of, axes_of, pixels_of, world_of
from napari_unet_tumour.widgets.measure.layers import geometry_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_unet_tumour.measure import MaskComparison

# Grey, orange, blue and purple differ for people with colour blindness too.
COLOURS: dict[int | None, str] = {
    BOTH: "#c8c8c8",
    ONLY_FIRST: "#ff9500",
    ONLY_SECOND: "#5e8bff",
    OTHER_LABEL: "#bf5af2",
}


def as_scan(mask: Labels) -> Scan:
    """Return a mask layer's pixels as they are now, with their place."""
    axes = axes_of(mask)
    affine, units = affine_of(mask, axes)
    pixels = pixels_of(mask)
    kept = without_unsure(pixels.copy(), mask.metadata) if isinstance(pixels, np.ndarray) else np.asarray(pixels)
    return Scan(kept, axes, affine, units, mask.name)


def shown_difference(viewer: ViewerModel) -> Labels | None:
    """Return the layer that shows a difference, if it is still there; a layer of the person's is never it."""
    from napari.layers import Labels

    for layer in viewer.layers:
        mine = layer.metadata.get(KEY, {}).get("difference") == str(layer.unique_id)
        if mine and isinstance(layer, Labels):
            return layer
    return None


def show_difference(viewer: ViewerModel, found: MaskComparison, source: Labels) -> Labels:
    """Add the layer of a difference, in place of the last one; the selection stays.

    Parameters
    ----------
    source : napari.layers.Labels
        The mask on whose grid, or on a larger one, the difference lies.
    """
    from napari.layers import Labels
    from napari.utils.colormaps import DirectLabelColormap

    active = viewer.layers.selection.active
    hide_difference(viewer)
    names = difference_names(found)
    colours: dict[int | None, str] = dict(COLOURS) | {None: "#00000000", 0: "#00000000"}
    layer = Labels(
        found.difference,
        name=f"{found.first} - {found.second}",
        opacity=0.7,
        colormap=DirectLabelColormap(color_dict=colours),
        features={"index": list(range(len(names))), "label": names},
        **_place(found, source),
    )
    layer.metadata = {KEY: {"difference": str(layer.unique_id)}}
    layer.editable = False
    viewer.add_layer(layer)
    if active is not None and active in viewer.layers:
        viewer.layers.selection.active = active
    return layer


def hide_difference(viewer: ViewerModel) -> None:
    """Remove the layer of a difference, if there is one."""
    layer = shown_difference(viewer)
    if layer is not None:
        viewer.layers.remove(layer)


def go_to_largest(viewer: ViewerModel, layer: Labels) -> bool:
    """Show the slice with the most voxels that differ; False where none do."""
    differs = np.asarray(layer.data) > BOTH
    hidden = hidden_axes(viewer, layer)
    shown = tuple(axis for axis in range(layer.ndim) if axis not in hidden)
    if not differs.any() or not hidden:
        return bool(differs.any())
    counts = np.count_nonzero(differs, axis=shown)
    at = np.zeros(layer.ndim)
    at[hidden] = np.unravel_index(int(counts.argmax()), counts.shape)
    place = slider_point(viewer, layer, at.tolist())
    viewer.dims.set_point(list(place), list(place.values()))
    return True


def _place(found: MaskComparison, source: Labels) -> dict[str, Any]:
    """Return where the difference lies: where the source does, or begins some voxels before it."""
    if found.difference.shape == tuple(pixels_of(source).shape):
        return geometry_of(source)
    spatial = list(found.grid.spatial)
    affine, _ = affine_of(source, axes_of(source))
    first = np.zeros(source.ndim + 1)
    first[spatial] = np.round(np.linalg.solve(affine, found.grid.world[:, -1])[:-1])
    first[-1] = 1
    matrix = world_of(source)
    matrix[:, -1] = matrix @ first
    return {"affine": matrix, "units": source.units, "axis_labels": source.axis_labels}
