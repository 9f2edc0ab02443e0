"""Mask layers: made on their image's place, described, read and written plane by plane."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.version import __version__
from napari_unet_tumour.widgets.layers.adding import add_in_steps
from napari_unet_tumour.widgets.layers.image_source import KEY, hidden_axes, images, shown_at
from napari_unet_tumour.widgets.layers.world import PLACE, alike, pixels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.widgets.layers.image_source import Region

# First a red that stands out on grey scans, then colours that people with colour blindness tell apart from it.
UNSURE_COLOUR, ALIKE = "#40c4ff", 0.2
PALETTE = ("#00000000", "#ff3b30", "#ffcc00", "#00c7be", "#5e8bff", "#bf5af2", "#ff9500", "#a2e635", "#f472b6")


def own_mask(viewer: ViewerModel, image: Image) -> Labels | None:
    """Return the mask layer that an earlier run made for this image, if it is still there and whole.

    A copy that the person made of it (a backup, say) carries the metadata but is another layer, so it is not ours.
    """
    from napari.layers import Labels

    for layer in viewer.layers:
        note = layer.metadata.get(KEY, {})
        ours = note.get("layer") == str(layer.unique_id) and note.get("image_layer") == str(image.unique_id)
        if ours and isinstance(layer, Labels) and isinstance(layer.data, np.ndarray):
            return layer
    return None


def image_of(viewer: ViewerModel, mask: Any) -> Image | None:
    """Return the image layer that one of our mask layers belongs to."""
    wanted = mask.metadata.get(KEY, {}).get("image_layer")
    return next((image for image in images(viewer) if str(image.unique_id) == wanted), None)


def add_mask(
    viewer: ViewerModel, image: Image, layout: SliceLayout, labels: Sequence[str], data: NDArray[Any] | None = None
) -> Labels:
    """Add a mask layer that lies exactly on the image, or return the image's own one with its place renewed.

    Parameters
    ----------
    layout : Layout
        Its `mask_shape` is the shape of the layer.
    labels : sequence of str
        Names by pixel value, shown in the status bar.
    data : numpy.ndarray, optional
        Pixels of a new layer; 0 without them.
    """
    place = _place(image, layout)
    mask = own_mask(viewer, image)
    if mask is not None and mask.data.shape == layout.mask_shape:
        for name, value in place.items():
            if not alike(getattr(mask, name), value):  # to move a layer takes napari 10 ms a time, the same place too
                setattr(mask, name, value)
        return mask
    if mask is not None:
        amend(mask, layer="")  # the image has another shape now: its old mask is the person's to keep or remove
    pixels = np.zeros(layout.mask_shape, np.uint8) if data is None else data
    mask = _labels_of(pixels, labels, name=f"{image.name} mask", **place)
    # A run makes one undo step per slice; with napari's 100 steps a large scan would push out the person's own.
    mask._history_limit = 100 + 2 * layout.planes
    mask._reset_history()
    add_in_steps(viewer, mask)
    return mask


def add_mask_on_disk(
    viewer: ViewerModel, image: Image, layout: SliceLayout, levels: Sequence[Any], labels: Sequence[str]
) -> Labels:
    """Add a mask layer over arrays on disk, the finest first; it lies exactly on the image."""
    data = levels[0] if len(levels) == 1 else list(levels)
    mask = _labels_of(data, labels, multiscale=len(levels) > 1, name=f"{image.name} mask", **_place(image, layout))
    viewer.add_layer(mask)
    return mask


def copy_on(mask: Labels, image: Image, layout: SliceLayout, array: NDArray[Any]) -> Labels:
    """Return a new layer with a mask's labels on the grid of an image, coloured and named as the mask is.

    It belongs to the image, and is no layer that a run writes into.
    """
    from napari.layers import Labels

    about = {name: getattr(mask, name) for name in ("opacity", "blending", "colormap", "features")}
    copy = Labels(array, name=f"{mask.name} on {image.name}", **about, **_place(image, layout))
    note = image.metadata.get(KEY, {})
    kept = {name: note[name] for name in ("grid",) if name in note}
    unsure = {name: value for name, value in mask.metadata.get(KEY, {}).items() if name == "unsure"}
    amend(copy, image_layer=str(image.unique_id), image=image.name, **kept, **unsure)
    return copy


def copy_into_memory(viewer: ViewerModel, mask: Labels) -> Labels:
    """Add a copy of a mask, with its pixels in memory, at the same place; the mask itself stays as it is."""
    level = pixels_of(mask)
    _, about, kind = mask.as_layer_data_tuple()
    about = {**about, "name": f"{mask.name} in memory", "multiscale": False}
    copy = mask.__class__.create(np.array(level), about, kind)
    viewer.add_layer(copy)
    mask.visible = False
    return copy


def _labels_of(data: Any, labels: Sequence[str], **about: Any) -> Labels:
    from napari.layers import Labels
    from napari.utils.colormaps import CyclicLabelColormap

    colours = CyclicLabelColormap(colors=PALETTE)
    return Labels(data, opacity=0.5, colormap=colours, features=_names(labels), **about)


def _names(labels: Sequence[str]) -> dict[str, list[Any]]:
    return {"index": list(range(len(labels))), "label": list(labels)}


def name_labels(mask: Labels, labels: Sequence[str]) -> None:
    """Show the names of the labels in the status bar, where the layer has no table of the person's own."""
    if set(mask.features.columns) <= {"index", "label"}:
        mask.features = _names(labels)


def prepare() -> None:
    """Import and compute what a first Labels layer needs (0.4 s), on any thread; makes nothing of napari's there."""
    for name in ("pandas", "skimage.color", "scipy.linalg"):
        import_module(name)
    with suppress(ImportError, AttributeError):  # vispy keeps the patterns of dashed lines; napari's outlines need them
        import_module("vispy.visuals.line.dash_atlas").DashAtlas()


def describe(mask: Labels, image: Image, **facts: Any) -> None:
    """Write into the mask's metadata whose it is and what made it: facts such as model, hash and settings."""
    # The grid of the image's file lets a writer save the mask on it (napari_io.py).
    kept = {name: value for name, value in mask.metadata.get(KEY, {}).items() if name == "unsure"}
    grid = {name: value for name, value in image.metadata.get(KEY, {}).items() if name == "grid"}
    mine = {"layer": str(mask.unique_id), "image_layer": str(image.unique_id), "image": image.name}
    mask.metadata = {**mask.metadata, KEY: {**grid, **kept, **facts, **mine, "version": __version__}}


def show_unsure(mask: Labels, unsure: int) -> None:
    """Give the value for "unsure" a colour of its own, and say in the metadata that it is no label."""
    from napari.utils.colormaps import DirectLabelColormap

    if mask.metadata.get(KEY, {}).get("unsure") == unsure:
        return
    colours: dict[int | None, Any] = {label: _apart(mask, label) for label in range(1, unsure)}
    mask.colormap = DirectLabelColormap(color_dict={**colours, None: PALETTE[0], 0: PALETTE[0], unsure: UNSURE_COLOUR})
    amend(mask, unsure=unsure)


def _apart(mask: Labels, label: int) -> Any:
    """Return a label's colour; one of ours where it looks like that of "unsure", as napari's own second one does."""
    from napari.utils.colormaps.standardize_color import transform_color

    colour = mask.get_color(label)
    alike = colour is not None and np.abs(colour - transform_color(UNSURE_COLOUR)[0]).max() < ALIKE
    return PALETTE[1 + (label - 1) % (len(PALETTE) - 1)] if alike else colour


def without_unsure(data: NDArray[Any], metadata: dict[str, Any]) -> NDArray[Any]:
    """Return a mask's pixels with background where the person was unsure; the very array where there is none.

    A mask without any other label is returned as it is: a mask is never emptied, and what a program has put into the
    layer may be a picture of 0 and 255.
    """
    unsure = metadata.get(KEY, {}).get("unsure")
    if unsure is None or not (data == unsure).any():
        return data
    new = np.where(data == unsure, 0, data)
    return new if new.any() else data


def amend(mask: Labels, **facts: Any) -> None:
    """Change some of the facts in the mask's metadata."""
    mask.metadata = {**mask.metadata, KEY: {**mask.metadata.get(KEY, {}), **facts}}


def _place(image: Image, layout: SliceLayout) -> dict[str, Any]:
    """Return scale, translate, rotate, shear, affine, units and axis labels of the image without its channel axis."""
    whole = image.ndim == len(layout.mask_shape)
    kept = [axis for axis in range(image.ndim) if whole or axis != layout.channel]
    if len(kept) == image.ndim:
        own = {name: getattr(image, name) for name in PLACE}
    else:
        inner, outer = image._transforms["data2physical"].set_slice(kept), image.affine.set_slice(kept)
        own = {name: getattr(inner, name) for name in ("scale", "translate", "rotate", "shear")} | {"affine": outer}
    return own | {name: tuple(getattr(image, name)[axis] for axis in kept) for name in ("units", "axis_labels")}


def pixels(mask: Labels, layout: SliceLayout, plane: int, region: Region | None = None) -> NDArray[Any]:
    """Return a view (H, W) of a plane of the mask, rows first, cut to the region."""
    view = layout.to_array_order(mask.data[layout.index(plane)])  # turning twice is turning back
    return view if region is None else view[region]


def where(
    layout: SliceLayout, plane: int, region: Region | None, changed: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], ...]:
    """Return the mask's own indices, one array an axis, of the pixels marked in a plane (H, W) or its region."""
    rows, columns = np.nonzero(changed)
    if region is not None:
        rows, columns = rows + region[0].start, columns + region[1].start
    in_plane = iter((rows, columns) if layout.rows < layout.columns else (columns, rows))
    return tuple(
        next(in_plane) if isinstance(part, slice) else np.full(rows.size, part, np.intp) for part in layout.index(plane)
    )


def write(viewer: ViewerModel, mask: Labels, at: tuple[NDArray[np.intp], ...], values: NDArray[np.uint8]) -> bool:
    """Set pixels of the mask as one undoable step; True where anything changed.

    napari redraws only when one of them is on screen: drawing costs milliseconds, writing a hidden slice next to none.
    """
    if not at[0].size:
        return False
    # A stroke of the person that is under way is an undo step of its own.
    stroke, mask._block_history = mask._block_history, False
    try:
        # Not the method of the layer itself, which a limited brush may have covered (widgets/brush/stroke_filter.py).
        type(mask).data_setitem(mask, at, values, refresh=_on_screen(viewer, mask, at))
    finally:
        mask._block_history = stroke
    return True


def _on_screen(viewer: ViewerModel, mask: Labels, at: tuple[NDArray[np.intp], ...]) -> bool:
    point = np.round(shown_at(viewer, mask))
    seen = np.ones(at[0].size, bool)
    for axis in hidden_axes(viewer, mask):
        seen &= at[axis] == point[axis]
    return bool(seen.any())


def preview(mask: Labels, layout: SliceLayout, plane: int, region: Region | None, values: NDArray[np.uint8]) -> None:
    """Show a plane's pixels without an undo step; `write` must follow with the final ones."""
    pixels(mask, layout, plane, region)[...] = values
    mask.refresh(thumbnail=False, highlight=False, extent=False)
