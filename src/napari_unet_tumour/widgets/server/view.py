"""What the DICOM server panel looks like; what it does is in widget.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, LineEdit, ProgressBar, PushButton
from qtpy.QtWidgets import QLineEdit

from napari_unet_tumour.widgets.common.style import StatusLine, about, flat, note, picker, row, strong, thin, two_lines

if TYPE_CHECKING:
    from magicgui.widgets import Container, Widget

    from napari_unet_tumour.dicomweb import FoundSeries, FoundStudy
    from napari_unet_tumour.settings import Progress
    from napari_unet_tumour.widgets.common.table import Column, FigureTable

MODALITIES = ["any", "MR", "CT", "PT", "SEG", "SR"]
ADDRESS_TIP = "The address of the DICOMweb server, for example https://pacs.example.org/dicom-web"


class ServerView(StatusLine):
    """The parts of the panel, made and arranged."""

    def __init__(self) -> None:
        self.address = _line("Server", ADDRESS_TIP, "https://pacs.example.org/dicom-web")
        self.user = _line("User", "Your name on this server. It is not kept.", "")
        self.password = _line("Password", "It is not kept, and never printed.", "")
        self.password.native.setEchoMode(QLineEdit.EchoMode.Password)
        self.patient = _line("Patient ID", "Part of an ID too: * and ? stand for any letters.", "any")
        self.date = _line("Study date", "YYYYMMDD, or YYYYMMDD-YYYYMMDD.", "any")
        self.modality = ComboBox(label="Modality", choices=MODALITIES, tooltip="Studies with a series of this kind.")
        self.folder = PushButton(text="Folder…", tooltip="Where fetched series are kept.")
        self.run = PushButton(text="Search", tooltip="List the studies of the server, at most 200 (Enter in a field).")
        self.bar = ProgressBar()
        self.status = note()
        self.open = PushButton(
            text="Fetch and open", tooltip="Fetch the chosen series into the folder, and open it as a layer."
        )
        self.mask = picker("Mask", "The Labels layer that is stored as DICOM SEG with its series.")
        self.store = PushButton(text="Store mask", tooltip="Send the mask to the server, as DICOM SEG.")
        self.files = PushButton(
            text="Store files…",
            tooltip="Send DICOM files to the server, for example reports (SR) from the Lesion report.",
        )
        self.login_rows = [row(self.user), row(self.password)]
        strong(self.run)
        thin(self.bar)
        two_lines(self.status)
        self.show_login(False)
        self.open.enabled = self.store.enabled = False

    def rows(self) -> list[Widget]:
        """Return the rows that scroll; the tables go below them."""
        return [
            row(self.address), *self.login_rows, row(self.patient), row(self.date), row(self.modality),
        ]  # fmt: skip

    def actions(self) -> list[Widget]:
        """Return the rows that are always in sight."""
        return [
            self.run, self.bar, self.status, flat([self.open, self.folder]),
            row(self.mask), flat([self.store, self.files]), about(),
        ]  # fmt: skip

    def put_tables(self, content: Container[Any], *tables: FigureTable) -> None:
        """Place the tables; they share the height that is left."""
        for table in tables:
            content.native.layout().addWidget(table, 1)

    def show_login(self, there: bool) -> None:
        """Show where user and password are typed."""
        for one in self.login_rows:
            one.visible = there

    def show_running(self, text: str) -> None:
        """Show what is under way; "" where nothing is."""
        self.run.text = "Cancel" if text else "Search"
        self.bar.visible = bool(text)
        self.bar.max = 0  # a bar without an end, until a number of files is known
        if text:
            self.say(text)

    def show_progress(self, progress: Progress) -> None:
        """Show how far it is."""
        self.bar.max = progress.total
        self.bar.value = progress.done
        self.say(f"{progress.message.capitalize()}: {progress.done} of {progress.total}")


def _line(label: str, tooltip: str, placeholder: str) -> LineEdit:
    made = LineEdit(label=label, tooltip=tooltip)
    made.native.setPlaceholderText(placeholder)
    made.native.setMinimumWidth(60)
    return made


def study_columns() -> list[Column]:
    """Return head, tooltip and text of every column of the studies."""

    def date(one: FoundStudy) -> str:
        return f"{one.date[:4]}-{one.date[4:6]}-{one.date[6:]}" if len(one.date) == 8 else one.date

    return [
        ("Patient", "Patient ID", lambda one: one.patient),
        ("Date", "Date of the study", date),
        ("Kinds", "Modalities in the study", lambda one: one.modalities),
        ("Study", "Its description", lambda one: one.description),
    ]


def series_columns() -> list[Column]:
    """Return head, tooltip and text of every column of the series."""

    def number(text: str) -> int | str:
        return int(text) if text.isdecimal() else text

    def images(one: FoundSeries) -> int | str:
        return number(one.images)

    return [
        ("No.", "Number of the series", lambda one: number(one.number)),
        ("Kind", "Modality", lambda one: one.modality),
        ("Images", "Number of images", images),
        ("Series", "Its description", lambda one: one.description),
    ]
