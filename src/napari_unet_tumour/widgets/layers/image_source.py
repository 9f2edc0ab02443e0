"""Image layers -> plain data: what a run reads, and which plane is on screen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.slicing import SliceLayout, layout_of, with_slice_distance
from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.widgets.layers.world import pixels_of, spacing_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image
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
        The plane on screen, or the nearest to it.
    region : (slice, slice), optional
        Rows and columns to segment; the whole plane when None.
    channels : dict of str to str
        Where several layers make the input: the layer's name by channel of the model.
    on_screen : bool
        Whether `plane` really is on screen: the sliders may be beyond the scan, or the view in 3D.
    """

    name: str
    array: Any
    layout: SliceLayout
    plane: int
    region: Region | None = None
    channels: dict[str, str] = field(default_factory=dict)
    on_screen: bool = True

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
    array = pixels_of(image)
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
    shown = plane_on_screen(viewer, image, layout)
    if in_view and shown is None:
        raise ScanError(not_on_screen(image.name))
    region = _region_in_view(image, rows, columns) if in_view else None
    plane = nearest_plane(viewer, image, layout) if shown is None else shown
    return ImageSource(image.name, array, layout, plane, region, on_screen=shown is not None)


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
    array = pixels_of(image)
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


def shown_at(viewer: ViewerModel, layer: Any) -> NDArray[np.float64]:
    """Return where a layer is sliced, in its own pixels, one number an axis, not clipped; NaN for an axis that shows.

    The very arithmetic of napari, so that a place halfway between two slices is the one that is seen: units that
    differ from the viewer's are converted, and of an oblique layer only the axes that do not show are looked at.
    """
    hidden = hidden_axes(viewer, layer)
    found = np.full(layer.ndim, np.nan)
    if hidden:
        inner = _world_to_data(viewer, layer).set_slice(hidden)
        world = np.array(viewer.dims.point[-layer.ndim :])[hidden]
        found[hidden] = inner(np.stack([world] * 3))[0]
    return found


def hidden_axes(viewer: ViewerModel, layer: Any) -> list[int]:
    """Return the axes of a layer that have sliders."""
    missing = viewer.dims.ndim - layer.ndim
    return [axis for axis in range(layer.ndim) if axis + missing not in viewer.dims.displayed]


def slider_point(viewer: ViewerModel, layer: Any, index: Sequence[float]) -> dict[int, float]:
    """Return where to put which axis of the viewer, so that a layer is sliced at a pixel index of its own.

    Parameters
    ----------
    index : sequence of float
        One number an axis of the layer; those of axes that show are not looked at.

    Returns
    -------
    dict of int to float
        World position by axis of the viewer; empty where no position slices the layer there.
    """
    hidden, missing = hidden_axes(viewer, layer), viewer.dims.ndim - layer.ndim
    if not hidden:
        return {}
    inner = _world_to_data(viewer, layer).set_slice(hidden)
    try:
        world = np.linalg.solve(inner.linear_matrix, np.array([index[axis] for axis in hidden]) - inner.translate)
    except np.linalg.LinAlgError:
        return {}
    return {axis + missing: float(at) for axis, at in zip(hidden, world, strict=True)}


def index_at(viewer: ViewerModel, layer: Any, position: Sequence[float]) -> NDArray[np.float64]:
    """Return a position in the viewer's world as an index of a layer, one number an axis, not rounded or clipped."""
    found: NDArray[np.float64] = np.asarray(_world_to_data(viewer, layer)(np.array(position[-layer.ndim :], float)))
    return found


def _world_to_data(viewer: ViewerModel, layer: Any) -> Any:
    """Return the transform from the viewer's world, in the viewer's units, to a layer's pixels."""
    from napari.utils.transforms import Affine

    inverse = layer._data_to_world.inverse
    units = getattr(viewer.dims, "units", None)  # before napari 0.8 units did not count
    if units is None or len(units) < layer.ndim:
        return inverse
    factors = [_factor(world, own) for world, own in zip(units[-layer.ndim :], layer.units, strict=True)]
    return Affine(ndim=layer.ndim, linear_matrix=inverse.linear_matrix @ np.diag(factors), translate=inverse.translate)


@lru_cache(maxsize=256)
def _factor(world: Any, own: Any) -> float:
    """Return how many of a layer's units one unit of the viewer is; pint takes half a millisecond to say so."""
    from pint import get_application_registry

    registry = get_application_registry()  # type: ignore[no-untyped-call]
    return float(registry.get_base_units(world)[0] / registry.get_base_units(own)[0])


def plane_on_screen(viewer: ViewerModel, layer: Any, layout: SliceLayout) -> int | None:
    """Return the plane of the layout that the viewer shows of an image or of its mask.

    None where it shows none: the sliders are beyond the layer, other axes show (rolled), or all of them do (3D).
    """
    axes, own = _slice_axes(layout), _axes_in(layer, layout)
    if [axis for axis in hidden_axes(viewer, layer) if axis in own] != [own[axis] for axis in axes]:
        return None
    at = np.round(shown_at(viewer, layer)[[own[axis] for axis in axes]])
    sizes = [layout.mask_shape[axis] for axis in axes]
    if not np.isfinite(at).all() or (at < 0).any() or (at >= sizes).any():
        return None
    return int(np.ravel_multi_index([int(n) for n in at], sizes)) if axes else 0


def nearest_plane(viewer: ViewerModel, layer: Any, layout: SliceLayout) -> int:
    """Return the plane nearest to what the sliders say, where none is on screen."""
    axes, own = _slice_axes(layout), _axes_in(layer, layout)
    point = np.round(index_at(viewer, layer, viewer.dims.point))
    at = [int(np.nan_to_num(point[own[axis]])) for axis in axes]
    return int(np.ravel_multi_index(at, [layout.mask_shape[axis] for axis in axes], mode="clip")) if axes else 0


def not_on_screen(name: str) -> str:
    """Say that no slice of a layer is on screen, and what to do."""
    return f"no slice of layer '{name}' is on screen: show it in 2D and move the slider to one of its slices"


def _axes_in(layer: Any, layout: SliceLayout) -> list[int]:
    """Return the axis of the layer for each axis of the mask: the image may have one of channels more."""
    skip = -1 if layer.ndim == len(layout.mask_shape) else int(layout.channel or 0)
    return [axis for axis in range(layer.ndim) if axis != skip]


def _slice_axes(layout: SliceLayout) -> list[int]:
    return [axis for axis, part in enumerate(layout.index(0)) if not isinstance(part, slice)]


def _region_in_view(image: Image, rows: int, columns: int) -> Region:
    level = image.downsample_factors[image.data_level] if image.multiscale else np.ones(image.ndim)
    low, high = image.corner_pixels * level
    shape = pixels_of(image).shape
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
