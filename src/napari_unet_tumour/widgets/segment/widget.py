"""The Segment widget: choose a layer and a model, press Run, see the mask; torch stays in the worker."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QApplication

from napari_unet_tumour import jobs
from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.postprocess.enhancing_part import label_names
from napari_unet_tumour.widgets.common import panels
from napari_unet_tumour.widgets.common.background import Background
from napari_unet_tumour.widgets.common.dock import Panel
from napari_unet_tumour.widgets.common.keys import SEGMENT_KEY
from napari_unet_tumour.widgets.common.main_thread import (
    MainThreadQueue,
    UndockFilter,
    ask_for_model,
    single_shot_timer,
)
from napari_unet_tumour.widgets.common.preload import import_panels
from napari_unet_tumour.widgets.common.settings_form import registry_events
from napari_unet_tumour.widgets.layers import drawn_pixels, image_source, label_values, labels
from napari_unet_tumour.widgets.layers.edits import list_events
from napari_unet_tumour.widgets.layers.mask_writer import MaskWriter, Shown, corrected
from napari_unet_tumour.widgets.segment.cli_command import command_for
from napari_unet_tumour.widgets.segment.inputs import SegmentInputs
from napari_unet_tumour.widgets.segment.progress import RunProgress, slices
from napari_unet_tumour.widgets.segment.run import RunEnded, SegmentRun, model_for
from napari_unet_tumour.widgets.segment.scan_warning import ScanWarning
from napari_unet_tumour.widgets.segment.tiled_run import RefreshThrottle, TiledRun, TileWritten, is_large, new_mask
from napari_unet_tumour.widgets.segment.view import SegmentView

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from napari.layers import Image, Labels

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.widgets.layers.image_source import ImageSource
    from napari_unet_tumour.widgets.layers.predictions import MaskUpdate, PlanePrediction

SHORTCUT = SEGMENT_KEY
REMEMBER_MS = 500


class SegmentWidget(Panel):
    """Dock widget that outlines the tumour in an image layer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer that it is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._panel = SegmentView(SHORTCUT)
        super().__init__(self._panel.rows(), self._panel.actions(), "Segment")
        self._viewer = viewer
        self._inbox = MainThreadQueue(self.native)
        self._masks = MaskWriter(viewer, self._inbox, self._on_settled)
        self._choice = SegmentInputs(viewer, self._panel)
        self._warning = ScanWarning(viewer, self._choice, self._inbox, self._panel.warn)
        self._going: RunProgress | None = None
        self._told: RunProgress | None = None
        self._background = Background(self._inbox.put)
        self._asking = Background(self._inbox.put)
        self._pace = RefreshThrottle()
        self._bound = False
        self._saver = single_shot_timer(self._inbox, REMEMBER_MS, self._choice.remember)
        threading.Thread(target=_prepare, daemon=True).start()
        self.order_tabs()
        self._listen()
        self._prepare_model()
        self._warning.ask()
        self._on_place()
        self._panel.start_view.show(self._choice.image is None)

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._going is not None

    @property
    def settled(self) -> bool:
        """Whether no run is under way and the mask is what all its slices together have decided."""
        return not self.running and not self._masks.deciding

    def segment(self) -> None:
        """Start a run; what is in the way is said in the status line. A run that is under way goes on."""
        if self.running:
            return
        try:
            image, entry, source = self._choice.made()
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)
            return
        planes = self._choice.planes(source)
        self._warning.ask()
        self._panel.question.drop()
        if is_large(source, entry.spec, self._choice.settings):
            self._segment_large(image, entry, source, planes)
            return
        own = labels.own_mask(self._viewer, image)
        if own is not None:
            label_values.settle(own)
        known = corrected(own, source.layout)
        run = SegmentRun(
            source, entry, self._choice.settings, planes, self._choice.scheduler, self._new_report(), known
        )
        erased = drawn_pixels.erased_planes(own, source.layout, source.region)
        self._follow(RunProgress(run, image, self._choice.settings, erased=erased))
        run.start()

    def _follow(self, going: RunProgress) -> None:
        """Show a run from now on, and watch the layers that it reads and writes."""
        self._going = going
        going.others = [one for one in self._choice.channels.chosen.values() if going.run.source.channels]
        for layer in going.layers():
            layer.events.data.connect(self._on_data)
        self._panel.start(going.run.total)

    def _segment_large(self, image: Image, entry: ModelEntry, source: ImageSource, planes: list[int]) -> None:
        settings = self._choice.settings
        if settings.keep_largest:
            self._panel.say("This image is too large to keep only the largest piece: switch that off", wrong=True)
            return
        shapes = image_source.coarser_shapes(image, source.layout)
        mask = new_mask(source, entry.spec, settings, shapes)
        point = image_source.middle_of_view(image, source.layout)
        run = TiledRun(source, entry, settings, planes, self._choice.scheduler, self._new_report(), mask, point)
        names = label_names(entry.spec, settings.part)
        layer = labels.add_mask_on_disk(self._viewer, image, source.layout, mask.levels, names)
        going = RunProgress(run, image, settings, layer)
        labels.describe(layer, image, **going.facts())
        self._pace = RefreshThrottle()
        self._follow(going)
        run.start()

    def cancel(self, why: str = "Cancelled", remedy: str = "") -> None:
        """Stop the run at once; finished slices stay, the others keep what they were."""
        if self._going is not None:
            self._going.run.cancel()
            self._background.cancel()
            self._finish(f"{why}: {self._going.progress_text()} done{remedy}", wrong=bool(remedy))

    def choose_model(self, path: str) -> None:
        """Add a model file to the picker and choose it; the status line says what is wrong with it."""
        try:
            self._choice.add_model(path)
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)

    def open_correct(self) -> None:
        """Open the Correct panel with the chosen image, its mask and the chosen model."""
        image, entry = self._choice.image, self._choice.entry
        mask = None if image is None else labels.own_mask(self._viewer, image)
        if image is not None:
            self._viewer.layers.selection.active = image if mask is None else mask
        correct = panels.open_panel(self._viewer, panels.CORRECT)
        if mask is None and entry is not None:  # else the model that made the mask is chosen
            correct.choose_model(entry)

    def copy_command(self) -> None:
        """Put the command line that does the same on the clipboard."""
        try:
            image, entry, source = self._choice.made()
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)
            return
        files = self._choice.channels.files(image) if source.channels else {"": str(image.source.path or "")}
        text = command_for(files, entry, self._choice.settings, source.layout, self._choice.scheduler)
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(text)
        self._panel.say("Copied." if all(files.values()) else "Copied: put the file's name in place of SCAN.")

    # ---- what happens in the window ------------------------------------------------------------

    def _listen(self) -> None:
        panel, layers = self._panel, self._viewer.layers
        panel.run.changed.connect(lambda: self.cancel() if self.running else self.segment())
        panel.correct.changed.connect(self.open_correct)
        panel.start_view.connect(
            partial(panels.open_scan, self._viewer, self.native, panel.say), partial(panels.open_sample, self._viewer)
        )
        panel.copy.changed.connect(self.copy_command)
        panel.file.changed.connect(self._ask_for_model)
        panel.model.changed.connect(self._on_model)
        for chosen in (panel.image, panel.model):
            chosen.changed.connect(self._warning.ask)
        for widget in (panel.form["device"], panel.address):
            widget.changed.connect(self._on_place)
        for widget in (panel.scope, *panel.form.values()):
            widget.changed.connect(self._on_setting)
        for event in list_events(self._viewer):
            event.connect(self._on_layers)
        layers.selection.events.active.connect(self._on_selection)
        registry_events.chosen.connect(self._choice.take_model)
        self._viewer.dims.events.current_step.connect(self._on_dims)
        with suppress(ValueError):  # the person has bound this key: theirs stays
            self._viewer.bind_key(SHORTCUT, self._on_key)
            self._bound = True
        UndockFilter(self.native, self.close_down)
        self.native.destroyed.connect(self._drop_jobs)

    def _on_key(self, viewer: Any) -> None:
        self.segment()

    def _on_layers(self, event: Any = None) -> None:
        self._choice.list_images()
        self._warning.ask()
        self._panel.start_view.show(self._choice.image is None)
        going = self._going
        if going is not None and any(layer not in self._viewer.layers for layer in going.layers()):
            self.cancel("Stopped, since the layer was removed")

    def _on_data(self, event: Any) -> None:
        """Stop where a layer has got other pixels: what the run brings is of those before."""
        going = self._going
        layer = None if going is None else next((one for one in going.layers() if one is event.source), None)
        if layer is not None:
            self.cancel(f"Stopped, since the pixels of layer '{layer.name}' were replaced", "; press Run again")

    def _on_selection(self, event: Any = None) -> None:
        self._choice.follow()

    def _on_dims(self, event: Any = None) -> None:
        if self._going is not None:
            self._going.look(self._viewer)

    def _ask_for_model(self) -> None:
        path = ask_for_model(self.native)
        if path:
            self.choose_model(path)

    def _on_model(self) -> None:
        self._choice.take_defaults()
        self._prepare_model()

    def _prepare_model(self) -> None:
        entry = self._choice.entry
        self._panel.tell_model(None if entry is None else entry.spec)
        if entry is not None:
            where = self._choice.scheduler or None
            jobs.preload(model_for(entry, where), scheduler=where)

    def _on_setting(self) -> None:
        self._saver.start()
        settings = self._choice.settings
        if self._going is not None:
            # A change of these during a run applies to the next one: all slices of a run use the same setting.
            begun = self._going.settings
            self._going.run.settings = replace(settings, flip_tta=begun.flip_tta, part=begun.part)
        if self._choice.image is not None:
            self._masks.move(self._choice.image, settings)

    def _on_place(self) -> None:
        """Ask the worker what it would run on."""
        panel = self._panel
        panel.found.value = "…"
        self._saver.start()
        device, where = panel.place.device, self._choice.scheduler or None
        self._asking.start(
            lambda task: str(task.ask("describe", device, scheduler=where)), panel.tell_device, self._on_no_device
        )

    def _on_no_device(self, why: str) -> None:
        self._panel.tell_device("not available")
        if not self.running:
            self._panel.say(why, wrong=True)

    # ---- what a run brings -----------------------------------------------------------------------

    def _new_report(self) -> Callable[[SegmentRun | TiledRun, PlanePrediction | TileWritten | RunEnded], None]:
        """Return what a new run reports to, in place of the last one."""
        return self._background.open(self._on_news).report

    def _on_news(self, run: SegmentRun | TiledRun, news: PlanePrediction | TileWritten | RunEnded) -> None:
        going = self._going
        if going is None:
            return
        if isinstance(news, RunEnded):
            self._on_end(going, news)
        elif isinstance(news, TileWritten):
            self._on_written(going, news)
        else:
            self._on_plane(going, news)

    def _on_written(self, going: RunProgress, part: TileWritten) -> None:
        going.mark(part)
        if going.mask is not None:
            self._pace.draw(going.mask.refresh)
        self._panel.bar.max = part.total
        self._panel.tell_progress(part.done, going.pace())

    def _on_plane(self, going: RunProgress, plane: PlanePrediction) -> None:
        layout = going.run.source.layout
        if going.mask is None or going.mask.data.shape != layout.mask_shape:
            going.mask = labels.add_mask(self._viewer, going.image, layout, going.names)
            labels.name_labels(going.mask, going.names)  # the image's own mask may have shown another part
            labels.describe(going.mask, going.image, **going.facts())
            going.mask.events.data.connect(self._on_data)
        shown = self._masks.show(going.mask, layout, plane, going.erased)
        if shown is Shown.FAILED:
            self.cancel(f"Stopped, since layer '{going.mask.name}' no longer fits its image", "; press Run again")
            return
        going.count(plane, shown)
        self._panel.tell_progress(len(going.done), going.pace())

    def _on_end(self, going: RunProgress, end: RunEnded) -> None:
        if end.error is not None:
            note = f" ({going.progress_text()} done)" if going.done else ""
            self._finish(f"{end.error}{note}", wrong=True)
        elif end.cancelled:
            self._finish(f"Cancelled: {going.progress_text()} done")
        elif going.missing:
            self._finish(f"{slices(going.missing)} failed: {going.progress_text()} done; press Run again", wrong=True)
        else:
            self._finish(going.summary())
            self._told = going
        self._ask_what_to_keep(going)

    def _ask_what_to_keep(self, going: RunProgress) -> None:
        """Ask once about slices that a person drew; until they answer, and if they do not, these stay."""
        mask, kept = going.mask, going.kept
        if mask is None or not kept.pixels or kept.is_confirmed(mask):
            return
        text = f"'{mask.name}' has {kept.in_words()}. The network has drawn them otherwise."
        keep = ("Keep mine", "They stay as they are.", partial(kept.confirm, mask))
        new = ("Use the network's", "Replace them. One undo step.", partial(self._replace_kept, going))
        self._panel.question.ask(text, [keep, new])

    def _replace_kept(self, going: RunProgress) -> None:
        mask = going.mask
        if self.running or mask is None or mask not in self._viewer.layers:
            return
        count = self._masks.replace(mask, going.kept.same(mask, going.run.source.layout))
        self._panel.say(f"{slices(count)} replaced; undo brings back what you drew.")

    def _on_settled(self, mask: Labels, decided: MaskUpdate) -> None:
        """Say what all slices together have decided, while the status still tells of the run that they came from."""
        if self._told is not None and self._told.mask is mask and not self.running:
            self._panel.say(self._told.summary(decided))

    def _finish(self, text: str, wrong: bool = False) -> None:
        going, self._going = self._going, None
        self._background.finish()
        self._told = None
        self._panel.stop()
        self._panel.say(text, wrong)
        for layer in [] if going is None else going.layers():
            layer.events.data.disconnect(self._on_data)
        if going is None or going.mask is None or going.mask not in self._viewer.layers:
            return
        labels.amend(going.mask, **going.facts())
        going.mask.refresh()  # the thumbnail
        now = going.run.settings
        beside = (now.remove_isolated or now.check_components) and len(going.done) > 1
        if now != going.settings or now.keep_largest or beside:
            self._masks.move(going.image, now, at_once=True)

    # ---- the end -----------------------------------------------------------------------------------

    def close_down(self) -> None:
        """Let go of the viewer; a run that is under way stops, its finished slices stay."""
        self.cancel("Stopped")
        self._choice.remember()
        self._masks.hide_preview()  # a threshold that no other slice follows any more
        self._drop_jobs()
        layers = self._viewer.layers
        for event in list_events(self._viewer):
            event.disconnect(self._on_layers)
        layers.selection.events.active.disconnect(self._on_selection)
        self._viewer.dims.events.current_step.disconnect(self._on_dims)
        if self._bound:
            self._viewer.bind_key(SHORTCUT, None)
        self._inbox.close()
        self.native.deleteLater()

    def _drop_jobs(self) -> None:
        """Stop what the worker does for this widget, and stop listening; touches nothing of Qt, which may be gone."""
        registry_events.chosen.disconnect(self._choice.take_model, missing_ok=True)
        self._asking.cancel()
        self._masks.stop_listening()
        if self._going is not None:
            self._going.run.cancel()


def _prepare() -> None:
    """Import, on a thread, what a first mask and the next panels need."""
    labels.prepare()
    import_panels()
