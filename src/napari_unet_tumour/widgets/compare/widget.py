"""The Compare masks panel: choose two masks, press Compare, see where they differ."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.measure import MaskComparison, compare_masks, write_agreement
from napari_unet_tumour.widgets.common import panels
from napari_unet_tumour.widgets.common.background import Background
from napari_unet_tumour.widgets.common.dock import Panel
from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue, UndockFilter
from napari_unet_tumour.widgets.common.table import FigureTable
from napari_unet_tumour.widgets.common.words import failure_text
from napari_unet_tumour.widgets.compare import layers as difference_layers
from napari_unet_tumour.widgets.compare.view import CompareView
from napari_unet_tumour.widgets.layers.edits import list_events
from napari_unet_tumour.widgets.measure.layers import label_names, masks
from napari_unet_tumour.widgets.measure.view import ask_where, copy

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Labels

NOT_COMPARED = partial(failure_text, failed="The masks could not be compared", again="compare again")
CHANGED = "A mask has changed since: compare again."


class CompareMasks(Panel):
    """Dock widget that compares two Labels layers.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer that it is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._panel = CompareView()
        super().__init__(self._panel.rows(), self._panel.actions(), "Compare", fills=True)
        self._viewer = viewer
        self.table = FigureTable(
            lambda row: self.go_to_largest(), "One row per label. Click: go to the slice where the masks differ most."
        )
        self._panel.put_table(self.content, self.table)
        self._inbox = MainThreadQueue(self.native)
        self._background = Background(self._inbox.put)
        self._found: MaskComparison | None = None
        self._pair: tuple[Labels, ...] = ()
        self.order_tabs()
        self._listen()
        self._on_layers()

    @property
    def running(self) -> bool:
        """Whether masks are being compared."""
        return self._background.running

    @property
    def found(self) -> MaskComparison | None:
        """The last comparison, None before the first."""
        return self._found

    def compare(self) -> None:
        """Start comparing; what is in the way is said in the status line."""
        first, second = self._panel.first.value, self._panel.second.value
        if first is None or second is None or first == second:
            self._panel.say("Choose two masks: open another one, or make one with Segment", wrong=True)
            return
        self._watch((first, second))
        names = {**label_names(second), **label_names(first)}
        pair = difference_layers.as_scan(first), difference_layers.as_scan(second)
        self._panel.show_running(True)
        self._background.start(
            lambda task: compare_masks(*pair, names), self._on_result, self._on_failed, wording=NOT_COMPARED
        )

    def cancel(self) -> None:
        """Stop waiting for an answer; the last one stays."""
        if self.running:
            self._background.cancel()
            self._panel.show_running(False)
            self._panel.say("Cancelled.")

    def go_to_largest(self) -> None:
        """Show the slice on which the masks differ most."""
        self._panel.difference.value = True
        layer = difference_layers.shown_difference(self._viewer) or self._show_difference()
        if layer is not None and not difference_layers.go_to_largest(self._viewer, layer):
            self._panel.say("The two masks are the same.")

    def save(self, path: str, kind: str) -> None:
        """Write the figures as ".csv" or ".json"; the status line says how it went."""
        if not path or self._found is None:
            return
        try:
            write_agreement(Path(path), self._found, kind)
            self._panel.say(f"Saved {Path(path).name}.")
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)

    # ---- what happens in the window ------------------------------------------------------------

    def _listen(self) -> None:
        panel = self._panel
        panel.first.choices = panel.second.choices = self._named_masks
        panel.run.changed.connect(lambda: self.cancel() if self.running else self.compare())
        panel.difference.changed.connect(self._on_difference)
        panel.largest.changed.connect(self.go_to_largest)
        panel.copy.changed.connect(self._copy)
        panel.dates.changed.connect(lambda: panels.open_panel(self._viewer, panels.DATES))
        panel.csv.changed.connect(partial(self._save_as, ".csv"))
        panel.json.changed.connect(partial(self._save_as, ".json"))
        panel.start_view.connect(
            partial(panels.open_scan, self._viewer, self.native, panel.say),
            partial(panels.open_panel, self._viewer, panels.SEGMENT),
        )
        for event in list_events(self._viewer):
            event.connect(self._on_layers)
        UndockFilter(self.native, self.close_down)

    def _named_masks(self, picker: Any) -> list[tuple[str, Labels]]:
        """Offer every mask but the layer of the difference."""
        shown = difference_layers.shown_difference(self._viewer)
        return [(layer.name, layer) for layer in masks(self._viewer) if layer != shown]

    def _on_layers(self, event: Any = None) -> None:
        panel = self._panel
        for picker in (panel.first, panel.second):
            picker.reset_choices()
        choices = panel.first.choices
        if len(choices) > 1 and panel.first.value == panel.second.value:
            panel.second.value = next(one for one in reversed(choices) if one != panel.first.value)
        panel.start_view.show(not choices)

    def _on_difference(self, shown: bool) -> None:
        if shown:
            self._show_difference()
        else:
            difference_layers.hide_difference(self._viewer)

    def _show_difference(self) -> Labels | None:
        found = self._found
        source = None if found is None else next((m for m in self._pair if m.name == found.grid.name), None)
        if found is None or source not in self._viewer.layers:
            return None
        return difference_layers.show_difference(self._viewer, found, source)

    def _copy(self) -> None:
        copy(self.table.text())
        self._panel.say("Copied: paste it into a spreadsheet.")

    def _save_as(self, kind: str) -> None:
        if self._found is not None:
            name = f"{self._found.first} and {self._found.second}{kind}"
            self.save(ask_where(self.native, name, kind), kind)

    # ---- what a run brings ---------------------------------------------------------------------

    def _on_failed(self, why: str) -> None:
        self._panel.show_running(False)
        self._panel.say(why, wrong=True)

    def _on_result(self, answer: MaskComparison) -> None:
        self._panel.show_running(False)
        self._found = answer
        self._panel.show_result(answer, self.table)
        if self._panel.difference.value:
            self._show_difference()

    def _watch(self, pair: tuple[Labels, ...]) -> None:
        """Hear of changes of the masks that are being compared, and of no others."""
        for mask in self._pair:
            for event in (mask.events.paint, mask.events.data):
                event.disconnect(self._on_change)
        self._pair = pair
        for mask in pair:
            for event in (mask.events.paint, mask.events.data):
                event.connect(self._on_change)

    def _on_change(self, event: Any = None) -> None:
        # Figures of masks that have changed meanwhile are not shown as those of today.
        self.cancel()
        self._panel.say(CHANGED)

    def close_down(self) -> None:
        """Let go of the viewer; the layer of the difference stays."""
        self.cancel()
        self._watch(())
        for event in list_events(self._viewer):
            event.disconnect(self._on_layers)
        self._inbox.close()
        self.native.deleteLater()
