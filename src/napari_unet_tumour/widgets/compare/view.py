"""What the Compare masks panel looks like; what it does is in widget.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, PushButton

from napari_unet_tumour.widgets.common.start import start_with_mask
from napari_unet_tumour.widgets.common.style import StatusLine, about, flat, note, picker, row, strong

if TYPE_CHECKING:
    from magicgui.widgets import Container, Widget

    from napari_unet_tumour.measure import Agreement, MaskComparison
    from napari_unet_tumour.widgets.common.table import Column, FigureTable

LEGEND = "Grey: in both masks. Orange: only in the first. Blue: only in the second."


class CompareView(StatusLine):
    """The parts of the panel, made and arranged."""

    def __init__(self) -> None:
        self.start_view = start_with_mask()
        self.first = picker("First mask", "The Labels layer that the other one is compared with.")
        self.second = picker("Second mask", "The Labels layer that is compared: another reader, method or date.")
        self.notes = note()
        self.run = PushButton(text="Compare", tooltip="Dice, HD95 and volumes of the two masks, per label.")
        self.status = note()
        self.difference = CheckBox(
            text="Show differences",
            value=True,
            tooltip=f"{LEGEND} Purple: in both, as different labels.",
        )
        self.largest = PushButton(
            text="Largest", tooltip="Go to the slice on which most voxels differ between the two masks."
        )
        self.dates = PushButton(
            text="Two dates side by side…",
            tooltip="For masks of two dates: linked views, and what became of each lesion, in the panel Two dates.",
        )
        self.copy = PushButton(text="Copy table", tooltip="Put the table on the clipboard, for a spreadsheet.")
        self.csv = PushButton(text="Save CSV…", tooltip="A row per label.")
        self.json = PushButton(text="Save JSON…", tooltip="The same figures for a program.")
        strong(self.run)
        self.offer_results(False)

    def rows(self) -> list[Widget]:
        """Return the rows that scroll; the table goes before the notes."""
        return [*self.start_view.rows(), row(self.first), row(self.second), self.notes]

    def actions(self) -> list[Widget]:
        """Return the rows that are always in sight."""
        return [
            self.run,
            self.status,
            flat([self.difference, self.largest]),
            flat([self.copy, self.csv, self.json]),
            self.dates,
            about(),
        ]

    def put_table(self, content: Container[Any], table: FigureTable) -> None:
        """Place the table below the pickers; it takes the height that is left."""
        layout = content.native.layout()
        layout.insertWidget(layout.indexOf(self.notes.native), table, 1)

    def offer_results(self, there: bool) -> None:
        """Let a result be copied, saved and looked at, where there is one."""
        for button in (self.copy, self.csv, self.json, self.largest):
            button.enabled = there

    def show_running(self, running: bool) -> None:
        """Show whether a comparison is under way."""
        self.run.text = "Cancel" if running else "Compare"
        if running:
            self.say("Comparing…")

    def show_result(self, found: MaskComparison, table: FigureTable) -> None:
        """Fill the table and the notes."""
        table.show_items(columns_of(found), found.rows)
        self.notes.value = "\n".join([LEGEND, *found.notes])
        self.say(summary(found))
        self.offer_results(True)


def summary(found: MaskComparison) -> str:
    """Return one line with the first row's figures."""
    if not found.rows:
        return "Both masks are empty."
    one = found.rows[0]
    distance = "one mask is empty" if one.hd95 is None else f"HD95 {one.hd95:.1f} {_length(found)}"
    return f"{one.name}: Dice {one.dice:.3f}, {distance}"


def columns_of(found: MaskComparison) -> list[Column]:
    """Return head, tooltip and figure of every column."""
    volume = "px" if found.volume_units == "pixels" else found.volume_units

    def label(one: Agreement) -> str:
        return one.name + (f" at {' '.join(str(at + 1) for at in one.frame)}" if one.frame else "")

    return [
        ("Label", "Name of the label", label),
        ("Dice", "Twice what both share, divided by the sum of both: 1 is the same mask", lambda o: o.dice),
        (
            f"HD95\n{_length(found)}",
            "95 % of the border of each mask lies no farther than this from the other's border",
            lambda o: o.hd95,
        ),
        (f"First\n{volume}", f"Volume of {found.first}", lambda o: o.volume_first),
        (f"Second\n{volume}", f"Volume of {found.second}", lambda o: o.volume_second),
        (f"Change\n{volume}", "Volume of the second mask minus that of the first", lambda o: o.difference),
        ("Change\n%", "The change as a share of the first mask", lambda o: o.difference_percent),
    ]


def _length(found: MaskComparison) -> str:
    return "px" if found.units == "pixels" else found.units
