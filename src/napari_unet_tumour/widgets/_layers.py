"""Layers <-> plain data: the only file that reads or adds napari layers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.layout import Layout, layout_of
from napari_unet_tumour.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.spec import ModelSpec

KEY = "napari-unet-tumour"
MOST_AXES = 5
COLOURS = ("red", "green", "blue")
# First a red that stands out on grey scans, then colours that people with colour blindness tell apart from it.
UNSURE_COLOUR, ALIKE = "#40c4ff", 0.2
PALETTE = ("#00000000", "#ff3b30", "#ffcc00", "#00c7be", "#5e8bff", "#bf5af2", "#ff9500", "#a2e635", "#f472b6")

Region = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Source:
    """What a run reads, frozen at the press of Run.

    Parameters
    ----------
    name : str
        Name of the image layer.
    array : array
        The layer's pixels, possibly lazy; never copied as a whole.
    layout : Layout
        Which axes are rows, columns and channels.
    plane : int
        The plane on screen.
    region : (slice, slice), optional
        Rows and columns to segment; the whole plane when None.
    channels : dict of str to str
        Where several layers make the input: the layer's name by channel of the model.
    """

    name: str
    array: Any
    layout: Layout
    plane: int
    region: Region | None = None
    channels: dict[str, str] = field(default_factory=dict)

    def take(self, planes: Sequence[int]) -> NDArray[Any]:
        """Return (n, C, H, W): the asked planes, cut to the region."""
        if self.region is None:
            return self.layout.take(self.array, planes)
        cut = [slice(None)] * len(self.layout.shape)
        cut[self.layout.rows], cut[self.layout.columns] = self.region
        part = self.array[tuple(cut)]
        return replace(self.layout, shape=tuple(part.shape)).take(part, planes)

    def plane_bytes(self) -> int:
        """Memory that one plane takes."""
        return int(np.prod(self.layout.shape)) // self.layout.planes * int(np.dtype(self.array.dtype).itemsize)


def images(viewer: ViewerModel) -> list[Image]:
    """Return the viewer's image layers, top of the list last."""
    from napari.layers import Image

    return [layer for layer in viewer.layers if isinstance(layer, Image)]


def source_of(viewer: ViewerModel, image: Image, spec: ModelSpec, in_view: bool = False) -> Source:
    """Freeze what a run needs of an image layer.

    Parameters
    ----------
    viewer : napari viewer
        Its displayed axes say what rows and columns are.
    image : napari.layers.Image
        2 to 5 axes, channels included.
    spec : ModelSpec
        Its channels decide which axis holds channels: the colours of an RGB layer, or else the first axis.
    in_view : bool
        Only the part of the plane that the canvas shows.

    Raises
    ------
    ScanError, ModelError
        The layer cannot be segmented, or not with this model; names the layer and the remedy.
    """
    array = image.data[0] if image.multiscale else image.data
    array = array[..., :3] if image.rgb and spec.in_channels == 3 else array  # without transparency
    _check(image.name, array)
    rows, columns = shown_axes(viewer, image)
    channel = channel_axis(image, spec)
    if channel in (rows, columns):
        raise ScanError(
            f"layer '{image.name}' shows its channels as pixels: roll the dimensions so that two others show"
        )
    axes = None if channel is None or image.rgb else "c" + "tzyx"[1 - array.ndim :]
    layout = layout_of(tuple(array.shape), axes=axes, rows=rows, columns=columns, rgb=bool(image.rgb))
    point = np.delete(index_of(viewer, image), [] if channel is None or image.rgb else [channel])
    region = _region_in_view(image, rows, columns) if in_view else None
    return Source(image.name, array, layout, plane_at(layout, point), region)


def _check(name: str, array: Any) -> None:
    if array.ndim > MOST_AXES:
        raise ScanError(
            f"layer '{name}' has {array.ndim} axes, at most {MOST_AXES} can be segmented: take a part of it"
        )
    if 0 in array.shape:
        raise ScanError(f"layer '{name}' has an axis without pixels (shape {tuple(array.shape)}): choose another layer")
    if np.dtype(array.dtype).kind not in "biuf":
        raise ScanError(f"layer '{name}' holds {array.dtype} values: convert it to real numbers first")


def channel_axis(image: Image, spec: ModelSpec) -> int | None:
    """Return which axis holds the model's channels, None for a grey image that fits; raises ModelError for a misfit.

    The engine turns colours into grey, and grey into colours, by itself.
    """
    array = image.data[0] if image.multiscale else image.data
    flexible = spec.in_channels == 1 or spec.channels == COLOURS
    if flexible or (image.rgb and spec.in_channels == 3):
        return array.ndim - 1 if image.rgb else None
    if image.rgb:
        raise ModelError(misfit(spec, image.name, "colours"))
    if array.ndim < 3 or array.shape[0] != spec.in_channels or image.axis_labels[0] in ("z", "y", "x"):
        raise ModelError(misfit(spec, image.name, "one" if array.ndim < 3 else f"{array.shape[0]} on its first axis"))
    return 0


def misfit(spec: ModelSpec, name: str, has: str) -> str:
    """Say that a layer has other channels than a model needs."""
    needs = f"{spec.in_channels} channel{'s'[: spec.in_channels - 1]} ({', '.join(spec.channels)})"
    return f"model '{spec.name}' needs {needs}, layer '{name}' has {has}: choose another model or layer"


def shown_axes(viewer: ViewerModel, layer: Any) -> tuple[int, int]:
    """Return which axes of the layer the viewer shows as rows and columns."""
    missing = viewer.dims.ndim - layer.ndim
    order = [axis - missing for axis in viewer.dims.order if axis >= missing]
    return int(order[-2]), int(order[-1])


def index_of(viewer: ViewerModel, layer: Any) -> NDArray[np.intp]:
    """Return the layer's pixel index at the viewer's sliders, one number an axis, not clipped."""
    point: NDArray[np.intp] = np.round(layer.world_to_data(viewer.dims.point)).astype(np.intp)
    return point


def plane_at(layout: Layout, point: Sequence[int] | NDArray[np.intp]) -> int:
    """Return the number of the plane nearest to a pixel index in the mask's axes."""
    axes = _slice_axes(layout)
    sizes = [layout.mask_shape[axis] for axis in axes]
    return int(np.ravel_multi_index([point[axis] for axis in axes], sizes, mode="clip")) if axes else 0


def plane_on_screen(viewer: ViewerModel, mask: Labels, layout: Layout) -> int | None:
    """Return the plane of the layout that the viewer shows; None when it shows other axes (rolled, or 3D)."""
    missing = viewer.dims.ndim - mask.ndim
    hidden = [axis for axis in range(mask.ndim) if axis + missing not in viewer.dims.displayed]
    return plane_at(layout, index_of(viewer, mask)) if hidden == _slice_axes(layout) else None


def _slice_axes(layout: Layout) -> list[int]:
    return [axis for axis, part in enumerate(layout.index(0)) if not isinstance(part, slice)]


def _region_in_view(image: Image, rows: int, columns: int) -> Region:
    level = image.downsample_factors[image.data_level] if image.multiscale else np.ones(image.ndim)
    low, high = image.corner_pixels * level
    shape = image.data[0].shape if image.multiscale else image.data.shape
    parts = []
    for axis in (rows, columns):
        start, stop = max(int(low[axis]), 0), min(int(high[axis] + level[axis]), shape[axis])
        parts.append(slice(start, stop))
    if any(part.stop - part.start < 2 for part in parts):
        raise ScanError(f"no part of layer '{image.name}' is in view: move the canvas back to it")
    return parts[0], parts[1]


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


def add_mask(viewer: ViewerModel, image: Image, layout: Layout, labels: Sequence[str]) -> Labels:
    """Add an empty mask layer that lies exactly on the image, or return the image's own one with its place renewed.

    Parameters
    ----------
    layout : Layout
        Its `mask_shape` is the shape of the layer.
    labels : sequence of str
        Names by pixel value, shown in the status bar.
    """
    place = _place(image, layout)
    mask = own_mask(viewer, image)
    if mask is not None and mask.data.shape == layout.mask_shape:
        for name, value in place.items():
            setattr(mask, name, value)
        return mask
    if mask is not None:
        amend(mask, layer="")  # the image has another shape now: its old mask is the person's to keep or remove
    mask = _empty(layout.mask_shape, labels, name=f"{image.name} mask", **place)
    # A run makes one undo step a slice; with napari's 100 steps a large scan would push out the person's own.
    mask._history_limit = 100 + 2 * layout.planes
    mask._reset_history()
    viewer.add_layer(mask)
    return mask


def add_mask_on_disk(
    viewer: ViewerModel, image: Image, layout: Layout, levels: Sequence[Any], labels: Sequence[str]
) -> Labels:
    """Add a mask layer over arrays on disk, the finest first; it lies exactly on the image."""
    data = levels[0] if len(levels) == 1 else list(levels)
    mask = _labels_of(data, labels, multiscale=len(levels) > 1, name=f"{image.name} mask", **_place(image, layout))
    viewer.add_layer(mask)
    return mask


def coarser_shapes(image: Image, layout: Layout) -> list[tuple[int, ...]]:
    """Return the shapes of an image's coarser levels, without the channel axis."""
    if not image.multiscale:
        return []
    kept = [axis for axis in range(len(layout.shape)) if axis != layout.channel]
    return [tuple(int(level.shape[axis]) for axis in kept) for level in image.data[1:]]


def middle_of_view(image: Image, layout: Layout) -> tuple[int, int]:
    """Return the row and column of a plane in the middle of what the canvas shows, or of the plane."""
    try:
        parts = _region_in_view(image, layout.rows, layout.columns)
    except ScanError:
        parts = (slice(0, layout.plane_shape[0]), slice(0, layout.plane_shape[1]))
    return (parts[0].start + parts[0].stop) // 2, (parts[1].start + parts[1].stop) // 2


def _empty(shape: tuple[int, ...], labels: Sequence[str], **about: Any) -> Labels:
    return _labels_of(np.zeros(shape, np.uint8), labels, **about)


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
    """Import what a first Labels layer imports (0.3 s), on whatever thread; makes nothing of napari's there."""
    for name in ("pandas", "skimage.color", "scipy.linalg"):
        import_module(name)


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
    """Return a mask's pixels with background where the person was unsure; the very array where there is none."""
    unsure = metadata.get(KEY, {}).get("unsure")
    return data if unsure is None or not (data == unsure).any() else np.where(data == unsure, 0, data)


def amend(mask: Labels, **facts: Any) -> None:
    """Change some of the facts in the mask's metadata."""
    mask.metadata = {**mask.metadata, KEY: {**mask.metadata.get(KEY, {}), **facts}}


def _place(image: Image, layout: Layout) -> dict[str, Any]:
    """Return scale, translate, rotate, shear, affine, units and axis labels of the image without its channel axis."""
    whole = image.ndim == len(layout.mask_shape)
    kept = [axis for axis in range(image.ndim) if whole or axis != layout.channel]
    if len(kept) == image.ndim:
        own = {name: getattr(image, name) for name in ("scale", "translate", "rotate", "shear", "affine")}
    else:
        inner, outer = image._transforms["data2physical"].set_slice(kept), image.affine.set_slice(kept)
        own = {name: getattr(inner, name) for name in ("scale", "translate", "rotate", "shear")} | {"affine": outer}
    return own | {name: tuple(getattr(image, name)[axis] for axis in kept) for name in ("units", "axis_labels")}


def pixels(mask: Labels, layout: Layout, plane: int, region: Region | None = None) -> NDArray[Any]:
    """Return a view (H, W) of a plane of the mask, rows first, cut to the region."""
    view = layout.to_native(mask.data[layout.index(plane)])  # turning twice is turning back
    return view if region is None else view[region]


def where(
    layout: Layout, plane: int, region: Region | None, changed: NDArray[np.bool_]
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
    mask.data_setitem(at, values, refresh=_on_screen(viewer, mask, at))
    return True


def _on_screen(viewer: ViewerModel, mask: Labels, at: tuple[NDArray[np.intp], ...]) -> bool:
    missing = viewer.dims.ndim - mask.ndim
    shown = {axis - missing for axis in viewer.dims.displayed}
    point = index_of(viewer, mask)
    seen = np.ones(at[0].size, bool)
    for axis in set(range(mask.ndim)) - shown:
        seen &= at[axis] == point[axis]
    return bool(seen.any())


def preview(mask: Labels, layout: Layout, plane: int, region: Region | None, values: NDArray[np.uint8]) -> None:
    """Show a plane's pixels without an undo step; `write` must follow with the final ones."""
    pixels(mask, layout, plane, region)[...] = values
    mask.refresh(thumbnail=False, highlight=False, extent=False)
