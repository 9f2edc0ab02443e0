"""The Work-list panel: a folder of scans, patient by patient."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog

from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.widgets.common.canvas import canvas_of
from napari_unet_tumour.widgets.common.dock import Panel
from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue, UndockFilter, single_shot_timer
from napari_unet_tumour.widgets.common.table import FigureTable
from napari_unet_tumour.widgets.layers.edits import LayerEvents
from napari_unet_tumour.widgets.worklist.case_layers import OpenCase
from napari_unet_tumour.widgets.worklist.closing import ClosedLayers
from napari_unet_tumour.widgets.worklist.preparer import Preparer
from napari_unet_tumour.widgets.worklist.resume import LastPlace
from napari_unet_tumour.widgets.worklist.saving import CaseSaver
from napari_unet_tumour.widgets.worklist.view import WorklistView, columns
from napari_unet_tumour.worklist import ACCEPTED, SEGMENTED, Worklist
from napari_unet_tumour.worklist.pairs import write_pairs

if TYPE_CHECKING:
    import napari.viewer

    from napari_unet_tumour.widgets.worklist.loading import LoadedCase
    from napari_unet_tumour.worklist import Case

SAVE_MS = 2000
# Of a mask. napari's set_data is none: it comes with every other slice, too.
CHANGES = ("paint", "data", "labels_update")


class WorklistWidget(Panel):
    """Dock widget that works through a folder of scans.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer that it is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._last = LastPlace()
        self._panel = WorklistView(self._last.folder)
        super().__init__(self._panel.rows(), self._panel.actions(), "Work-list", fills=True)
        self._viewer = viewer
        self.table = FigureTable(self._on_row, "Click a row: open that scan.")
        self._panel.put_table(self.content, self.table)
        self._inbox = MainThreadQueue(self.native)
        self._soon = single_shot_timer(self._inbox, SAVE_MS, self._autosave)
        self._worklist: Worklist | None = None
        self._preparer: Preparer | None = None
        self._saver: CaseSaver | None = None
        self._open: OpenCase | None = None
        self._wanted: str | None = None
        self._mask_events = LayerEvents(lambda event: self._soon.start(), CHANGES)
        self._closed = ClosedLayers(viewer, self._inbox)
        self._passed_over = ""  # why the case before could not be opened
        self.order_tabs()
        self._listen()

    @property
    def worklist(self) -> Worklist | None:
        """The list that is open."""
        return self._worklist

    @property
    def case(self) -> Case | None:
        """The case that is open."""
        return None if self._open is None or self._worklist is None else self._worklist[self._open.key]

    @property
    def busy(self) -> bool:
        """Whether a case is being opened."""
        return self._wanted is not None

    def open_folder(self, folder: str) -> None:
        """Show the list of a folder; what is wrong with it is said in the status line."""
        try:
            worklist = Worklist(folder)
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)
            return
        if not self._leave():
            return
        for part in (self._preparer, self._saver):
            if part is not None:
                part.close()
        self._worklist = worklist
        self._saver = CaseSaver(worklist, self._inbox, self._show_case, self._on_trouble)
        self._preparer = Preparer(worklist, self._inbox, self._on_loaded, self._show_case, self._on_trouble)
        self.table.show_items(columns(), worklist.cases)
        self._panel.show_list(True)
        self._panel.show_counts(worklist)
        resumed = self._last.case_of(worklist)
        self._panel.say("Press Next patient to begin." if resumed is None else f"Next patient opens {resumed}.")
        self._last.keep(worklist, None)

    def next(self) -> None:
        """Save and close the open case, and open the next one that is not accepted."""
        worklist = self._worklist
        if worklist is None:
            return
        resumed = self._last.case_of(worklist)
        if self._open is None and self._wanted is None and resumed is not None:
            self.open_case(resumed)
            return
        after = self._wanted or (None if self._open is None else self._open.key)
        case = worklist.next_open(after)
        if case is not None:
            self.open_case(case.key)
        elif self.case is not None and self.case.state != ACCEPTED:
            if self._save():
                self._panel.say("Saved. This is the last scan that is not accepted.")
        elif self._leave():
            self._panel.say("All scans of the list are accepted, or cannot be opened.")

    def accept(self) -> None:
        """Mark the open case as accepted and open the next one."""
        if self._open is None:
            self._panel.say("No scan of the list is open: press Next patient", wrong=True)
        elif self._save(accept=True):
            self.next()

    def open_case(self, key: str) -> None:
        """Save and close the open case, and open another one."""
        if self._preparer is None:
            return
        ready = self._preparer.prepared(key)
        if not self._leave(hide=ready is not None and not ready.problem):
            return
        loaded = self._preparer.take(key)
        self._wanted = key
        if loaded is not None:
            self._show(loaded)
            return
        self._panel.say(f"Opening {key}…")
        self._preparer.load(key)

    def save_pairs(self, path: str) -> None:
        """Write the accepted cases as a table for fine-tuning; the status line says how it went."""
        if not path or self._worklist is None:
            return
        try:
            count = write_pairs(Path(path), self._worklist)
            self._panel.say(f"{count} accepted scans in {Path(path).name}: napari-unet-tumour finetune --pairs")
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)

    # ---- what happens in the window ------------------------------------------------------------

    def _listen(self) -> None:
        panel = self._panel
        ways = [self._ask_for_folder, lambda: self.open_folder(self._last.folder)]
        panel.start_view.connect(*ways[: len(panel.start_view.buttons)])
        panel.other.changed.connect(self._ask_for_folder)
        panel.next.changed.connect(self.next)
        panel.accept.changed.connect(self.accept)
        panel.pairs.changed.connect(self._ask_for_pairs)
        panel.background.changed.connect(self._segment_ahead)
        self._viewer.layers.events.inserted.connect(self._watch_mask)
        UndockFilter(self.native, self.close_down)

    def _ask_for_folder(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self.native, "Open a folder of scans"):
            self.open_folder(folder)

    def _ask_for_pairs(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self.native, "Save the accepted scans", "pairs.csv", "*.csv")
        self.save_pairs(str(path))

    def _on_row(self, case: Case) -> None:
        if self._open is None or self._open.key != case.key:
            self.open_case(case.key)

    # ---- the open case ---------------------------------------------------------------------------

    def _show(self, loaded: LoadedCase) -> None:
        """Add the layers of a case that was read, and begin to prepare the next one."""
        worklist = self._worklist
        assert worklist is not None
        self._wanted = None
        if loaded.problem:
            self._passed_over = loaded.problem
            self._note(loaded.key, problem=loaded.problem, broken=True)
            self._panel.say(loaded.problem, wrong=True)
            following = worklist.next_open(loaded.key)
            if following is not None:
                self.open_case(following.key)
            return
        self._open = OpenCase(self._viewer, loaded, self._closed.hidden)
        if worklist[loaded.key].broken:
            self._note(loaded.key, problem="", broken=False)
        self.table.choose([case.key for case in worklist.cases].index(loaded.key))
        self._say_opened(worklist[loaded.key])
        self._watch_mask()
        self._paint()
        self._last.keep(worklist, loaded.key)
        self._segment_ahead()

    def _paint(self) -> None:
        """Bring the case on screen now, before anything that can wait."""
        self._closed.fit_others()
        if (canvas := canvas_of(self.native)) is not None:
            canvas.repaint()
        self._closed.remove_soon()

    def _say_opened(self, case: Case) -> None:
        """Say which case is open, and which could not be opened before it."""
        text = f"{case.name} is open ({case.state})."
        self._panel.say(f"{self._passed_over}. {text}" if self._passed_over else text, bool(self._passed_over))
        self._passed_over = ""

    def _segment_ahead(self, event: Any = None) -> None:
        """Read the next case, and let the worker segment this one and the next."""
        if self._worklist is None or self._preparer is None or self._open is None:
            return
        after = self._worklist.next_open(self._open.key)
        following = [] if after is None else [after.key]
        for key in following:
            self._preparer.load(key)
        new = [self._open.key] if self._open.mask is None else []
        self._preparer.segment([*new, *following] if self._panel.background.value else [])

    def _on_loaded(self, loaded: LoadedCase) -> None:
        """Take up a case that a thread has read: to be shown, the open one's mask, or the next one."""
        if loaded.key == self._wanted:
            self._show(loaded)
        elif self._open is not None and loaded.key == self._open.key:
            if loaded.mask is not None and self._open.mask is None:
                self._open.show_mask(loaded.mask, drawn=False)
                self._watch_mask()
        elif loaded.problem:
            self._note(loaded.key, problem=loaded.problem, broken=True)
            self._segment_ahead()
        elif self._preparer is not None:
            self._preparer.keep(loaded)

    def _show_case(self, case: Case) -> None:
        """Show what is new of a case: its row, and its mask where the network has just made it."""
        worklist, preparer = self._worklist, self._preparer
        if worklist is None or preparer is None:
            return
        self.table.update_item([one.key for one in worklist.cases].index(case.key), case)
        self._panel.show_counts(worklist)
        if case.state != SEGMENTED:
            return
        is_open = self._open is not None and self._open.key == case.key
        loaded = self._open.loaded if is_open and self._open is not None else preparer.prepared(case.key)
        if loaded is not None and loaded.mask is None and not (is_open and self._open and self._open.mask is not None):
            preparer.load_mask(loaded)

    def _watch_mask(self, event: Any = None) -> None:
        """Hear of changes of the case's mask, whoever has added it."""
        mask = None if self._open is None else self._open.mask
        self._mask_events.follow([] if mask is None else [mask])

    def _save(self, accept: bool = False) -> bool:
        """Write the open case's mask and state; the status line says what stands in the way."""
        return self._open is None or self._saver is None or self._saver.save(self._open, accept)

    def _note(self, key: str, **changes: Any) -> None:
        if self._saver is not None:
            self._saver.update(key, **changes)

    def _autosave(self) -> None:
        self._save()

    def _leave(self, hide: bool = False) -> bool:
        """Save and close the open case; False where it could not be saved, and so stays open.

        With `hide` its layers are only hidden, until the next case is on screen.
        """
        self._soon.stop()
        if not self._save():
            return False
        self._closed.remove_hidden()
        opened, self._open = self._open, None
        self._wanted = None
        if opened is not None:
            self._watch_mask()
            (self._closed.hide if hide else self._closed.remove)(opened.layers)
        return True

    def _on_trouble(self, text: str) -> None:
        self._panel.say(text, wrong=True)

    def close_down(self) -> None:
        """Save, and let go of the viewer; the layers stay."""
        self._soon.stop()
        self._save()
        if self._preparer is not None:
            self._preparer.close()
        self._open = None
        self._watch_mask()
        self._closed.remove_hidden()
        self._viewer.layers.events.inserted.disconnect(self._watch_mask)
        self._inbox.close()
        self.native.deleteLater()
