"""What the Segment widget looks like; what it does is in segment.py."""

from __future__ import annotations

from textwrap import shorten
from typing import TYPE_CHECKING

from magicgui.widgets import CheckBox, Container, ProgressBar, PushButton
from qtpy.QtWidgets import QDoubleSpinBox, QSizePolicy

from napari_unet_tumour.models.tuned_scores import in_words
from napari_unet_tumour.postprocess.enhancing_part import has_enhancing_part
from napari_unet_tumour.settings import SegmentSettings, device_choices
from napari_unet_tumour.widgets.common.about import information_button
from napari_unet_tumour.widgets.common.question import Question
from napari_unet_tumour.widgets.common.run_on import HERE, THERE, RunOn
from napari_unet_tumour.widgets.common.settings_form import form_of
from napari_unet_tumour.widgets.common.start import start_with_scan
from napari_unet_tumour.widgets.common.style import (
    AMBER,
    TEXT_WIDTH,
    StatusLine,
    about,
    flat,
    note,
    picker,
    row,
    say,
    strong,
    thin,
    two_lines,
)
from napari_unet_tumour.widgets.segment.progress import slices

if TYPE_CHECKING:
    from magicgui.widgets import Widget

    from napari_unet_tumour.models.spec import ModelSpec

__all__ = ["HERE", "SCOPES", "THERE", "SegmentView"]

SCOPES = [("this slice", "this"), ("all slices", "all"), ("visible region", "view")]
TELL_SCOPE = "What to segment. The slice on screen comes first, then its neighbours, outward."
TELL_PLACE = "Where the network runs: a device of this computer, or a dask cluster."
TELL_COPY = "Put the same run as a command line on the clipboard."
TELL_MODEL = "Which network outlines the tumour."


class SegmentView(StatusLine):
    """The parts of the Segment widget, made and arranged.

    Parameters
    ----------
    shortcut : str
        The key for Run, shown in its tooltip.
    """

    def __init__(self, shortcut: str) -> None:
        self.start_view = start_with_scan()
        self.image = picker("Image", "The layer to segment; follows the selected layer.")
        self.model = picker("Model", TELL_MODEL)
        self.file = PushButton(text="File…", tooltip="Use a model file that is not in the list.")
        self.about_model = note()
        self.channels: Container[Widget] = Container(labels=False)
        self.channels.margins = (0, 0, 0, 0)
        self.scope = picker("Slices", TELL_SCOPE, SCOPES, "all")
        self.run = PushButton(text="Run", tooltip=f"Segment ({shortcut}). While it runs: cancel.")
        self.correct = PushButton(text="Correct…", tooltip="Open the Correct panel with this image, mask and model.")
        self.bar = ProgressBar(min=0, max=1, value=0, tooltip="How far the run is.")
        self.warning = note()
        self.status = note()
        self.question = Question()
        self.form = form_of(SegmentSettings, without=["device"])
        self.found = note()
        self.place = RunOn(device_choices(SegmentSettings), TELL_PLACE)
        self.form["device"], self.address = self.place.picker, self.place.address
        self.address_row = self.place.address_row
        self.part = row(self.form["part"])
        self.more = CheckBox(text="More settings", value=False, tooltip="Windows for large images, memory, precision.")
        self.copy = PushButton(text="Copy as command", tooltip=TELL_COPY)
        self._polish()
        form = self.form
        self.advanced = [row(form[name]) for name in ("tiling", "downsample", "memory", "precision")]
        self.advanced.append(flat([form["check_components"]]))
        self._show_more(False)
        self.more.changed.connect(self._show_more)

    def _show_more(self, shown: bool) -> None:
        for one in self.advanced:
            one.visible = shown

    def actions(self) -> list[Widget]:
        """Return the rows that are always in sight."""
        return [flat([self.run, self.correct]), self.bar, self.warning, self.status, *self.question.rows(), about()]

    def rows(self) -> list[Widget]:
        """Return the rows that scroll, from top to bottom."""
        form = self.form
        above: list[Widget] = [
            *self.start_view.rows(),
            row(self.image),
            row(self.model, self.file),
            self.about_model,
        ]
        above += [self.channels, self.part, row(self.scope)]
        shaping = [row(form["threshold"]), row(form["min_object_size"])]
        shaping += [flat([form[name]]) for name in ("keep_largest", "flip_tta", "remove_isolated")]
        placing = [row(form["device"]), self.address_row, self.found]
        return [*above, *shaping, *placing, self.more, *self.advanced, flat([self.copy, information_button()])]

    def _polish(self) -> None:
        self.file.native.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        strong(self.run)
        self.correct.native.setMinimumHeight(34)
        self.correct.native.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        thin(self.bar)
        two_lines(self.status)
        readout = self.form["threshold"].native.findChild(QDoubleSpinBox)
        if readout is not None:  # napari's style keeps room for buttons that it does not have
            readout.setToolTip(self.form["threshold"].tooltip)
            readout.setStyleSheet("background: transparent; border: 0; padding: 0; min-width: 36px; max-width: 36px;")
        self.found.tooltip = "The processor or graphics card that the network would run on."
        self.warning.visible = False
        for text in (self.about_model, self.warning, self.status, self.question.text):
            text.native.setMinimumWidth(TEXT_WIDTH)  # else Qt makes room for a text one word wide

    def warn(self, text: str) -> None:
        """Show that the image looks unlike what the model was trained on; "" hides the line."""
        say(self.warning, text, AMBER)
        self.warning.tooltip = text
        self.warning.visible = bool(text)

    def tell_device(self, text: str) -> None:
        """Show what the worker would run on."""
        self.found.value = text

    def tell_model(self, spec: ModelSpec | None) -> None:
        """Show what a model is for, what it was trained on, and how good it is; and whether it can show a part."""
        self.part.visible = spec is not None and has_enhancing_part(spec)
        self.about_model.value = "" if spec is None else "\n".join(_facts(spec))
        told = TELL_MODEL if spec is None else "\n".join(filter(None, _details(spec)))
        self.model.tooltip = self.about_model.tooltip = told

    def start(self, slices: int) -> None:
        """Show that a run has begun."""
        self.run.text = "Cancel"
        self.bar.max, self.bar.value = slices, 0
        self.bar.visible = True
        self.say("Waiting for the first slice…")

    def tell_progress(self, done: int, text: str) -> None:
        """Show how far the run is."""
        # QProgressBar repaints the whole window, canvas too, within setValue: let it wait for the next frame.
        self.bar.native.setUpdatesEnabled(False)
        self.bar.value = done
        self.bar.native.setUpdatesEnabled(True)
        self.say(text)

    def stop(self) -> None:
        """Show that no run is under way."""
        self.run.text = "Run"
        self.bar.visible = False


def _facts(spec: ModelSpec) -> list[str]:
    scores = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in list(spec.scores.items())[:2])
    tuned = sum(len(stack["masks"]) for stack in spec.corrected)
    facts = (
        spec.description,
        in_words(spec) or (tuned and f"Fine-tuned on {slices(tuned)} that you corrected"),
        spec.data and shorten(f"Trained on {spec.data}", 90, placeholder="…"),
        not in_words(spec) and scores and f"Scores: {scores}",
    )
    return [fact for fact in facts if fact]


def _details(spec: ModelSpec) -> list[str]:
    every = in_words(spec) or ", ".join(f"{name} {value:.3g}" for name, value in spec.scores.items())
    trained = f"Trained on {spec.data}" if spec.data else ""
    return [trained, f"{spec.network}, {', '.join(spec.channels)}, {spec.size} px", every, spec.licence]
