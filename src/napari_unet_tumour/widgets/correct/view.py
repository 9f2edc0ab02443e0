"""What the Correct and fine-tune widget looks like; what it does is in correct.py."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, Container, FloatSpinBox, PushButton
from qtpy.QtCore import Qt

from napari_unet_tumour.settings import FinetuneSettings, device_choices, options_of
from napari_unet_tumour.widgets.brush.view import BrushControls
from napari_unet_tumour.widgets.common.question import Question
from napari_unet_tumour.widgets.common.run_on import RunOn
from napari_unet_tumour.widgets.common.start import start_with_scan
from napari_unet_tumour.widgets.common.style import RED, TEXT_WIDTH, about, flat, note, picker, row, strong, two_lines
from napari_unet_tumour.widgets.correct.add_class_view import AddClassView
from napari_unet_tumour.widgets.correct.before_after_view import MEASURES, BeforeAfterView, figures
from napari_unet_tumour.widgets.correct.keys import CLICK_KEY, NEXT_KEY, TICK_KEY
from napari_unet_tumour.widgets.correct.loss_curve_view import LossCurve
from napari_unet_tumour.widgets.correct.slice_strip_view import SliceStrip

if TYPE_CHECKING:
    from collections.abc import Mapping

    from magicgui.widgets import Widget

    from napari_unet_tumour.corrections import FineTuneOutcome

TELL_CARRY = (
    "When you mark a slice as reviewed, the slices beside it follow: by grey values and distance, without learning. "
    "Slices that you drew or reviewed stay. One undo step per slice."
)
TELL_CLICK = (
    "Click lesions: left adds, right or Alt removes, a drag is a box, Shift begins another lesion. "
    "Delete takes a click back, Esc ends. One undo step per click."
)
TELL_OUTLINE = "From the clicks on this slice, outline the lesion on its neighbours (Shift-C). Again: cancel."
TELL_HINT = "A drag is a scribble of hints, not a box: left where the lesion is, right where it is not."
TOOLS = (
    ("smooth", "Smooth", "Round the outline on this slice. One undo step."),
    ("specks", "Remove specks", "Remove pieces much smaller than the largest on this slice. One undo step."),
    ("holes", "Fill holes", "Fill the holes of the mask on this slice. One undo step."),
    ("between", "Fill between", "Draw the slices between the nearest corrected ones on either side. One undo step."),
    ("snap", "Snap to edges", "Move the outline on this slice to edges of the image nearby. One undo step."),
)  # fmt: skip


class CorrectView:
    """The parts of the widget, made and arranged."""

    def __init__(self) -> None:
        self.start_view = start_with_scan()
        self.image = picker("Image", "The scan to correct; follows the selected layer.")
        tip = "The Labels layer that you correct: made by Segment, drawn, or loaded from a file."
        self.mask = picker("Mask", tip, nullable=True)
        self.model = picker("Model", "The network that learns. Choose an earlier version to roll back to it.")
        self.channels: Container[Widget] = Container(labels=False)
        self.channels.margins = (0, 0, 0, 0)
        self.segment = _button("Segment", "Segment every slice that is not reviewed. Your strokes stay.")
        self.offer = note()
        self.restore = _button("Restore", "Bring back masks, reviewed slices and model.")
        self.afresh = _button("Start over", "Begin anew; a copy of the earlier corrections is kept.")
        self.strip = SliceStrip()
        self.place = note()
        self.next = _button(f"Next slice ({NEXT_KEY})", "Go to the slice to correct next.")
        self.tick = _button(f"Reviewed ({TICK_KEY})", "This slice is right as it is; an empty one has no tumour.")
        self.carry = CheckBox(text="Carry to neighbouring slices", value=True, tooltip=TELL_CARRY)
        self.paint = picker("Paint", "What the brush draws. Unsure pixels are neither learnt from nor saved as tumour.")
        self.brush = BrushControls()
        self.click = _button(f"Click ({CLICK_KEY})", TELL_CLICK)
        self.outline = _button("Outline in 3D", TELL_OUTLINE)
        self.hint = CheckBox(text="Hint", value=False, tooltip=TELL_HINT)
        self.tools = {name: _button(text, tip) for name, text, tip in TOOLS}
        self.seconds = _learning_time()
        self.run_on = RunOn(device_choices(FinetuneSettings), "Where the network learns and segments.")
        self.device = self.run_on.picker
        self.run = _button("Fine-tune", "Let a copy of the network learn from the reviewed slices.")
        self.measure = _button("Measure…", "Open the Lesion report with this mask: volumes, diameters, saving.")
        self.curve = LossCurve()
        self.status = note()
        self.question = Question()
        self.new_class = AddClassView()
        self.best = _button("Best so far", "Stop learning, and compare the best network so far.")
        self.discard = _button("Discard", "Stop learning; model and mask stay as they were.")
        self.on = _button("Go on", "Let it learn on.")
        self.pictures = BeforeAfterView()
        self.table = note()
        self.accept = _button("Accept", "Keep this version, make it the default, and segment the slices not reviewed.")
        self.reject = _button("Reject", "Throw it away; model and mask stay as they were.")
        self.kept = picker(
            "Earlier corrections",
            "Corrections of earlier scans: the network learns from them too, so that it does not forget.",
        )
        self.delete = _button("Delete", "Delete the chosen corrections for good.")
        self.restoring = flat([self.restore, self.afresh])
        self.asking = flat([self.best, self.discard, self.on])
        self.leading = flat([about("Research use only."), self.measure])
        self.deciding = flat([self.accept, self.reject])
        self.keeping = row(self.kept, self.delete)
        self._polish()

    def rows(self) -> list[Widget]:
        """Return the rows that scroll, from top to bottom; `put` adds the painted parts."""
        tools = list(self.tools.values())
        return [
            *self.start_view.rows(), row(self.image), row(self.mask), row(self.model, self.segment), self.channels,
            self.offer, self.restoring, self.carry, row(self.paint, self.brush.lock), self.brush.row(),
            flat([self.click, self.outline, self.hint]), flat(tools[:3]), flat(tools[3:]),
            row(self.seconds), row(self.device), self.run_on.address_row, self.keeping, self.table,
        ]  # fmt: skip

    def actions(self) -> list[Widget]:
        """Return the rows that are always in sight."""
        return [
            self.place, flat([self.next, self.tick, self.run]), self.status,
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
        self.ask_to_restore("")
        self.new_class.ask("")
        self.ask_what_to_keep(False)
        self.compare(None)

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

    def say(self, text: str, wrong: bool = False) -> None:
        """Show one line of status; errors in red."""
        self.status.value = text
        style = f"color: {RED};" if wrong else ""
        if self.status.native.styleSheet() != style:  # a new style is costly even when it is the same
            self.status.native.setStyleSheet(style)

    def tell_place(self, text: str, reviewed: bool) -> None:
        """Show where the person is in the scan."""
        if self.place.value != text:
            self.place.value = text
        self.tick.native.setChecked(reviewed)

    def ask_to_restore(self, what: str) -> None:
        """Offer what an earlier session left; "" takes the offer away."""
        self.offer.value = f"Corrections of this scan are on disk: {what}." if what else ""
        self.offer.visible = self.restoring.visible = bool(what)

    def ask_what_to_keep(self, asking: bool, best: bool = True) -> None:
        """Ask what a cancelled fine-tuning leaves."""
        self.asking.visible = asking
        self.best.enabled = best

    def compare(self, tuned: FineTuneOutcome | None, pixel_mm: Mapping[str, float] | None = None) -> None:
        """Show the figures before and after, with Accept and Reject; None takes them away."""
        self.table.value = "" if tuned is None else _table(tuned, pixel_mm or {})
        shown = tuned is not None
        self.deciding.visible = shown
        self.table.visible = bool(self.table.value)
        self.pictures.setVisible(shown and bool(self.pictures.pictures))


def _button(text: str, tooltip: str) -> PushButton:
    return PushButton(text=text, tooltip=tooltip)


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
    body = "".join(
        f"<tr><td>{escape(name)}&nbsp;</td>"
        + "".join(f"<td align=center>&nbsp;{cell}&nbsp;</td>" for cell in cells)
        + "</tr>"
        for name, cells in rows
    )
    return f"<table width='100%'><tr><td></td>{head}</tr>{body}</table>"


def labels_to_paint(names: list[str], unsure: int) -> list[tuple[str, int]]:
    """Return what the brush can draw, by name; the last label is one that the model does not know yet."""
    known = [(name, value) for value, name in enumerate(names) if value]
    return [*known, ("new class…", len(names)), ("unsure", unsure), ("eraser", 0)]
