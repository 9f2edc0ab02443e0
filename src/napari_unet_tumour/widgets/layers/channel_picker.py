"""Which layer is which channel of the model: rows of pickers, shown only where one layer alone does not do."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.models.spec import ZEROS
from napari_unet_tumour.scans.channels import combine
from napari_unet_tumour.scans.mr_sequences import guess
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.widgets.common.settings_form import remember, remembered
from napari_unet_tumour.widgets.common.style import picker, row
from napari_unet_tumour.widgets.layers import image_source
from napari_unet_tumour.widgets.layers.world import affine_of, axes_of, pixels_of

if TYPE_CHECKING:
    from magicgui.widgets import ComboBox, Container, Widget
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.widgets.layers.image_source import ImageSource

PART = "channels"


class ChannelPicker:
    """One picker a channel of the chosen model.

    What the person chose is kept by layer name for the next session; else names are guessed ("t1ce", "flair").

    Parameters
    ----------
    viewer : napari viewer
        Its image layers are offered.
    box : magicgui Container
        Where the rows go; hidden while they are not needed.
    """

    def __init__(self, viewer: ViewerModel, box: Container[Widget]) -> None:
        self._viewer = viewer
        self._box = box
        self._pickers: dict[str, ComboBox] = {}
        self._last: dict[str, Image | None] = {}
        self._model = ""
        self._set_by_person: set[str] = set()
        self._filling = False
        box.visible = False

    def offer(self, entry: ModelEntry | None, image: Image | None) -> None:
        """Show the rows that a model needs for an image, and fill in what is known or can be guessed."""
        spec = None if entry is None else entry.spec
        if spec is None or spec.in_channels == 1 or spec.channels == image_source.COLOURS or _alone(image, spec):
            self._box.visible = False
            return
        self._filling = True
        try:
            self._make_rows(spec)
            self._fill(spec)
        finally:
            self._filling = False
        self._box.visible = True

    @property
    def chosen(self) -> dict[str, Image]:
        """The chosen layers by channel."""
        return {name: box.value for name, box in self._pickers.items() if box.value is not None}

    def source(self, image: Image, spec: ModelSpec, in_view: bool) -> ImageSource:
        """Freeze what a run reads: the image alone where it fits, else the chosen layers on its grid.

        Raises
        ------
        ScanError, ModelError
            A channel is missing, or layers do not lie together; says which and what to do.
        """
        if spec.in_channels == 1 or spec.channels == image_source.COLOURS or _alone(image, spec):
            return image_source.source_of(self._viewer, image, spec, in_view)
        if image.rgb:
            raise ModelError(image_source.misfit(spec, image.name, "colours"))
        plain = image_source.source_of(self._viewer, image, replace(spec, channels=("grey",)), in_view)
        given = {name: _scan_of(layer) for name, layer in self.chosen.items()}
        whole = combine(given, spec, _scan_of(image), plain.layout.slice_axes)
        names = {name: layer.name for name, layer in self.chosen.items()}
        return replace(plain, array=whole.array, layout=plain.layout.with_channels(spec.in_channels), channels=names)

    def files(self, image: Image) -> dict[str, str]:
        """Return the file of each chosen layer by channel, "" where it has none; the image's own first."""
        inputs = sorted(self.chosen.items(), key=lambda item: item[1] != image)
        return {name: str(layer.source.path or "") for name, layer in inputs}

    def _make_rows(self, spec: ModelSpec) -> None:
        key = f"{spec.name}: {', '.join(spec.channels)}"
        if key == self._model:
            for box in self._pickers.values():
                box.reset_choices()
            return
        self._model, self._set_by_person, self._last = key, set(), {}
        gone = list(self._box)
        self._box.clear()
        for one in gone:  # Qt would keep them as windows of their own
            one.native.deleteLater()
        self._pickers = {name: self._picker(name, spec) for name in spec.channels}
        self._box.extend([row(box) for box in self._pickers.values()])

    def _picker(self, name: str, spec: ModelSpec) -> ComboBox:
        tip = f"The layer that is {name}. On another grid than the image it is resampled to it by its place."
        box = picker(name, tip)
        box.choices = partial(self._offered, _without(name, spec))
        box.changed.connect(lambda: self._on_choice(name))
        return box

    def _offered(self, nothing: str, picker: Any) -> list[tuple[str, Image | None]]:
        # A function, since magicgui asks again whenever the widget is docked or a layer comes or goes.
        grey = [layer for layer in image_source.images(self._viewer) if not layer.rgb]
        return [(nothing, None), *((layer.name, layer) for layer in grey)]

    def _fill(self, spec: ModelSpec) -> None:
        layers = {layer.name: layer for layer in image_source.images(self._viewer) if not layer.rgb}
        kept = remembered(PART).get(self._model, {})
        kept = kept if isinstance(kept, dict) else {}
        likely = {**guess(spec.channels, layers), **{name: kept[name] for name in kept if kept[name] in layers}}
        for name, box in self._pickers.items():
            if name not in self._set_by_person and name in likely:
                box.value = layers[likely[name]]

    def _on_choice(self, name: str) -> None:
        before, now = self._last.get(name), self._pickers[name].value
        self._last[name] = now
        gone = now is None and before is not None and before not in self._viewer.layers
        if self._filling or gone:  # a layer that was closed is no choice: what is remembered stays
            return
        self._set_by_person.add(name)
        names = {channel: layer.name for channel, layer in self.chosen.items()}
        remember(PART, {**remembered(PART), self._model: names})


def _alone(image: Image | None, spec: ModelSpec) -> bool:
    """Tell whether an image has all the channels of a model in itself."""
    try:
        return image is not None and image_source.channel_axis(image, spec) is not None
    except ModelError:
        return False


def _without(name: str, spec: ModelSpec) -> str:
    """Return what a picker shows while no layer is chosen."""
    source = spec.channel_fallbacks.get(name)
    if source is None:
        return "choose a layer"
    return "none: zeros" if source == ZEROS else f"none: {source} stands in"


def _scan_of(layer: Image) -> Scan:
    """Return the layer's pixels with their place in the world."""
    axes = axes_of(layer)
    affine, units = affine_of(layer, axes)
    return Scan(pixels_of(layer), axes, affine, units, layer.name)
