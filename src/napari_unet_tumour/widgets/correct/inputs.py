"""What the person has chosen in the Correct and fine-tune widget: image, mask, model, budget; remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet_tumour.models import registry
from napari_unet_tumour.postprocess.enhancing_part import has_enhancing_part
from napari_unet_tumour.settings import WHOLE, FinetuneSettings, SegmentSettings
from napari_unet_tumour.widgets.common.run_on import THERE
from napari_unet_tumour.widgets.common.settings_form import fill, remember, remembered, remembered_part
from napari_unet_tumour.widgets.correct.case import masks_for
from napari_unet_tumour.widgets.layers import image_source, labels, placement
from napari_unet_tumour.widgets.layers.channel_picker import ChannelPicker
from napari_unet_tumour.widgets.layers.world import grid_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.widgets.correct.view import CorrectView
    from napari_unet_tumour.widgets.layers.image_source import ImageSource

PART = "correct"
# The settings that decide what a mask shows.
MASKING = (
    "threshold", "min_object_size", "smallest", "flip_tta", "keep_largest", "remove_isolated", "check_components",
    "part",
)  # fmt: skip


class CorrectInputs:
    """Reads and fills the pickers of a panel."""

    def __init__(self, viewer: ViewerModel, panel: CorrectView) -> None:
        self._viewer, self._panel = viewer, panel
        self._entries: list[ModelEntry] = []
        self._labels: list[tuple[str, int]] = []
        self.channels = ChannelPicker(viewer, panel.channels)
        self._source: tuple[tuple[Any, ...], list[Any], ImageSource] | None = None
        # As functions, since magicgui asks again whenever the widget is docked or a layer comes or goes.
        panel.image.choices, panel.mask.choices, panel.model.choices = self._images, self._masks, self._models
        panel.paint.choices = lambda picker: self._labels
        self._recall()
        self.list_models()

    @property
    def image(self) -> Image | None:
        """The chosen image layer."""
        value: Image | None = self._panel.image.value
        return value

    @property
    def mask(self) -> Labels | None:
        """The chosen mask layer."""
        value: Labels | None = self._panel.mask.value
        return value

    @property
    def entry(self) -> ModelEntry | None:
        """The chosen model."""
        value: ModelEntry | None = self._panel.model.value
        return value

    @property
    def carries(self) -> bool:
        """Whether reviewed slices are carried to their neighbours."""
        return bool(self._panel.carry.value)

    @property
    def label(self) -> int:
        """What the brush draws."""
        return int(self._panel.paint.value or 1)

    @property
    def hints(self) -> bool:
        """Whether a drag in Click mode is a scribble of hints."""
        return bool(self._panel.hint.value)

    @property
    def settings(self) -> FinetuneSettings:
        """What the form says."""
        return FinetuneSettings(seconds=float(self._panel.seconds.value), device=self._panel.run_on.device)

    @property
    def scheduler(self) -> str:
        """Address of the chosen cluster; "" for this computer."""
        return self._panel.run_on.scheduler

    def segmenting(self) -> SegmentSettings:
        """Return threshold and so on as the mask was made with, else as the model recommends."""
        spec, note = None if self.entry is None else self.entry.spec, {}
        if self.mask is not None:
            note = self.mask.metadata.get(image_source.KEY, {}).get("settings", {})
        given: dict[str, Any] = {} if spec is None else spec.defaults
        known = {name: note[name] for name in MASKING if name in note}
        if self.entry is not None and "part" not in known:
            known["part"] = remembered_part(self.entry)
        if spec is not None and not has_enhancing_part(spec):
            known["part"] = WHOLE
        return SegmentSettings(**{**given, **known, "device": self._panel.run_on.device})

    def remember(self) -> None:
        """Keep the choices for the next session."""
        place = self._panel.run_on
        facts = {"device": place.device, "place": place.value, "address": str(place.address.value)}
        remember(PART, {"seconds": self._panel.seconds.value, **facts})

    def _recall(self) -> None:
        """Take what the last session left; the place is that of Segment until another one is chosen here."""
        panel, kept = self._panel, remembered(PART)
        fill({"seconds": panel.seconds, "device": panel.device}, kept)
        place = kept if "place" in kept else remembered("segment")
        fill({"address": panel.run_on.address}, {"address": str(place.get("address", ""))})
        if place.get("place") == THERE:
            panel.run_on.value = THERE

    def list_models(self, chosen: ModelEntry | None = None) -> None:
        """Offer the installed models; the default is chosen where nothing else is."""
        before = chosen or self.entry
        self._entries = registry.entries()
        self._panel.model.reset_choices()
        hashes = [one.hash for one in self._entries]
        if before is not None and before.hash in hashes:
            self._panel.model.value = self._entries[hashes.index(before.hash)]

    def choose_model(self, mark: str) -> None:
        """Choose the model with this hash, if it is still installed."""
        found = next((one for one in self._entries if one.hash == mark), None)
        if found is not None:
            self._panel.model.value = found

    def list_images(self) -> None:
        """Offer the viewer's image layers, and keep the chosen one."""
        self._panel.image.reset_choices()

    def list_masks(self, anew: bool = False) -> None:
        """Offer the masks, and keep the chosen one; else, or `anew`, choose the one that fits the image best."""
        before, image = None if anew else self.mask, self.image
        self._panel.mask.reset_choices()
        if before is None or before not in self._viewer.layers or not self._may_be_of(image, before):
            before = next(iter(self._fitting()), None)
        self._panel.mask.value = before

    def show_mask(self, mask: Labels | None) -> None:
        """Show the mask that is worked on as the chosen one, where another one was chosen."""
        if mask is not None and self.mask is not None and mask != self.mask:
            self._panel.mask.reset_choices()
            self._panel.mask.value = mask

    def follow(self) -> None:
        """Choose the selected layer."""
        layer = self._viewer.layers.selection.active
        if layer in [value for _, value in self._images(None)]:
            self._panel.image.value = layer
        elif layer is not None and layer in self._panel.mask.choices:
            image = labels.image_of(self._viewer, layer)
            if image is not None:
                self._panel.image.value = image
            if layer in self._fitting() and (self.mask is None or self._is_ours(layer)):
                self._panel.mask.value = layer

    def _is_ours(self, mask: Labels) -> bool:
        """Tell whether a mask was made here: another one is written into only if the person picks it under Mask."""
        return self.image is not None and mask is labels.own_mask(self._viewer, self.image)

    def source(self, image: Image, spec: ModelSpec) -> ImageSource:
        """Return what the model reads of an image, the very same until a layer or the axes change; raises ScanError."""
        self.channels.offer(self.entry, self.image)
        chosen = self.channels.chosen
        arrays = [image.data, *(layer.data for layer in chosen.values())]
        key = (image, spec.channels, tuple(chosen), tuple(map(id, arrays)), tuple(self._viewer.dims.order[-2:]))
        if self._source is None or self._source[0] != key:
            self._source = (key, arrays, self.channels.source(image, spec, False))  # the arrays keep their ids
        return self._source[2]

    def offer_labels(self, names: Sequence[tuple[str, int]]) -> None:
        """Offer what the brush can draw."""
        if list(names) != self._labels:
            paint, value = self._panel.paint, self._panel.paint.value
            with paint.changed.blocked():  # nobody has taken up the brush
                # Emptied first, else a name that stays keeps its place and new ones come last.
                for self._labels in ([], list(names)):
                    paint.reset_choices()
                if value in paint.choices:
                    paint.value = value

    def _fitting(self) -> list[Labels]:
        image = self.image
        if image is None:
            return []
        found = masks_for(self._viewer, image)
        alike = (mask for mask in found if tuple(mask.data.shape) in _shapes(image) and self._may_be_of(image, mask))
        return [mask for mask in alike if placement.overlaps(mask, image, None if mask.ndim == image.ndim else 0)]

    def _may_be_of(self, image: Image | None, mask: Labels) -> bool:
        return labels.image_of(self._viewer, mask) in (None, image)

    def _images(self, picker: Any) -> list[tuple[str, Image]]:
        return [(layer.name, layer) for layer in image_source.images(self._viewer)]

    def _masks(self, picker: Any) -> list[tuple[str, Labels]]:
        image = self.image
        found = [] if image is None else masks_for(self._viewer, image)
        return [(layer.name, layer) for layer in found]

    def _models(self, picker: Any) -> list[tuple[str, ModelEntry]]:
        return [(f"{one.name} (default)" if n == 0 else one.name, one) for n, one in enumerate(self._entries)]


def _shapes(image: Image) -> set[tuple[int, ...]]:
    shape = grid_shape(image)
    return {shape, shape[1:]} if len(shape) > 2 else {shape}
