"""What the Two dates panel looks like; what it does is in widget.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, ProgressBar, PushButton

from napari_unet_tumour.followup import Placing, can_align
from napari_unet_tumour.followup.alignment import MISSING
from napari_unet_tumour.widgets.common.start import start_with_scan
from napari_unet_tumour.widgets.common.style import StatusLine, about, flat, note, picker, row, strong, thin
from napari_unet_tumour.widgets.dates.side_by_side import PLANES
from napari_unet_tumour.widgets.measure.view import changes_text

if TYPE_CHECKING:
    from magicgui.widgets import Container, Widget

    from napari_unet_tumour.followup import Alignment, FollowUp, LesionChange
    from napari_unet_tumour.settings import Progress
    from napari_unet_tumour.widgets.common.table import Column, FigureTable

START = "Side by side"
NOT_ALIGNED = "The two dates are not aligned: lesions are matched where the files place them."
ONE_FRAME = "Lesions are matched in the frame of reference of both dates."


class DatesView(StatusLine):
    """The parts of the panel, made and arranged."""

    def __init__(self) -> None:
        self.start_view = start_with_scan()
        self.images = [
            picker("Earlier scan", "The image of the earlier date.", nullable=True),
            picker("Later scan", "The image of the later date.", nullable=True),
        ]
        self.masks = [
            picker("Earlier mask", "The Labels layer of the earlier date; its lesions are matched.", nullable=True),
            picker("Later mask", "The Labels layer of the later date; its lesions are matched.", nullable=True),
        ]
        self.plane = picker("Plane", "The plane of the patient that both views show.", choices=PLANES)
        self.align = CheckBox(
            text="Align the later scan",
            tooltip="Turn and move the later scan, in these views only, until it agrees with the earlier one (mutual "
            "information). The layers stay where they are."
            if can_align()
            else MISSING,
        )
        self.align.enabled = can_align()
        self.notes = note()
        self.run = PushButton(
            text=START, tooltip="Show both dates in linked views and match their lesions. While it works: cancel."
        )
        self.bar = ProgressBar(min=0, max=1, value=0, tooltip="How far it is.")
        self.status = note()
        self.copy = PushButton(text="Copy table", tooltip="Put the table on the clipboard, for a spreadsheet.")
        self.csv = PushButton(text="Save CSV…", tooltip="A row per lesion, with its places in both dates.")
        strong(self.run)
        thin(self.bar)
        self.offer_results(False)

    def rows(self) -> list[Widget]:
        """Return the rows that scroll; the table goes before the notes."""
        pickers = [one for pair in zip(self.images, self.masks, strict=True) for one in pair]
        return [*self.start_view.rows(), *(row(one) for one in (*pickers, self.plane)), self.align, self.notes]

    def actions(self) -> list[Widget]:
        """Return the rows that are always in sight."""
        return [self.run, self.bar, self.status, flat([self.copy, self.csv]), about()]

    def put_table(self, content: Container[Any], table: FigureTable) -> None:
        """Place the table below the pickers; it takes the height that is left."""
        layout = content.native.layout()
        layout.insertWidget(layout.indexOf(self.notes.native), table, 1)

    def offer_results(self, there: bool) -> None:
        """Let a table be copied and saved, where there is one."""
        self.copy.enabled = self.csv.enabled = there

    def show_running(self, running: bool) -> None:
        """Show whether work is under way."""
        self.run.text = "Cancel" if running else START
        self.bar.value, self.bar.visible = 0, running

    def show_progress(self, progress: Progress) -> None:
        """Show how far it is."""
        self.bar.max, self.bar.value = progress.total, progress.done
        self.say(f"{progress.message.capitalize()}…")

    def show_result(self, found: FollowUp | None, table: FigureTable, about_dates: list[str]) -> None:
        """Fill the table and the notes."""
        table.show_items([] if found is None else columns_of(found), () if found is None else found.lesions)
        lines = [] if found is None else [*changes_text(found.comparison), *found.notes, *found.comparison.notes]
        caveat = [] if found is None else [found.comparison.caveat]
        self.notes.value = "\n".join(filter(None, [*about_dates, *lines, *caveat]))
        self.offer_results(found is not None)


def placing_text(placing: Placing, alignment: Alignment | None, why: str = "") -> str:
    """Return one line on what the match of places rests on; `why` says why the two could not be aligned."""
    if alignment is not None:
        return (
            f"Aligned: in these views the later scan is turned by {alignment.degrees:.1f} degrees and moved by "
            f"{alignment.shift:.1f} mm. Look whether the two agree."
        )
    if placing is Placing.ONE_FRAME and not why:
        return ONE_FRAME
    return f"{why}. {NOT_ALIGNED}" if why else NOT_ALIGNED


def columns_of(found: FollowUp) -> list[Column]:
    """Return head, tooltip and figure of every column."""
    volume = "px" if found.later.volume_units == "pixels" else found.later.volume_units
    columns: list[Column] = [
        ("Lesion", "Numbers in the Lesion report of the earlier mask → of the later mask", _numbers),
        ("Before\n" + volume, f"Volume in {found.earlier.mask}", lambda one: one.volume_before if one.before else None),
        ("After\n" + volume, f"Volume in {found.later.mask}", lambda one: one.volume_after if one.after else None),
        ("Change\n%", "Change of the volume, as a share of the volume before", lambda one: one.volume_change),
        ("What", "Changed, new, gone, split into several, or merged from several", lambda one: one.kind.value),
    ]
    if len({one.label for one in found.lesions}) > 1:
        columns.insert(1, ("Label", "Name of the label", lambda one: one.name))
    return columns


def _numbers(one: LesionChange) -> str:
    before, after = (", ".join(map(str, some)) or "–" for some in (one.before, one.after))
    return f"{before} → {after}"
