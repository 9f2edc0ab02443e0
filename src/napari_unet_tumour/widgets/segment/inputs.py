"""What the person has chosen in the Segment widget: layer, model, slices, settings; remembered between sessions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.errors import ModelError, ScanError, UNetTumourError
from napari_unet_tumour.models import registry
from napari_unet_tumour.postprocess.enhancing_part import has_enhancing_part
from napari_unet_tumour.settings import WHOLE, SegmentSettings
from napari_unet_tumour.widgets.common.settings_form import fill, plain, remember, remembered, settings_in
from napari_unet_tumour.widgets.layers import image_source, labels
from napari_unet_tumour.widgets.layers.channel_picker import ChannelPicker
from napari_unet_tumour.widgets.segment.view import THERE, SegmentView

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.widgets.layers.image_source import ImageSource

PART = "segment"


class SegmentInputs:
    """Reads and fills the pickers of a panel."""

    def __init__(self, viewer: ViewerModel, panel: SegmentView) -> None:
        self._viewer = viewer
        self._panel = panel
        self._entries: list[ModelEntry] = []
        self.channels = ChannelPicker(viewer, panel.channels)
        # As functions, since magicgui asks again whenever the widget is docked or a layer comes or goes.
        panel.image.choices, panel.model.choices = self._named_images, self._named_models
        self.list_models()
        self._recall()
        self.list_images()
        self.follow()
        for picker in (panel.image, panel.model):
            picker.changed.connect(self._offer_channels)
        self._offer_channels()

    @property
    def settings(self) -> SegmentSettings:
        """What the form says."""
        form = {**self._panel.form}
        del form["device"]
        settings = replace(settings_in(form, SegmentSettings), device=self._panel.place.device)
        offered = self.entry is not None and has_enhancing_part(self.entry.spec)
        return settings if offered else replace(settings, part=WHOLE)

    @property
    def image(self) -> Image | None:
        """The chosen image layer."""
        value: Image | None = self._panel.image.value
        return value

    @property
    def entry(self) -> ModelEntry | None:
        """The chosen model."""
        value: ModelEntry | None = self._panel.model.value
        return value

    @property
    def scheduler(self) -> str:
        """Address of the chosen cluster; "" for this computer."""
        return self._panel.place.scheduler

    def made(self) -> tuple[Image, ModelEntry, ImageSource]:
        """Return layer, model and what a run reads; raises UNetTumourError with what is missing."""
        if self.image is None:
            raise ScanError("There is no image layer: open a scan, or drag one into the window")
        if self.entry is None:
            raise ModelError("There is no model: choose a model file with 'File…'")
        if self._panel.place.on_cluster and not self.scheduler:
            raise UNetTumourError(
                "There is no address of the cluster: type it below 'Run on', or choose a device of this computer"
            )
        in_view = self._panel.scope.value == "view"
        source = self.channels.source(self.image, self.entry.spec, in_view)
        if self._panel.scope.value == "this" and not source.on_screen:
            raise ScanError(image_source.not_on_screen(self.image.name))
        return self.image, self.entry, source

    def planes(self, source: ImageSource) -> list[int]:
        """Return which planes are to be segmented."""
        return list(range(source.layout.planes)) if self._panel.scope.value == "all" else [source.plane]

    def list_images(self) -> None:
        """Offer the viewer's image layers, and keep the chosen one."""
        self._panel.image.reset_choices()
        self._offer_channels()

    def follow(self) -> None:
        """Choose the selected layer, or the image that a selected mask of ours belongs to."""
        layer = self._viewer.layers.selection.active
        image = layer if layer in self._panel.image.choices else None
        if layer is not None and image is None:
            image = labels.image_of(self._viewer, layer)
        if image is not None:
            self._panel.image.value = image

    def list_models(self) -> None:
        """Offer the installed models."""
        self._entries = registry.entries()
        self._offer(self._entries[0] if self._entries else None)

    def take_model(self, entry: ModelEntry) -> None:
        """Choose a model that has become the default, e.g. a version that was just accepted."""
        self._entries = registry.entries()
        self._offer(next((one for one in self._entries if one.hash == entry.hash), None))

    def add_model(self, path: str) -> None:
        """Offer and choose a model file; raises ModelError."""
        found = registry.find(path)
        self._entries = [one for one in self._entries if one.path != found.path] + [found]
        self._offer(found)

    def take_defaults(self) -> None:
        """Set threshold, smallest object and so on as the chosen model recommends."""
        if self.entry is not None:
            fill(self._panel.form, self.entry.spec.defaults)

    def remember(self) -> None:
        """Keep the choices for the next session."""
        model = "" if self.entry is None else str(self.entry.path)
        panel = self._panel
        places = {"scope": panel.scope.value, "place": panel.place.value, "address": panel.address.value}
        remember(PART, {"settings": plain(self.settings), "model": model, "default": self._default(), **places})

    def _default(self) -> str:
        return self._entries[0].hash if self._entries else ""

    def _recall(self) -> None:
        kept: dict[str, Any] = remembered(PART)
        known = {str(one.path): one for one in self._entries}
        if kept.get("model") in known and kept.get("default", self._default()) == self._default():
            self._panel.model.value = known[kept["model"]]
        self.take_defaults()
        if kept.get("model") in known and isinstance(kept.get("settings"), dict):
            fill(self._panel.form, kept["settings"])
        pickers = {"scope": self._panel.scope, "address": self._panel.address}
        fill(pickers, {name: kept[name] for name in pickers if isinstance(kept.get(name), str)})
        if kept.get("place") == THERE:
            self._panel.place.value = THERE

    def _offer_channels(self) -> None:
        self.channels.offer(self.entry, self.image)

    def _offer(self, chosen: ModelEntry | None) -> None:
        self._panel.model.reset_choices()
        if chosen is not None:
            self._panel.model.value = chosen

    def _named_images(self, picker: Any) -> list[tuple[str, Image]]:
        return [(layer.name, layer) for layer in image_source.images(self._viewer)]

    def _named_models(self, picker: Any) -> list[tuple[str, ModelEntry]]:
        names = [one.name for one in self._entries]
        return [(e.name if names.count(e.name) == 1 else f"{e.name} ({e.hash})", e) for e in self._entries]
