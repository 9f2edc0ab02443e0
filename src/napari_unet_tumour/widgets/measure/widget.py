"""The Lesion report widget: choose a mask, press Measure, click a lesion to see its diameters."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.lazy import computed
from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.measure import (
    check_dicom_sr,
    html_report,
    write_csv,
    write_dicom_sr,
    write_html,
    write_json,
)
from napari_unet_tumour.widgets.common import panels
from napari_unet_tumour.widgets.common.background import Background
from napari_unet_tumour.widgets.common.dock import Panel
from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue, UndockFilter, single_shot_timer
from napari_unet_tumour.widgets.common.table import shown
from napari_unet_tumour.widgets.common.words import failure_text
from napari_unet_tumour.widgets.layers.edits import list_events
from napari_unet_tumour.widgets.layers.image_source import images
from napari_unet_tumour.widgets.layers.world import PLACE, axes_of
from napari_unet_tumour.widgets.measure import layers as lesion_layers
from napari_unet_tumour.widgets.measure import save_all
from napari_unet_tumour.widgets.measure.run import MeasureResult, measure_masks
from napari_unet_tumour.widgets.measure.table import LesionTable
from napari_unet_tumour.widgets.measure.view import MeasureView, ask_folder, ask_where, ask_where_page, copy, write_pdf

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Labels, Layer

    from napari_unet_tumour.measure import MeasuredLesion

BAR_MS = 1000
CHANGED = "The mask has changed since: measure again."
NOT_REPORTED = partial(failure_text, failed="The report could not be saved", again="save again")
NOT_SAVED = partial(failure_text, failed="The files could not be saved", again="save again")
NOT_MEASURED = partial(failure_text, failed="The mask could not be measured", again="measure again")
# What a report is made of: pixels, and where they lie.
MEASURED = ("data", *PLACE, "units")
DRAWN = ("paint", "labels_update")


class LesionReport(Panel):
    """Dock widget that measures the lesions of a Labels layer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer that it is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._panel = MeasureView()
        super().__init__(self._panel.rows(), self._panel.actions(), "Report", fills=True)
        self._viewer = viewer
        self.table = LesionTable(self.show_lesion)
        self._panel.put_table(self.content, self.table)
        self._inbox = MainThreadQueue(self.native)
        self._background, self._saving = Background(self._inbox.put), Background(self._inbox.put)
        self._fresh = self._then_save = False
        self._found: MeasureResult | None = None
        self._mask: Labels | None = None
        self._watched: list[Any] = []
        self._counted: Any = None  # the layer whose pixels the figures count
        self._slow = single_shot_timer(self._inbox, BAR_MS, self._panel.show_bar)
        self.order_tabs()
        self._listen()
        self._follow()

    @property
    def running(self) -> bool:
        """Whether a mask is being measured."""
        return self._background.running

    @property
    def found(self) -> MeasureResult | None:
        """The last report, None before the first."""
        return self._found

    def measure(self) -> None:
        """Start measuring; what is in the way is said in the status line."""
        if self.running:
            return
        panel, mask, earlier = self._panel, self._panel.mask.value, self._panel.earlier.value
        if mask is None:
            panel.say("There is no mask: open one, or make one with Segment", wrong=True)
            return
        try:
            now = lesion_layers.measured(mask, panel.scan.value, panel.in_pixels, panel.slice_axis)
            before = earlier and lesion_layers.measured(earlier, None, panel.in_pixels, panel.slice_axis)
        except UNetTumourError as error:
            panel.say(str(error), wrong=True)
            return
        self._fresh = False
        self._watch(mask, panel.scan.value, earlier)
        self._counted = now.layer
        panel.start()
        self._slow.start()
        self._background.start(
            partial(measure_masks, now, before), self._on_found, lambda why: self._stop(why, wrong=True),
            panel.tell_progress, NOT_MEASURED,
        )  # fmt: skip

    def cancel(self, why: str = "Cancelled.") -> None:
        """Stop measuring; the last report stays."""
        if self.running:
            self._background.cancel()
            self._stop(why)

    def show_lesion(self, lesion: MeasuredLesion) -> None:
        """Bring a lesion on screen and draw its diameters."""
        report = None if self._found is None else self._found.report
        if report is None or self._mask not in self._viewer.layers or self._counted not in self._viewer.layers:
            self._panel.say("The measured mask is no longer open: measure again", wrong=True)
            return
        units = "px" if report.units == "pixels" else report.units
        text = f"{shown(lesion.longest)} × {shown(lesion.perpendicular)} {units}"
        axis = report.axes.index(report.slice_axis) if report.slice_axis else None
        try:
            lesion_layers.show(self._viewer, self._counted, lesion, axis, text)
        except IndexError:  # the mask was replaced by one with fewer axes
            self._panel.say(CHANGED, wrong=True)

    def copy_table(self) -> None:
        """Put the table on the clipboard, tabs between columns."""
        if self._has_report():
            copy(self.table.text())
            self._panel.say("Copied: paste it into a spreadsheet.")

    def save(self, path: str) -> None:
        """Write the report: a page (.html, .pdf), JSON, DICOM (.dcm), else CSV; the status line says how it went."""
        if not path or not self._has_report() or self._found is None:
            return
        target, found = Path(path), self._found
        try:
            if target.suffix.lower() == ".dcm":
                self._save_sr(target, found)
                return
            if target.suffix.lower() == ".json":
                write_json(target, found.report, found.comparison)
            elif target.suffix.lower() == ".html":
                write_html(target, found.report, found.mask, found.image, found.comparison)
            elif target.suffix.lower() == ".pdf":
                write_pdf(target, html_report(found.report, found.mask, found.image, found.comparison))
            else:
                write_csv(target, found.report, found.comparison)
            self._panel.say(f"Saved {target.name}.")
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)

    def _save_sr(self, target: Path, found: MeasureResult) -> None:
        """Write a DICOM structured report on a thread: reading a long series' headers takes seconds."""
        check_dicom_sr(target, found.source)
        self._panel.say(f"Saving {target.name}…")
        self._saving.start(
            lambda task: write_dicom_sr(target, found.report, found.mask, found.source, found.comparison),
            lambda written: self._panel.say(f"Saved {' and '.join(one.name for one in written)}."),
            lambda why: self._panel.say(why, wrong=True), wording=NOT_REPORTED,
        )  # fmt: skip

    def save_all(self) -> None:
        """Save mask, table and page beside the scan, measured before where that is not done; asks where if need be."""
        if self._fresh:
            self._write_all()
        else:
            self.measure()
            self._then_save = self.running

    def _write_all(self) -> None:
        found, mask, image = self._found, self._mask, self._panel.scan.value
        folder = save_all.folder_beside(image) or ask_folder(self.native)
        if found is None or mask is None or folder is None:
            return
        data, about, _ = mask.as_layer_data_tuple()
        name, suffix = (mask if image is None else image).name, save_all.mask_suffix(image)
        self._panel.say("Saving…")
        self._saving.start(
            lambda task: save_all.write_all(found, (np.array(computed(data)), about), folder, name, suffix),
            self._panel.say,
            lambda why: self._panel.say(why, wrong=True), wording=NOT_SAVED,
        )  # fmt: skip

    # ---- what happens in the window ------------------------------------------------------------

    def _listen(self) -> None:
        panel, layers = self._panel, self._viewer.layers
        panel.mask.choices, panel.earlier.choices = self._named_masks, self._named_masks
        panel.scan.choices = self._named_images
        panel.run.changed.connect(lambda: self.cancel() if self.running else self.measure())
        panel.mask.changed.connect(self._on_mask)
        panel.start_view.connect(
            partial(panels.open_scan, self._viewer, self.native, panel.say),
            partial(panels.open_panel, self._viewer, panels.SEGMENT),
        )
        panel.copy.changed.connect(self.copy_table)
        panel.csv.changed.connect(partial(self._save_as, ".csv"))
        panel.json.changed.connect(partial(self._save_as, ".json"))
        panel.page.changed.connect(self._save_page)
        panel.all.changed.connect(self.save_all)
        for event in list_events(self._viewer):
            event.connect(self._on_layers)
        layers.selection.events.active.connect(self._follow)
        UndockFilter(self.native, self.close_down)
        self.native.destroyed.connect(self._background.cancel)

    def _named_masks(self, picker: Any) -> list[tuple[str, Labels]]:
        return [(layer.name, layer) for layer in lesion_layers.masks(self._viewer)]

    def _named_images(self, picker: Any) -> list[tuple[str, Image]]:
        return [(layer.name, layer) for layer in images(self._viewer)]

    def _on_layers(self, event: Any = None) -> None:
        for picker in (self._panel.mask, self._panel.scan, self._panel.earlier):
            picker.reset_choices()
        self._panel.start_view.show(not self._panel.mask.choices)

    def _follow(self, event: Any = None) -> None:
        """Choose the selected mask; at first the topmost."""
        self._on_layers()
        active = self._viewer.layers.selection.active
        # Not "is": napari hands out a new wrapper of the same layer every time.
        if active in self._panel.mask.choices and active != self._panel.earlier.value:
            self._panel.mask.value = active
        self._on_mask()

    def _on_mask(self, event: Any = None) -> None:
        mask = self._panel.mask.value
        if mask is not None:
            self._panel.scan.value = lesion_layers.scan_for(self._viewer, mask)
            self._panel.offer_axes([str(a) for a in mask.axis_labels], axes_of(mask))

    def _save_as(self, suffix: str) -> None:
        if self._has_report() and self._found is not None:
            self.save(ask_where(self.native, f"{self._found.report.mask} lesions{suffix}", suffix))

    def _save_page(self) -> None:
        if self._has_report() and self._found is not None:
            self.save(ask_where_page(self.native, f"{self._found.report.mask} report.html"))

    def _has_report(self) -> bool:
        if self._found is None:
            self._panel.say("There is no report yet: press Measure", wrong=True)
        return self._found is not None

    # ---- what a run brings ---------------------------------------------------------------------

    def _on_found(self, found: MeasureResult) -> None:
        self._found = found
        self.table.fill(found.report)
        self._panel.tell_found(found)
        self._panel.offer_report(True)
        self._stop()
        self._fresh = True
        if self._then_save:
            self._then_save = False
            self._write_all()

    def _stop(self, text: str = "", wrong: bool = False) -> None:
        self._slow.stop()
        self._panel.stop()
        self._then_save = self._then_save and not text
        if text:
            self._panel.say(text, wrong)

    def _watch(self, mask: Labels, *others: Layer | None) -> None:
        """Hear of changes of the layers that are being measured, and of no other."""
        self._unwatch()
        self._mask = mask
        for layer in (mask, *(one for one in others if one is not None)):
            names = (*MEASURED, *(DRAWN if hasattr(layer.events, "paint") else ()))
            self._watched += [getattr(layer.events, name) for name in names]
        for event in self._watched:
            event.connect(self._on_change)

    def _unwatch(self) -> None:
        for event in self._watched:
            event.disconnect(self._on_change)
        self._watched = []

    def _on_change(self, event: Any = None) -> None:
        self._fresh = False
        if self.running:
            self._unwatch()  # one stroke is told of several times
            self.cancel(f"Stopped, since layer '{event.source.name}' was changed: press Measure again.")
        elif event.source is self._mask:
            self._panel.say(CHANGED)
        else:
            self._panel.say(f"Layer '{event.source.name}' has changed since: measure again.")

    # ---- the end ---------------------------------------------------------------------------------

    def close_down(self) -> None:
        """Let go of the viewer; the drawn diameters stay."""
        self.cancel()
        self._unwatch()
        layers = self._viewer.layers
        for event in list_events(self._viewer):
            event.disconnect(self._on_layers)
        layers.selection.events.active.disconnect(self._follow)
        self._inbox.close()
        self.native.deleteLater()
