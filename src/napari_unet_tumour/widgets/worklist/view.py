"""What the Work-list panel looks like; what it does is in widget.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, PushButton

from napari_unet_tumour.widgets.common.start import StartView
from napari_unet_tumour.widgets.common.style import StatusLine, about, flat, note, strong, two_lines
from napari_unet_tumour.worklist import STATES

if TYPE_CHECKING:
    from magicgui.widgets import Container, Widget

    from napari_unet_tumour.widgets.common.table import Column, FigureTable
    from napari_unet_tumour.worklist import Case, Worklist


class WorklistView(StatusLine):
    """The parts of the panel, made and arranged."""

    def __init__(self, last_folder: str) -> None:
        ways = [("Open a folder…", "A folder of scans; nothing is written into it.")]
        if last_folder:
            ways.append(("Go on", f"With {last_folder}"))
        self.start_view = StartView("Work through a folder of scans, patient by patient.", ways)
        self.folder = note()
        self.accept = PushButton(
            text="Accept and next", tooltip="The mask is finished: save it, close this scan and open the next one."
        )
        self.next = PushButton(
            text="Next patient", tooltip="Save the mask, close this scan and open the next one that is not accepted."
        )
        self.other = PushButton(text="Folder…", tooltip="Work through another folder; this list keeps its state.")
        self.pairs = PushButton(
            text="Save PAIRS…", tooltip="Write the accepted scans and masks as a table for fine-tuning on all of them."
        )
        self.background = CheckBox(
            text="Segment ahead",
            value=True,
            tooltip="Let the network outline new scans, this one and the next, while you work.",
        )
        self.status = note()
        strong(self.accept)
        two_lines(self.status)
        self.show_list(False)

    def rows(self) -> list[Widget]:
        """Return the rows that scroll; the table goes below them."""
        return [*self.start_view.rows(), self.folder]

    def actions(self) -> list[Widget]:
        """Return the rows that are always in sight."""
        return [self.accept, self.status, flat([self.next, self.background]), flat([self.other, self.pairs]), about()]

    def put_table(self, content: Container[Any], table: FigureTable) -> None:
        """Place the table; it takes the height that is left."""
        content.native.layout().addWidget(table, 1)

    def show_list(self, there: bool) -> None:
        """Show the list's parts, or how to begin."""
        self.start_view.show(not there)
        self.folder.visible = there
        for button in (self.accept, self.next, self.other, self.pairs):
            button.enabled = there

    def show_counts(self, worklist: Worklist) -> None:
        """Say how far the list is."""
        counts = [f"{worklist.count(state)} {state}" for state in STATES if worklist.count(state)]
        self.folder.value = f"{worklist.folder.name}: {', '.join(counts)}"
        self.folder.tooltip = str(worklist.folder)


def columns() -> list[Column]:
    """Return head, tooltip and figure of every column."""

    def state(case: Case) -> str:
        return "cannot be opened" if case.broken else case.state

    def volume(case: Case) -> float | str | None:
        return f"{case.volume:.0f} px" if case.volume and case.volume_units != "ml" else case.volume

    return [
        ("Scan", "Path below the folder", lambda case: case.name),
        ("State", "new; segmented by the network; corrected or drawn by you; accepted by you", state),
        ("Lesions", "Number of lesions in the mask", lambda case: case.lesions),
        ("Volume\nml", "Their volume", volume),
        ("Date", "When its state or mask last changed", lambda case: case.date),
        ("Note", "What stood in the way", lambda case: case.problem),
    ]
