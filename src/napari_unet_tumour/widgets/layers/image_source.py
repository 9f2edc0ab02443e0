"""Image layers -> plain data: what a run reads, and which plane is on screen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.slicing import SliceLayout, layout_of, with_slice_distance
from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.widgets.layers.world import spacing_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.models.spec import ModelSpec

KEY = "napari-unet-tumour"
MOST_AXES = 5
COLOURS = ("red", "green", "blue")
TIME = ("t", "time")

Region = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class ImageSource:
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
    layout: SliceLayout
    plane: int
    region: Region | None = None
    channels: dict[str, str] = field(default_factory=dict)

    def read_planes(self, planes: Sequence[int]) -> NDArray[Any]:
        """Return (n, C, H, W): the asked planes, cut to the region."""
        if self.region is None:
            return self.layout.read_planes(self.array, planes)
        cut = [slice(None)] * len(self.layout.shape)
        cut[self.layout.rows], cut[self.layout.columns] = self.region
        part = self.array[tuple(cut)]
        return replace(self.layout, shape=tuple(part.shape)).read_planes(part, planes)

    def plane_bytes(self) -> int:
        """Memory that one plane takes."""
        return int(np.prod(self.layout.shape)) // self.layout.planes * int(np.dtype(self.array.dtype).itemsize)


def images(viewer: ViewerModel) -> list[Image]:
    """Return the viewer's image layers, top of the list last."""
    from napari.layers import Image

    return [layer for layer in viewer.layers if isinstance(layer, Image)]


def source_of(viewer: ViewerModel, image: Image, spec: ModelSpec, in_view: bool = False) -> ImageSource:
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
    if layout.slice_axes and image.axis_labels[layout.slice_axes[-1]] not in TIME:
        layout = with_slice_distance(layout, layout.slice_axes[-1], spacing_of(image))
    point = np.delete(index_of(viewer, image), [] if channel is None or image.rgb else [channel])
    region = _region_in_view(image, rows, columns) if in_view else None
    return ImageSource(image.name, array, layout, plane_at(layout, point), region)


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


def plane_at(layout: SliceLayout, point: Sequence[int] | NDArray[np.intp]) -> int:
    """Return the number of the plane nearest to a pixel index in the mask's axes."""
    axes = _slice_axes(layout)
    sizes = [layout.mask_shape[axis] for axis in axes]
    return int(np.ravel_multi_index([point[axis] for axis in axes], sizes, mode="clip")) if axes else 0


def plane_on_screen(viewer: ViewerModel, mask: Labels, layout: SliceLayout) -> int | None:
    """Return the plane of the layout that the viewer shows; None when it shows other axes (rolled, or 3D)."""
    missing = viewer.dims.ndim - mask.ndim
    hidden = [axis for axis in range(mask.ndim) if axis + missing not in viewer.dims.displayed]
    return plane_at(layout, index_of(viewer, mask)) if hidden == _slice_axes(layout) else None


def _slice_axes(layout: SliceLayout) -> list[int]:
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


def coarser_shapes(image: Image, layout: SliceLayout) -> list[tuple[int, ...]]:
    """Return the shapes of an image's coarser levels, without the channel axis."""
    if not image.multiscale:
        return []
    kept = [axis for axis in range(len(layout.shape)) if axis != layout.channel]
    return [tuple(int(level.shape[axis]) for axis in kept) for level in image.data[1:]]


def middle_of_view(image: Image, layout: SliceLayout) -> tuple[int, int]:
    """Return the row and column of a plane in the middle of what the canvas shows, or of the plane."""
    try:
        parts = _region_in_view(image, layout.rows, layout.columns)
    except ScanError:
        parts = (slice(0, layout.plane_shape[0]), slice(0, layout.plane_shape[1]))
    return (parts[0].start + parts[0].stop) // 2, (parts[1].start + parts[1].stop) // 2
