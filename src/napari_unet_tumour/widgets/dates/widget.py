"""The Two dates panel: choose two scans and their masks, see both side by side, and what became of each lesion."""

from __future__ import annotations

import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError, UNetTumourError
from napari_unet_tumour.followup import (
    Alignment,
    Cancelled,
    FollowUp,
    Placing,
    align,
    can_align,
    iter_follow_up,
    write_changes,
)
from napari_unet_tumour.followup.alignment import MISSING
from napari_unet_tumour.scans.frame_of_reference import FrameRelation
from napari_unet_tumour.widgets.common import panels
from napari_unet_tumour.widgets.common.background import Background, Task, TaskDropped
from napari_unet_tumour.widgets.common.dock import Panel
from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue, UndockFilter
from napari_unet_tumour.widgets.common.table import FigureTable
from napari_unet_tumour.widgets.common.words import failure_text
from napari_unet_tumour.widgets.dates.layers import (
    FRAMES,
    Date,
    check_pair,
    date_of,
    patients_text,
    pixels,
    relation_of,
)
from napari_unet_tumour.widgets.dates.side_by_side import SideBySide
from napari_unet_tumour.widgets.dates.view import DatesView, placing_text
from napari_unet_tumour.widgets.layers.edits import list_events
from napari_unet_tumour.widgets.layers.image_source import images
from napari_unet_tumour.widgets.measure.layers import label_names, masks, scan_for
from napari_unet_tumour.widgets.measure.view import ask_where, copy

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer

    from napari_unet_tumour.followup import LesionChange
    from napari_unet_tumour.scans.scan import Scan

FAILED = partial(failure_text, failed="The two dates could not be compared", again="try again")
WHEN = ("earlier", "later")
NO_MASKS = "Choose the masks of both dates to match their lesions."


class CompareDates(Panel):
    """Dock widget that shows two dates of a patient side by side and matches their lesions.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer that it is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._panel = DatesView()
        super().__init__(self._panel.rows(), self._panel.actions(), "Dates", fills=True)
        # napari gives a widget a proxy of the viewer, whose layers are not identical to those that events name.
        self._viewer = getattr(viewer, "__wrapped__", viewer)
        self.table = FigureTable(self.go_to, "One row per lesion. Click: both views go to it.")
        self._panel.put_table(self.content, self.table)
        self._inbox = MainThreadQueue(self.native)
        self._background = Background(self._inbox.put)
        self._side: Callable[[], SideBySide | None] = lambda: None
        self._dates: tuple[Date, Date] | None = None
        self._found: FollowUp | None = None
        self._alignment: Alignment | None = None
        self._asked = False  # whether the person has said if the later scan is to be aligned
        self.order_tabs()
        self._listen()
        self._on_layers()

    @property
    def running(self) -> bool:
        """Whether scans are being aligned or lesions matched."""
        return self._background.running

    @property
    def found(self) -> FollowUp | None:
        """What became of the lesions, None before they were matched."""
        return self._found

    @property
    def side(self) -> SideBySide | None:
        """The views, None where they are closed."""
        return self._side()

    @property
    def alignment(self) -> Alignment | None:
        """Where the later scan is shown, None where it is not aligned."""
        return self._alignment

    def start(self) -> None:
        """Show both dates, align them where that is wished, and match their lesions; what is in the way is said."""
        panel = self._panel
        try:
            earlier, later = (
                date_of(image.value, mask.value, when)
                for image, mask, when in zip(panel.images, panel.masks, WHEN, strict=True)
            )
            check_pair(earlier, later)
        except UNetTumourError as error:
            panel.say(str(error), wrong=True)
            return
        known = self._same_dates(earlier, later)
        self._dates = self._dates if known else (earlier, later)
        if not known and not self._asked:
            with panel.align.changed.blocked():
                panel.align.value = can_align() and relation_of(earlier, later) is FrameRelation.DIFFERENT
        self._found = None
        self._show(self._alignment if known and panel.align.value else None)
        panel.show_result(None, self.table, self._about())
        panel.show_running(True)
        panel.say("Aligning…" if panel.align.value else "Matching lesions…")
        self._background.start(self._work(), self._on_result, self._on_failed, panel.show_progress, FAILED)

    def cancel(self, why: str = "Cancelled.") -> None:
        """Stop what is under way; the views stay."""
        if self.running:
            self._background.cancel()
            self._panel.show_running(False)
            self._panel.say(why)

    def go_to(self, lesion: LesionChange) -> None:
        """Show a lesion in both views."""
        if self.side is None or self._dates is None:
            self._panel.say("The views are closed: press Side by side again", wrong=True)
            return
        smaller = lesion.volume_before <= lesion.volume_after if lesion.before and lesion.after else bool(lesion.before)
        place = lesion.place_before if smaller else lesion.place_after
        if not smaller and self._alignment is not None and place is not None:
            place = tuple((self._alignment.to_earlier @ [*place, 1.0])[:-1])
        self.side.go(place, centre=True)

    def save(self, path: str) -> None:
        """Write the table as CSV; the status line says how it went."""
        if not path or self._found is None:
            return
        try:
            write_changes(Path(path), self._found)
            self._panel.say(f"Saved {Path(path).name}.")
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)

    # ---- the work --------------------------------------------------------------------------------------

    def _work(self) -> Any:
        """Return what a thread does: nothing of it touches a layer."""
        assert self._dates is not None
        earlier, later = self._dates
        scans = [None if date.image is None else pixels(date.image, date.grid) for date in self._dates]
        drawn = [None if date.mask is None else pixels(date.mask) for date in self._dates]
        names = {n: name for date in (later, earlier) if date.mask is not None for n, name in _names(date)}
        wanted = bool(self._panel.align.value)
        return partial(_compared, scans, drawn, names, wanted, self._alignment, relation_of(earlier, later))

    def _on_result(self, answer: tuple[Alignment | None, FollowUp | None, str]) -> None:
        alignment, self._found, why = answer
        self._panel.show_running(False)
        self._show(alignment)
        self._panel.show_result(self._found, self.table, self._about())
        assert self._dates is not None
        relation = relation_of(*self._dates)
        if relation is FrameRelation.DIFFERENT and not can_align():
            why = MISSING
        text = placing_text(_placing(relation), alignment, why)
        self._panel.say(text if self._found is not None else f"{text} {NO_MASKS}", wrong=bool(why))

    def _on_failed(self, why: str) -> None:
        self._panel.show_running(False)
        self._panel.say(why, wrong=True)

    def _about(self) -> list[str]:
        if self._dates is None:
            return []
        return [patients_text(*self._dates), FRAMES[relation_of(*self._dates)]]

    # ---- the views -------------------------------------------------------------------------------------

    def _same_dates(self, earlier: Date, later: Date) -> bool:
        """Tell whether these layers are shown already, each where it was."""
        return self._dates is not None and all(
            one.image == other.image and one.mask == other.mask and np.array_equal(one.grid.world, other.grid.world)
            for one, other in zip(self._dates, (earlier, later), strict=True)
        )

    def _show(self, alignment: Alignment | None) -> None:
        assert self._dates is not None
        self._alignment = alignment
        side = self.side
        if side is None:
            side = SideBySide(self._viewer, self._on_side_closed, self._on_edit)
            self._side = weakref.ref(side)  # the window owns it, and its canvases end with the window
            self._viewer.window.add_dock_widget(side, name="Two dates side by side", area="bottom")
        to_earlier = None if alignment is None else alignment.to_earlier
        side.show_dates(*self._dates, str(self._panel.plane.value), to_earlier)

    def _on_side_closed(self) -> None:
        self._side = lambda: None

    def _on_plane(self) -> None:
        if self.side is not None and self._dates is not None:
            self._show(self._alignment)

    def _on_align(self) -> None:
        self._asked = True
        if self.side is not None and self._dates is not None:
            self.start()

    # ---- what happens in the window --------------------------------------------------------------------

    def _listen(self) -> None:
        panel = self._panel
        for one in panel.images:
            one.choices = lambda picker: [(layer.name, layer) for layer in images(self._viewer)]
        for one in panel.masks:
            one.choices = lambda picker: [(layer.name, layer) for layer in masks(self._viewer)]
        panel.run.changed.connect(lambda: self.cancel() if self.running else self.start())
        panel.plane.changed.connect(self._on_plane)
        panel.align.changed.connect(self._on_align)
        panel.copy.changed.connect(self._copy)
        panel.csv.changed.connect(self._save_as)
        panel.start_view.connect(
            partial(panels.open_scan, self._viewer, self.native, panel.say),
            partial(panels.open_sample, self._viewer),
        )
        for event in list_events(self._viewer):
            event.connect(self._on_layers)
        UndockFilter(self.native, self.close_down)
        self.native.destroyed.connect(self._background.cancel)

    def _on_layers(self, event: Any = None) -> None:
        panel = self._panel
        for one in (*panel.images, *panel.masks):
            one.reset_choices()
        panel.start_view.show(not images(self._viewer) and not masks(self._viewer))
        self._drop_removed()
        if event is None or event.type == "inserted":
            self._choose(masks(self._viewer) if event is None else [event.value])

    def _choose(self, new: list[Any]) -> None:
        """Choose the first two scans where none is chosen, and for a scan without a mask a new one that lies on it."""
        panel, found = self._panel, images(self._viewer)
        if len(found) >= len(WHEN) and all(one.value is None for one in panel.images):
            panel.images[0].value, panel.images[1].value = found[:2]
            new = masks(self._viewer)
        for mask in (layer for layer in new if layer in masks(self._viewer)):
            scan = scan_for(self._viewer, mask)
            for image, picked in zip(panel.images, panel.masks, strict=True):
                if scan is not None and image.value == scan and picked.value is None:
                    picked.value = mask

    def _drop_removed(self) -> None:
        """Let go of dates whose layers are gone."""
        gone = [layer for date in self._dates or () for layer in date.layers if layer not in self._viewer.layers]
        if not gone:
            return
        self.cancel()
        self._dates = self._found = self._alignment = None
        if self.side is not None:
            self.side.clear()
        self._panel.show_result(None, self.table, [])
        self._panel.say(f"Layer '{gone[0].name}' was removed: choose two dates again", wrong=True)

    def _on_edit(self, mask: Any) -> None:
        # Figures of masks that have changed meanwhile are not shown as those of today.
        self.cancel()
        self._panel.say(f"Layer '{mask.name}' has changed since: press Side by side again.")

    def _copy(self) -> None:
        copy(self.table.text())
        self._panel.say("Copied: paste it into a spreadsheet.")

    def _save_as(self) -> None:
        if self._found is not None:
            name = f"{self._found.earlier.mask} and {self._found.later.mask}.csv"
            self.save(ask_where(self.native, name, ".csv"))

    def close_down(self) -> None:
        """Let go of the viewer; the views are closed, too."""
        self.cancel()
        for event in list_events(self._viewer):
            event.disconnect(self._on_layers)
        if self.side is not None:
            self._viewer.window.remove_dock_widget(self.side)
        self._inbox.close()
        self.native.deleteLater()


def _placing(relation: FrameRelation) -> Placing:
    return Placing.ONE_FRAME if relation is FrameRelation.SAME else Placing.NOT_ALIGNED


def _names(date: Date) -> list[tuple[int, str]]:
    return [] if date.mask is None else list(label_names(date.mask).items())


def _compared(
    scans: list[Scan | None], drawn: list[Scan | None], names: dict[int, str], wanted: bool,
    known: Alignment | None, relation: FrameRelation, task: Task,
) -> tuple[Alignment | None, FollowUp | None, str]:  # fmt: skip
    """Align and match on the thread of a task; also return why the scans could not be aligned."""
    alignment, why = known if wanted else None, ""
    earlier, later = scans
    if wanted and alignment is None:
        try:
            if earlier is None or later is None:
                raise ScanError("Aligning needs the scans of both dates, not the masks alone")
            alignment = align(earlier, later, task.report, lambda: task.wanted)
        except Cancelled as error:
            raise TaskDropped from error
        except UNetTumourError as error:
            why = str(error)
    placing = _placing(relation) if alignment is None else Placing.ALIGNED
    before, after = drawn
    if before is None or after is None:
        return alignment, None, why
    matrix = None if alignment is None else alignment.to_earlier
    return alignment, task.follow(iter_follow_up(before, after, names, placing, matrix)), why
