"""What is corrected: the slices of a volume, or several flat images as slices of one case."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.corrections.holdout import place_of
from napari_unet_tumour.errors import ScanError, UNetTumourError
from napari_unet_tumour.widgets.layers import image_source, labels, placement
from napari_unet_tumour.widgets.layers.label_values import Values, values_of
from napari_unet_tumour.widgets.layers.predictions import PREDICTIONS
from napari_unet_tumour.widgets.layers.world import affine_of, axes_of, grid_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.widgets.layers.image_source import ImageSource
    from napari_unet_tumour.widgets.layers.predictions import PredictionCache


class LazyMaskError(ScanError):
    """A mask is read from disk piece by piece, or computed: it cannot be drawn on."""

    def __init__(self, mask: Labels) -> None:
        super().__init__(f"the mask '{mask.name}' is not in memory, so nothing can be drawn on it: press Copy below")
        self.mask = mask


@dataclass(eq=False)
class CasePart:
    """An image layer, the mask that is corrected on it, and where its slices stand in the case.

    Parameters
    ----------
    array : array
        What the model reads, possibly lazy: the image's pixels, or those of several layers.
    data : array
        The image layer's own data.
    mask : napari.layers.Labels, optional
        None where nothing was drawn yet.
    first : int
        Number of its first slice.
    scan : str
        Under which name its corrections are kept, "" until it is known: its content id, with a number behind it where
        another layer of the window has the same pixels.
    content : str
        Content id, "" until it is known.
    """

    image: Image
    array: Any
    layout: SliceLayout
    mask: Labels | None
    data: Any = None
    first: int = 0
    scan: str = ""
    content: str = ""

    @property
    def whole(self) -> bool:
        """Whether the mask layer is there and has the image's shape."""
        return self.mask is not None and tuple(self.mask.data.shape) == self.layout.mask_shape

    @property
    def cache(self) -> PredictionCache | None:
        """What is known of the mask, where its planes are counted as those of the part."""
        found = None if self.mask is None else PREDICTIONS.get(self.mask)
        return found if found is not None and found.layout == self.layout else None

    @property
    def person(self) -> str:
        """Whose scan it is where its file says so (an id, never a name), else ""."""
        return str(self.image.metadata.get(image_source.KEY, {}).get("person", ""))

    def place(self) -> list[float]:
        """Return where its planes lie, see `corrections.holdout.place_of`."""
        affine, axes, units = self._geometry()
        return place_of(affine, axes, units, self.layout)

    def pixel_mm(self) -> float | None:
        """Return the side of a plane's pixels in mm; None where it is not known, or they are not square."""
        affine, axes, units = self._geometry()
        space = [letter for letter in axes if letter in "zyx"]
        shown = [axes[n] for n, at in enumerate(self.layout.index(0)) if isinstance(at, slice)]
        if units != "mm" or not set(shown) <= set(space):
            return None
        sides = [float(np.linalg.norm(affine[:-1, space.index(letter)])) for letter in shown]
        return sides[0] if np.allclose(sides, sides[0], rtol=1e-3) else None

    def _geometry(self) -> tuple[NDArray[np.float64], str, str]:
        """Return the affine of the spatial axes, a letter per axis of the mask, and the unit."""
        axes = axes_of(self.image)
        affine, units = affine_of(self.image, axes)
        if self.image.ndim > len(self.layout.mask_shape):
            axes = axes[: self.layout.channel] + axes[int(self.layout.channel or 0) + 1 :]
        return affine, axes, units

    def read(self, plane: int) -> NDArray[Any]:
        """Return the grey values (C, H, W) of a plane; of a lazy layer only these are read."""
        taken: NDArray[Any] = self.layout.read_planes(self.array, [plane])[0]
        return taken

    def pixels(self, plane: int) -> NDArray[Any]:
        """Return a view (H, W) of a plane of the mask; zeros where there is no mask."""
        if self.mask is None or not self.whole:
            return np.zeros(self.layout.plane_shape, np.uint8)
        return labels.pixels(self.mask, self.layout, plane)


class CorrectionCase:
    """One volume, or the flat images of a viewer.

    Parameters
    ----------
    parts : list of Part
        In the order of their slices.
    """

    def __init__(self, parts: list[CasePart]) -> None:
        self.parts = parts
        self._slices = [(part, plane) for part in parts for plane in range(part.layout.planes)]
        for part in parts:
            part.first = next(n for n, (one, _) in enumerate(self._slices) if one is part)

    def __len__(self) -> int:
        return len(self._slices)

    def where(self, number: int) -> tuple[CasePart, int]:
        """Return the part of a slice and its plane there."""
        return self._slices[number]

    def layers(self) -> list[Any]:
        """Return the layers without which the case makes no sense."""
        return [layer for part in self.parts for layer in (part.image, part.mask) if layer is not None]

    def masks(self) -> list[Labels]:
        """Return the mask layers that are there."""
        return [part.mask for part in self.parts if part.mask is not None]

    def is_in(self, viewer: ViewerModel) -> bool:
        """Tell whether all of its layers are still there."""
        return all(layer in viewer.layers for layer in self.layers())

    def pixels(self, number: int) -> NDArray[Any]:
        """Return a view (H, W) of a slice of the mask."""
        part, plane = self.where(number)
        return part.pixels(plane)

    def image(self, number: int) -> NDArray[Any]:
        """Return the grey values (C, H, W) of a slice; of a lazy layer only these are read."""
        part, plane = self.where(number)
        return part.read(plane)

    def on_screen(self, viewer: ViewerModel) -> int | None:
        """Return the slice that the viewer shows, None when it shows something else."""
        part = self._part_on_screen(viewer)
        if part is None:
            return None
        shown = {image_source.plane_on_screen(viewer, layer, part.layout) for layer in (part.image, part.mask) if layer}
        plane = shown.pop()
        # A mask that lies elsewhere than its image shows another slice: neither is the one on screen.
        return None if plane is None or shown else part.first + plane

    def _part_on_screen(self, viewer: ViewerModel) -> CasePart | None:
        active = viewer.layers.selection.active
        for part in self.parts:
            if active is not None and active in (part.image, part.mask):
                return part
        shown = [part for part in self.parts if part.image.visible]
        return shown[-1] if shown else None

    def go(self, viewer: ViewerModel, number: int) -> None:
        """Bring a slice on screen."""
        part, plane = self.where(number)
        if len(self.parts) > 1:
            for one in self.parts:
                for layer in (one.image, one.mask):
                    if layer is not None:
                        layer.visible = one is part
            viewer.layers.selection.active = part.mask or part.image
        layer = part.mask or part.image
        index = [float(at) if isinstance(at, int) else 0.0 for at in part.layout.index(plane)]
        if layer is part.image and part.image.ndim != len(part.layout.mask_shape):  # its channels are an axis of it
            index.insert(int(part.layout.channel or 0), 0.0)
        _turn(viewer, layer, [i for i, at in enumerate(part.layout.index(plane)) if isinstance(at, slice)], part)
        place = image_source.slider_point(viewer, layer, index)
        viewer.dims.set_point(list(place), list(place.values()))

    def write(self, viewer: ViewerModel, changes: dict[int, NDArray[np.uint8]]) -> bool:
        """Set slices of one part (H, W) as one undoable step; True where anything changed."""
        part = self.where(next(iter(changes)))[0]
        if part.mask is None or not part.whole:
            return False
        at, values = [], []
        for number, new in changes.items():
            plane = self.where(number)[1]
            changed = part.pixels(plane) != new
            at.append(labels.where(part.layout, plane, None, changed))
            values.append(new[changed])
        together = tuple(np.concatenate(axis) for axis in zip(*at, strict=True))
        return labels.write(viewer, part.mask, together, np.concatenate(values))


def _turn(viewer: ViewerModel, layer: Any, across: list[int], part: CasePart) -> None:
    """Show the planes that the slices are counted by, if the person has rolled the axes or shows 3D."""
    if viewer.dims.ndisplay != 2:
        viewer.dims.ndisplay = 2
    missing = viewer.dims.ndim - layer.ndim
    shown = across if part.layout.rows < part.layout.columns else across[::-1]
    wanted = [axis + missing for axis in shown]
    if layer is part.mask and tuple(viewer.dims.order[-2:]) != tuple(wanted):
        viewer.dims.order = (*(axis for axis in viewer.dims.order if axis not in wanted), *wanted)


def case_of(
    viewer: ViewerModel, image: Image, mask: Labels | None, spec: ModelSpec, source: ImageSource
) -> CorrectionCase:
    """Return the case that an image and a mask belong to.

    Parameters
    ----------
    source : Source
        What the model reads of the image: its own pixels, or several layers as channels.

    Raises
    ------
    ScanError
        The mask does not overlap the image; where it lies on another grid a copy on the image's grid is opened.
    """
    if mask is not None and isinstance(mask.data, np.ndarray):
        with suppress(placement.OtherShapeError):  # `_check` says what to do here
            mask = placement.on_image(viewer, mask, image, source.layout)
    part = _part(image, mask, source)
    flat = list(_flat_parts(viewer, part, spec)) if part.layout.planes == 1 else []
    return CorrectionCase(flat if len(flat) > 1 else [part])


def _part(image: Image, mask: Labels | None, source: ImageSource) -> CasePart:
    part = CasePart(image, source.array, source.layout, mask, image.data)
    if mask is not None:
        _check(mask, part)
        if np.iinfo(mask.data.dtype).max < UNSURE:
            mask.data = mask.data.astype(np.uint8 if mask.data.min(initial=0) >= 0 else np.int16)
        if values_of(mask) is Values.UNSURE:
            labels.show_unsure(mask, UNSURE)
    return part


def _check(mask: Labels, part: CasePart) -> None:
    if not isinstance(mask.data, np.ndarray):
        raise LazyMaskError(mask)
    if not part.whole:
        has, needs = (" x ".join(map(str, shape)) for shape in (mask.data.shape, part.layout.mask_shape))
        raise ScanError(
            f"the mask '{mask.name}' has {has} pixels, the image '{part.image.name}' has {needs}: "
            "choose the mask of this image"
        )


def _flat_parts(viewer: ViewerModel, chosen: CasePart, spec: ModelSpec) -> Iterator[CasePart]:
    """Yield every flat image that the model takes, each with its own mask."""
    for image in image_source.images(viewer):
        if image is chosen.image:
            yield chosen
            continue
        try:
            part = _part(image, labels.own_mask(viewer, image), image_source.source_of(viewer, image, spec))
        except UNetTumourError:
            continue
        if part.layout.planes == 1:
            yield part


def masks_for(viewer: ViewerModel, image: Image) -> list[Labels]:
    """Return the Labels layers to choose from: the image's own mask first, then those of its shape, then the others."""
    from napari.layers import Labels

    own, shape = labels.own_mask(viewer, image), grid_shape(image)
    every = [layer for layer in viewer.layers if isinstance(layer, Labels)]
    return sorted(every, key=lambda one: (one is not own, tuple(one.data.shape) != shape))
