"""What the Correct and fine-tune widget looks like: it shows the state of the panel."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, Container, FloatSpinBox, Label, PushButton
from qtpy.QtCore import Qt

from napari_unet_tumour.settings import FinetuneSettings, device_choices, options_of
from napari_unet_tumour.widgets.brush.view import BrushControls
from napari_unet_tumour.widgets.common.question import Question
from napari_unet_tumour.widgets.common.run_on import RunOn
from napari_unet_tumour.widgets.common.start import start_with_scan
from napari_unet_tumour.widgets.common.style import (
    TEXT_WIDTH,
    StatusLine,
    about,
    flat,
    note,
    picker,
    row,
    strong,
    two_lines,
)
from napari_unet_tumour.widgets.correct import messages
from napari_unet_tumour.widgets.correct.add_class_view import AddClassView
from napari_unet_tumour.widgets.correct.before_after_view import MEASURES, BeforeAfterView, figures
from napari_unet_tumour.widgets.correct.buttons import BUTTONS, TOOLS, buttons
from napari_unet_tumour.widgets.correct.loss_curve_view import LossCurve
from napari_unet_tumour.widgets.correct.slice_strip_view import SliceStrip

if TYPE_CHECKING:
    from collections.abc import Mapping

    from magicgui.widgets import Widget

    from napari_unet_tumour.corrections import FineTuneOutcome
    from napari_unet_tumour.widgets.correct.finetune_job import FineTuneResult
    from napari_unet_tumour.widgets.correct.state import CorrectState, LearningStep

TELL_CARRY = (
    "When you mark a slice as reviewed, the slices beside it follow by grey values and distance, and the others are "
    "outlined as you outline, without learning. Slices that you drew or reviewed stay. One undo step per slice."
)
TELL_HINT = "A drag is a scribble of hints, not a box: left where the lesion is, right where it is not."


class CorrectView(StatusLine):
    """The parts of the widget, made and arranged; they show a state and change nothing in it."""

    def __init__(self) -> None:
        self.buttons = {name: PushButton(text=one.text, tooltip=one.tooltip) for name, one in BUTTONS.items()}
        self.tools = {name: self.buttons[name] for name in TOOLS}
        self.start_view = start_with_scan()
        self.image = picker("Image", "The scan to correct; follows the selected layer.")
        tip = "The Labels layer that you correct: made by Segment, drawn, or loaded from a file."
        self.mask = picker("Mask", tip, nullable=True)
        self.model = picker("Model", "The network that learns. Choose an earlier version to roll back to it.")
        self.channels: Container[Widget] = Container(labels=False)
        self.channels.margins = (0, 0, 0, 0)
        self.offer = note()
        self.strip = SliceStrip()
        self.place = note()
        self.carry = CheckBox(text="Carry to other slices", value=True, tooltip=TELL_CARRY)
        self.paint = picker("Paint", "What the brush draws. Unsure pixels are neither learnt from nor saved as tumour.")
        self.brush = BrushControls()
        self.hint = CheckBox(text="Hint", value=False, tooltip=TELL_HINT)
        self.seconds = _learning_time()
        self.takes = Label(tooltip="How long a fine-tuning takes on this computer: measured.")
        self.run_on = RunOn(device_choices(FinetuneSettings), "Where the network learns and segments.")
        self.device = self.run_on.picker
        self.curve = LossCurve()
        self.status = note()
        self.question = Question()
        self.new_class = AddClassView()
        self.pictures = BeforeAfterView()
        self.table = note()
        self.kept = picker(
            "Earlier corrections",
            "Corrections of earlier scans: the network learns from them too, so that it does not forget.",
        )
        self.delete = PushButton(text="Delete", tooltip="Delete the chosen corrections for good.")
        self.restoring = self._beside("restore", "afresh")
        self.asking = self._beside("best", "discard", "on")
        self.leading = flat([about("Research use only."), self.measure, self.save])
        self.deciding = self._beside("accept", "reject")
        self.keeping = row(self.kept, self.delete)
        self._polish()

    def __getattr__(self, name: str) -> PushButton:
        """Return a button by its name."""
        if name == "buttons" or name not in self.buttons:
            raise AttributeError(name)
        return self.buttons[name]

    def _beside(self, *names: str) -> Container[Widget]:
        return flat([self.buttons[name] for name in names])

    def follow(self, state: CorrectState) -> None:
        """Show a state from now on."""
        events = state.events
        events.message.connect(lambda message: self.say(message.text, message.wrong))
        events.slices.connect(self.strip.fill)
        events.slice.connect(self.strip.mark)
        for event in (events.corrections, events.slices, events.slice):
            event.connect(partial(self._show_place, state))
        events.offer.connect(self._ask_to_restore)
        events.stopping.connect(self._show_asking)
        events.result.connect(self._show_result)
        events.step.connect(self._show_step)
        events.clicking.connect(lambda clicking: self.click.native.setChecked(clicking))
        # Qt has turned these by the press already; they show what is true, whatever follows.
        self.tick.native.clicked.connect(lambda: self.tick.native.setChecked(state.is_reviewed()))
        self.click.native.clicked.connect(lambda: self.click.native.setChecked(state.clicking))
        for event in (events.phase, events.best, events.estimate):
            event.connect(partial(self._show_buttons, state))
        events.estimate.connect(self._show_time)
        self._show_buttons(state)

    def _show_time(self, seconds: float) -> None:
        self.takes.value = f"up to {seconds:.0f} s" if seconds else ""

    def _show_buttons(self, state: CorrectState, *change: Any) -> None:
        for name, button in buttons(state).items():
            native = self.buttons[name].native
            if native.text() != button.text:
                native.setText(button.text)
            native.setToolTip(button.tooltip)
            native.setEnabled(button.enabled)

    def rows(self) -> list[Widget]:
        """Return the rows that scroll, from top to bottom; `put` adds the painted parts."""
        return [
            *self.start_view.rows(), row(self.image), row(self.mask), row(self.model), self.channels,
            self.offer, self.restoring, flat([self.carry, self.segment]),
            row(self.paint, self.brush.lock), self.brush.row(),
            flat([self.click, self.outline, self.hint]), self._beside(*TOOLS[:3]), self._beside(*TOOLS[3:]),
            row(self.seconds, self.takes), row(self.device), self.run_on.address_row, self.keeping, self.table,
        ]  # fmt: skip

    def actions(self) -> list[Widget]:
        """Return the rows that are always in sight."""
        return [
            self.place, self._beside("next", "tick", "run"), self.status,
            *self.question.rows(), self.new_class.question, self.new_class.answers,
            self.asking, self.deciding, self.leading,
        ]  # fmt: skip

    def put(self, content: Container[Any], actions: Container[Any]) -> None:
        """Place the parts that magicgui does not know: strip, curve and pictures."""
        layout = content.native.layout()
        layout.insertWidget(layout.indexOf(self.table.native), self.pictures)
        layout.insertWidget(layout.indexOf(self.pictures), self.curve)
        actions.native.layout().insertWidget(0, self.strip)
        self.hide_all()

    def hide_all(self) -> None:
        """Show only what a person needs before the first fine-tuning."""
        self.curve.hide()
        self._ask_to_restore("")
        self.new_class.ask("")
        self._show_asking(False)
        self._show_result(None)

    def _polish(self) -> None:
        strong(self.run, 30)
        self.accept.native.setStyleSheet("font-weight: bold;")
        self.tick.native.setCheckable(True)
        self.click.native.setCheckable(True)
        two_lines(self.status)
        self.table.native.setTextFormat(Qt.TextFormat.RichText)
        self.table.native.setWordWrap(False)
        self.table.tooltip = "Means before → after. Kept for scoring: never learnt from. Reference: does it forget?"
        for text in (self.status, self.offer, self.place, self.new_class.question, self.question.text):
            text.native.setMinimumWidth(TEXT_WIDTH)  # else Qt makes room for a text one word wide

    def _show_place(self, state: CorrectState, *change: Any) -> None:
        text = messages.place(state)
        if self.place.value != text:
            self.place.value = text
        self.tick.native.setChecked(state.is_reviewed())

    def _ask_to_restore(self, what: str) -> None:
        """Offer what an earlier session left; "" takes the offer away."""
        self.offer.value = f"Corrections of this scan are on disk: {what}." if what else ""
        self.offer.visible = self.restoring.visible = bool(what)

    def _show_step(self, step: LearningStep) -> None:
        if step.seconds is None:
            self.curve.begin(step.budget)
            self.curve.show()
        else:
            self.curve.budget = step.budget
            self.curve.add(step.seconds, step.loss, step.score)

    def _show_asking(self, asking: bool) -> None:
        """Ask what a cancelled fine-tuning leaves."""
        self.asking.visible = asking

    def _show_result(self, result: FineTuneResult | None) -> None:
        """Show the figures and pictures before and after, with Accept and Reject; None takes them away."""
        if result is not None:
            self.curve.end()
        self.pictures.fill([] if result is None else result.pictures)
        self.table.value = "" if result is None else _table(result.tuned, result.pixel_mm)
        self.deciding.visible = result is not None
        self.table.visible = bool(self.table.value)
        self.pictures.setVisible(bool(self.pictures.pictures))


def _learning_time() -> FloatSpinBox:
    ask = next(ask for name, _, _, ask in options_of(FinetuneSettings) if name == "seconds")
    low, high = float(ask.low or 0), float(ask.high or 0)
    box = FloatSpinBox(
        label="Learning time", value=FinetuneSettings.seconds, min=low, max=high, step=1, tooltip=ask.text
    )
    box.native.setDecimals(0)
    box.native.setSuffix(" s")
    return box


def _table(tuned: FineTuneOutcome, pixel_mm: Mapping[str, float]) -> str:
    rows = figures(tuned, pixel_mm)
    if not rows:
        return ""
    head = "".join(f"<td align=center><b>{name}</b></td>" for _, name, _ in MEASURES)
    # The name has a line of its own: three measures fill the panel's width.
    body = "".join(
        f"<tr><td colspan={len(cells)}>{escape(name)}</td></tr>"
        f"<tr>{''.join(f'<td align=center>{cell}</td>' for cell in cells)}</tr>"
        for name, cells in rows
    )
    return f"<table width='100%'><tr>{head}</tr>{body}</table>"


def labels_to_paint(names: list[str], unsure: int) -> list[tuple[str, int]]:
    """Return what the brush can draw, by name; the last label is one that the model does not know yet."""
    known = [(name, value) for value, name in enumerate(names) if value]
    return [*known, ("new class…", len(names)), ("unsure", unsure), ("eraser", 0)]
