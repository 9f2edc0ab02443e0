"""The layers of the open case: added, found again, saved and removed; every other layer is left alone."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour import scans
from napari_unet_tumour.base.labels import UNSURE
from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.errors import ModelError, OutputError, UNetTumourError
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.postprocess.enhancing_part import NAME
from napari_unet_tumour.settings import ENHANCING, WHOLE
from napari_unet_tumour.widgets.layers import drawn_pixels, image_source, labels
from napari_unet_tumour.widgets.layers.geometry import scan_of
from napari_unet_tumour.widgets.layers.image_source import KEY
from napari_unet_tumour.widgets.layers.world import axes_of
from napari_unet_tumour.widgets.readers_writers import acquired_order, layers_from, show_as_acquired

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import napari
    from napari.layers import Image, Labels, Layer
    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.scans.scan import Scan
    from napari_unet_tumour.widgets.worklist.loading import LoadedCase

# Layers that panels make to show something; they hold nothing of a person's.
MADE_TO_SHOW = ("difference", "diameters")


class OpenCase:
    """The case that is open in a viewer.

    Parameters
    ----------
    viewer : napari.Viewer
        Gets the layers.
    loaded : LoadedCase
        What is shown.
    closed : sequence of napari.layers.Layer
        Hidden layers of the scan before, which will be removed.
    """

    def __init__(self, viewer: napari.Viewer, loaded: LoadedCase, closed: Sequence[Layer] = ()) -> None:
        self.key, self.loaded = loaded.key, loaded
        self._viewer, self._names = viewer, label_names()
        # By their ids: the layers themselves would keep a closed scan in memory.
        self._before = {layer.unique_id for layer in viewer.layers}
        alone = all(layer in closed for layer in viewer.layers)
        order = acquired_order(loaded.images[0]) if alone else None
        if not viewer.layers:
            show_as_acquired(loaded.images[0])
        for data, about, kind in (one for scan in loaded.images for one in layers_from(scan)):
            getattr(viewer, f"add_{kind}")(data, **about)
        if order is not None and viewer.dims.ndim == len(order) and viewer.dims.order != order:
            viewer.dims.order = order
        # What the viewer hands out otherwise is a wrapper without the parts that `layers` needs.
        self._added = [layer for layer in viewer.layers if layer.unique_id not in self._before]
        self.image: Image | None = next((one for one in self._added if one in image_source.images(viewer)), None)
        self._mask: Labels | None = None
        self._saved = 0
        if loaded.mask is not None:
            self.show_mask(loaded.mask, drawn=loaded.mask_file is not None and not _is_network(loaded.mask_file))

    @property
    def mask(self) -> Labels | None:
        """The case's mask: the one that the list or Segment has added, else the topmost one that fits the image."""
        if self.image is None:
            return None
        own = labels.own_mask(self._viewer, self.image)
        if own is not None:
            return own
        if self._mask is not None and self._mask in self._viewer.layers:
            return self._mask
        return self._drawn_by_hand()

    @property
    def changed(self) -> bool:
        """Whether the mask differs from what was last shown, saved or noted."""
        mask = self.mask
        if mask is None or (not self._saved and not np.any(mask.data)):
            return False
        return _checksum(mask) != self._saved

    @property
    def is_drawn(self) -> bool:
        """Whether a person had a hand in the mask: not all of it is as the network wrote it."""
        mask, layout = self.mask, self._layout()
        return mask is not None and any(
            drawn_pixels.is_drawn(mask, layout, n) or drawn_pixels.is_erased(mask, layout, n)
            for n in range(layout.planes)
        )

    def show_mask(self, scan: Scan, drawn: bool) -> Labels | None:
        """Add a mask to the image; `drawn` says that a person had a hand in it."""
        if self.image is None:
            return None
        layout = self._layout()
        if tuple(scan.array.shape) != layout.mask_shape:
            return None
        array = np.asarray(scan.array)
        array = array.astype(np.uint8 if array.max(initial=0) < 256 else np.uint16)
        part = _part_of(scan)
        names = self._names if part != ENHANCING else (self._names[0], NAME)
        mask = labels.add_mask(self._viewer, self.image, layout, names, array)
        if mask.data is not array:
            mask.data = array
        shows = {"settings": {"part": part}} if part else {}
        labels.describe(mask, self.image, labels=list(names), **shows)
        if (array == UNSURE).any() and ((array != 0) & (array != UNSURE)).any():
            labels.show_unsure(mask, UNSURE)
        for n in range(0 if drawn else layout.planes):
            drawn_pixels.note_written(mask, layout, n, None, labels.pixels(mask, layout, n).astype(np.uint8))
        self._mask = mask
        self._saved = _checksum(mask)
        self._show_largest(mask)
        return mask

    def save(self, path: Path) -> Scan | None:
        """Write the mask on its image's grid; raises OutputError. Returns it with its place."""
        mask = self.mask
        if mask is None:
            return None
        array = np.asarray(mask.data)
        kept = scan_of(array, mask.as_layer_data_tuple()[1])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path.parent} cannot be written ({error.strerror}): free some space") from error
        small = array.astype(np.uint8 if array.max(initial=0) < 256 else np.uint16)
        names = mask.metadata.get(KEY, {}).get("labels", self._names)
        scans.write_mask(path, small, kept, tuple(names))
        self._saved = _checksum(mask)
        return _as_mask(labels.without_unsure(small, mask.metadata), kept)

    @property
    def layers(self) -> list[Layer]:
        """The case's layers that are still there, and those that panels have made to show something of it."""
        mask, layers = self.mask, self._viewer.layers
        mine = [one for one in (*self._added, mask) if one is not None and one in layers]
        return mine + [one for one in layers if _shows(one) and one not in mine]

    def _layout(self) -> SliceLayout:
        image = self.image
        assert image is not None
        try:
            return image_source.source_of(self._viewer, image, ModelSpec("", "")).layout
        except UNetTumourError:
            shape = tuple(int(n) for n in image.data.shape)
            return layout_of(shape, axes=axes_of(image), rgb=bool(image.rgb))

    def _drawn_by_hand(self) -> Labels | None:
        """Return the topmost mask that was added since the case was opened and has the image's shape."""
        from napari.layers import Labels

        shape = self._layout().mask_shape
        for layer in reversed(self._viewer.layers):
            later = layer.unique_id not in self._before and not _shows(layer)
            mine = isinstance(layer, Labels) and later and not layer.multiscale
            if mine and tuple(layer.data.shape) == shape:
                return layer
        return None

    def _show_largest(self, mask: Labels) -> None:
        """Go to the slice with the most of the mask, so that the lesion is on screen."""
        hidden = image_source.hidden_axes(self._viewer, mask)
        shown = tuple(axis for axis in range(mask.ndim) if axis not in hidden)
        counts = np.count_nonzero(mask.data, axis=shown)
        if hidden and counts.any():
            at = np.zeros(mask.ndim)
            at[hidden] = np.unravel_index(int(counts.argmax()), counts.shape)
            place = image_source.slider_point(self._viewer, mask, at.tolist())
            self._viewer.dims.set_point(list(place), list(place.values()))


def label_names() -> tuple[str, ...]:
    """Return the names of the labels of the default model, background first."""
    try:
        return tuple(registry.find("default").spec.labels)
    except ModelError:
        return ("background", "tumour")


def _part_of(mask: Scan) -> str:
    """Return which part of the tumour a mask file shows, by the names of its labels; "" where it has none."""
    names = mask.extra.get("names", ())
    return ENHANCING if NAME in names else WHOLE if names else ""


def _shows(layer: Layer) -> bool:
    return bool(set(MADE_TO_SHOW) & layer.metadata.get(KEY, {}).keys())


def _is_network(path: Path) -> bool:
    return path.name.endswith("_network_mask.nii.gz")


def _as_mask(array: NDArray[Any], grid: Scan) -> Scan:
    axes = grid.axes.replace("c", "")
    return replace(grid, array=array, axes=axes)


def _checksum(mask: Labels) -> int:
    return zlib.crc32(np.ascontiguousarray(mask.data).view(np.uint8).data) | 1 << 32
