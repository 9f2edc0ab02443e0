"""What the Segment widget looks like; what it does is in segment.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import CheckBox, Container, LineEdit, ProgressBar, PushButton
from qtpy.QtWidgets import QDoubleSpinBox, QSizePolicy

from napari_unet_tumour.settings import SegmentSettings
from napari_unet_tumour.widgets.common.settings_form import form_of
from napari_unet_tumour.widgets.common.style import ABOUT, RED, flat, note, picker, row, shrink, strong, thin, two_lines

if TYPE_CHECKING:
    from magicgui.widgets import Widget

    from napari_unet_tumour.models.spec import ModelSpec

SCOPES = [("this slice", "this"), ("all slices", "all"), ("visible region", "view")]
HERE, THERE = "this computer", "a scheduler"
TELL_SCOPE = "What to segment. The slice on screen comes first, then its neighbours, outward."
TELL_PLACE = "This computer, or a dask cluster."
TELL_COPY = "Put the same run as a command line on the clipboard."
TELL_MODEL = "Which network outlines the tumour."


class SegmentView:
    """The parts of the Segment widget, made and arranged.

    Parameters
    ----------
    shortcut : str
        The key for Run, shown in its tooltip.
    """

    def __init__(self, shortcut: str) -> None:
        self.image = picker("Image", "The layer to segment; follows the selected layer.")
        self.model = picker("Model", TELL_MODEL)
        self.file = PushButton(text="File…", tooltip="Use a model file that is not on the shelf.")
        self.about_model = note()
        self.channels: Container[Widget] = Container(labels=False)
        self.channels.margins = (0, 0, 0, 0)
        self.scope = picker("Slices", TELL_SCOPE, SCOPES, "all")
        self.run = PushButton(text="Run", tooltip=f"Segment ({shortcut}). While it runs: cancel.")
        self.bar = ProgressBar(min=0, max=1, value=0)
        self.status = note()
        self.form = form_of(SegmentSettings)
        self.found = note()
        self.place = picker("Where it runs", TELL_PLACE, [(HERE, HERE), (THERE, THERE)], HERE)
        self.address = LineEdit(label="Address", value="", tooltip="For example tls://gpu-box:8786")
        self.more = CheckBox(text="More settings", value=False, tooltip="Windows for large images, memory, precision.")
        self.copy = PushButton(text="Copy as command", tooltip=TELL_COPY)
        self._polish()
        self.address_row = row(self.address)
        self.address_row.visible = False
        form = self.form
        self.advanced = [row(form[name]) for name in ("tiling", "downsample", "memory", "precision")]
        self.advanced.append(flat([form["check_components"]]))
        self._show_more(False)
        self.more.changed.connect(self._show_more)

    def _show_more(self, shown: bool) -> None:
        for one in self.advanced:
            one.visible = shown

    def rows(self) -> list[Widget]:
        """Return the rows from top to bottom."""
        form = self.form
        above: list[Widget] = [row(self.image), row(self.model, self.file), self.about_model]
        above += [self.channels, row(self.scope)]
        doing: list[Widget] = [self.run, self.bar, self.status]
        shaping = [row(form["threshold"]), row(form["min_object_size"]), flat([form["keep_largest"], form["flip_tta"]])]
        shaping.append(flat([form["remove_isolated"]]))
        placing = [row(form["device"], self.found), row(self.place), self.address_row]
        return [*above, *doing, *shaping, *placing, self.more, *self.advanced, self.copy, note(ABOUT)]

    def _polish(self) -> None:
        self.file.native.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        strong(self.run)
        thin(self.bar)
        two_lines(self.status)
        shrink(self.form["device"].native)
        self.form["device"].native.setMaximumWidth(84)
        readout = self.form["threshold"].native.findChild(QDoubleSpinBox)
        if readout is not None:  # napari's style keeps room for buttons that it does not have
            readout.setStyleSheet("background: transparent; border: 0; padding: 0; min-width: 36px; max-width: 36px;")
        self.address.native.setPlaceholderText("tls://host:8786")

    def say(self, text: str, wrong: bool = False) -> None:
        """Show one line of status; errors in red."""
        self.status.value = text
        style = f"color: {RED};" if wrong else ""
        if self.status.native.styleSheet() != style:  # a new style is costly even when it is the same
            self.status.native.setStyleSheet(style)

    def tell_device(self, text: str) -> None:
        """Show what the worker would run on."""
        self.found.value = text

    def tell_model(self, spec: ModelSpec | None) -> None:
        """Show what a model is for, what it was trained on, and how good it is."""
        self.about_model.value = "" if spec is None else "\n".join(_facts(spec))
        self.model.tooltip = TELL_MODEL if spec is None else "\n".join(_details(spec))

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
    facts = (spec.description, spec.data and f"Trained on {spec.data}", scores and f"Held-out {scores}")
    return [fact for fact in facts if fact]


def _details(spec: ModelSpec) -> list[str]:
    every = ", ".join(f"{name} {value:.3g}" for name, value in spec.scores.items())
    return [f"{spec.network}, {', '.join(spec.channels)}, {spec.size} px", every, spec.licence]
