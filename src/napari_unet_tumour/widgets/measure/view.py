"""What the Lesion report widget looks like; what it does is in measure.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ProgressBar, PushButton, TextEdit
from qtpy.QtGui import QPdfWriter, QTextDocument
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_unet_tumour.base.atomic_write import atomic
from napari_unet_tumour.widgets.common.start import start_with_mask
from napari_unet_tumour.widgets.common.style import StatusLine, about, flat, note, picker, row, strong, thin
from napari_unet_tumour.widgets.common.table import shown

if TYPE_CHECKING:
    from magicgui.widgets import Container, Widget
    from qtpy.QtWidgets import QWidget

    from napari_unet_tumour.measure import Comparison, Report
    from napari_unet_tumour.settings import Progress
    from napari_unet_tumour.widgets.measure.run import MeasureResult
    from napari_unet_tumour.widgets.measure.table import LesionTable

SIZES = [("mm where known", "auto"), ("pixels", "pixel")]
TELL_ALL = "Measure, then save mask, table and report beside the scan, under names that are free."
AUTO: tuple[str, int | None] = ("thickest spacing", None)


class MeasureView(StatusLine):
    """The parts of the Lesion report widget, made and arranged."""

    def __init__(self) -> None:
        self._offered: list[tuple[str, int | None]] = [AUTO]
        self.start_view = start_with_mask()
        self.mask = picker("Mask", "The Labels layer to measure; follows the selected layer.")
        self.scan = picker("Scan", "The image whose brightness is measured under the mask.", nullable=True)
        self.earlier = picker("Earlier mask", "Compare with this mask of an earlier date.", nullable=True)
        self.axis = picker(
            "Slices across", "Diameters are measured within slices across this axis.", choices=self._axes
        )
        self.sizes = picker("Sizes", "Choose pixels where the spacing of the scan is not true.", choices=SIZES)
        self.run = PushButton(text="Measure", tooltip="Measure every lesion. While it measures: cancel.")
        self.bar = ProgressBar(min=0, max=1, value=0, tooltip="How far it is.")
        self.status = note()
        self.totals = TextEdit(tooltip="Totals of every label, what changed, and what to know about the figures.")
        self.copy = PushButton(text="Copy table", tooltip="Put the table on the clipboard, for a spreadsheet.")
        self.csv = PushButton(text="Save CSV…", tooltip="A row per lesion and per label.")
        self.json = PushButton(text="Save JSON…", tooltip="Everything, with the ends of the diameters.")
        self.page = PushButton(
            text="Save report…", tooltip="A page with a picture of each lesion as HTML or PDF, or a DICOM report."
        )
        self.all = PushButton(text="Save all", tooltip=TELL_ALL)
        self._polish()

    def rows(self) -> list[Widget]:
        """Return the rows that scroll, from top to bottom; the table goes before the totals."""
        return [
            *self.start_view.rows(),
            *(row(one) for one in (self.mask, self.scan, self.earlier, self.axis, self.sizes)),
            self.totals,
        ]

    def actions(self) -> list[Widget]:
        """Return the rows that are always in sight."""
        return [
            self.run,
            self.bar,
            self.status,
            flat([self.copy, self.csv, self.json]),
            flat([self.page, self.all]),
            about(),
        ]

    def put_table(self, content: Container[Any], table: LesionTable) -> None:
        """Place the table below the pickers; it takes the height that is left."""
        layout = content.native.layout()
        layout.insertWidget(layout.indexOf(self.totals.native), table, 1)

    @property
    def in_pixels(self) -> bool:
        """Whether sizes shall count pixels."""
        return bool(self.sizes.value == "pixel")

    @property
    def slice_axis(self) -> int | None:
        """The chosen slice axis, None for the one with the largest spacing."""
        value: int | None = self.axis.value
        return value

    def _polish(self) -> None:
        strong(self.run)
        self.offer_report(False)
        thin(self.bar)
        # A scrolled text: a label as long as these notes would make the whole window taller.
        self.totals.native.setReadOnly(True)
        self.totals.native.setMinimumHeight(60)
        self.totals.native.setMaximumHeight(150)

    def offer_report(self, there: bool) -> None:
        """Let a report be copied and saved, where there is one."""
        for button in (self.copy, self.csv, self.json, self.page):
            button.enabled = there

    def offer_axes(self, names: list[str], axes: str) -> None:
        """Offer the spatial axes of a mask, by the layer's own names where it has any."""
        space = [i for i, letter in enumerate(axes) if letter != "t"]
        kept = self.axis.value
        named = [
            (axes[i] if name.startswith("-") or not name else name, i) for i, name in enumerate(names) if i in space
        ]
        self._offered = [AUTO, *named] if len(space) == 3 else [AUTO]
        self.axis.reset_choices()
        self.axis.value = kept if len(space) == 3 and kept in space else None

    def _axes(self, picker: Any) -> list[tuple[str, int | None]]:
        # A function, since magicgui asks again whenever the widget is docked.
        return self._offered

    def start(self) -> None:
        """Show that measuring has begun."""
        self.run.text = "Cancel"
        self.bar.max, self.bar.value = 1, 0
        self.say("Measuring…")

    def show_bar(self) -> None:
        """Show the progress bar: it takes longer than a moment."""
        self.bar.visible = True

    def tell_progress(self, progress: Progress) -> None:
        """Show how far it is."""
        self.bar.max, self.bar.value = progress.total, progress.done

    def stop(self) -> None:
        """Show that nothing is being measured."""
        self.run.text = "Measure"
        self.bar.visible = False

    def tell_found(self, found: MeasureResult) -> None:
        """Show the totals, the notes and what changed."""
        report, change = found.report, found.comparison
        count = len(report.lesions)
        self.say(
            f"{count} lesion{'s' * (count != 1)}. Click one to see its diameters." if count else "No lesion found."
        )
        notes = [*report.notes, *(change.notes if change else ()), *([change.caveat] if change else [])]
        self.totals.native.setPlainText("\n".join([*totals_text(report), *changes_text(change), *notes]))


def totals_text(report: Report) -> list[str]:
    """Return a line per label with its number of lesions and volume."""
    lines = []
    for one in report.totals:
        at = f" at {' '.join(map(str, one.frame))}" if one.frame else ""
        lesions = f"{one.lesions} lesion{'s' * (one.lesions != 1)}"
        lines.append(f"{one.name}{at}: {lesions}, {shown(one.volume)} {report.volume_units}")
    return lines[:12]


def changes_text(change: Comparison | None) -> list[str]:
    """Return a line per label: volume, product, category."""
    if change is None:
        return []
    return [
        f"{one.name} since {change.earlier_mask}: volume {_percent(one.volume_change)}, "
        f"product {_percent(one.product_change)}: {one.category}"
        for one in change.changes
    ]


def _percent(value: float | None) -> str:
    return "new" if value is None else f"{value:+.0f} %"


def ask_where(parent: QWidget, name: str, suffix: str) -> str:
    """Let the person choose where to save; "" when they change their mind."""
    path, _ = QFileDialog.getSaveFileName(parent, "Save the lesion report", name, f"*{suffix}")
    return str(path if not path or path.lower().endswith(suffix) else path + suffix)


def ask_folder(parent: QWidget) -> Path | None:
    """Let the person choose where to save all files; None when they change their mind."""
    path = QFileDialog.getExistingDirectory(parent, "Save mask, table and report")
    return Path(path) if path else None


def copy(text: str) -> None:
    """Put text on the clipboard."""
    clipboard = QApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(text)


def ask_where_page(parent: QWidget, name: str) -> str:
    """Let the person choose where to save the page; "" when they change their mind."""
    kinds = {"HTML (*.html)": ".html", "PDF (*.pdf)": ".pdf", "DICOM structured report (*.dcm)": ".dcm"}
    path, kind = QFileDialog.getSaveFileName(parent, "Save the report", name, ";;".join(kinds))
    if not path or path.lower().endswith(tuple(kinds.values())):
        return str(path)
    return f"{path}{kinds.get(kind, '.html')}"


def write_pdf(path: Path, html: str) -> None:
    """Print a page into a PDF file, whole or not at all; raises OutputError."""
    document = QTextDocument()
    document.setHtml(html)
    with atomic(path) as beside:
        beside.touch()  # an OSError says what is wrong; Qt would be silent
        writer = QPdfWriter(str(beside))
        writer.setTitle("Lesion report")
        document.print_(writer) if hasattr(document, "print_") else document.print(writer)
