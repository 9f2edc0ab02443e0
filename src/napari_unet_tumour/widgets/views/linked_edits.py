"""Shows what is drawn on masks of the main view in canvases that have linked copies of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet_tumour.widgets.common.main_thread import single_shot_timer
from napari_unet_tumour.widgets.layers.edits import Edits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari.components import ViewerModel
    from qtpy.QtCore import QObject

    from napari_unet_tumour.widgets.views.plane_canvas import PlaneCanvas


class LinkedEdits:
    """Refreshes the linked copies of masks soon after their pixels have changed: the event may come before the change.

    Parameters
    ----------
    owner : QObject
        With which it ends.
    main : ViewerModel
        The main view.
    panes : sequence of PlaneCanvas
        The canvases; may be filled later.
    told : callable
        Called with a mask that has been changed.
    """

    def __init__(
        self,
        owner: QObject,
        main: ViewerModel,
        panes: Sequence[PlaneCanvas],
        told: Callable[[Any], None] = lambda mask: None,
    ) -> None:
        self._panes, self._told = panes, told
        self._edits = Edits(main, self._on_edit)
        self._edited: set[Any] = set()
        self._redraw = single_shot_timer(owner, 0, self._show)

    def watch(self, masks: Iterable[Any]) -> None:
        """Watch these masks and no others."""
        self._edits.watch(masks)

    def close(self) -> None:
        """Let go of the masks."""
        self._redraw.stop()
        self._edits.watch(())
        self._edited.clear()

    def _on_edit(self, mask: Any) -> None:
        self._edited.add(mask)
        self._redraw.start()
        self._told(mask)

    def _show(self) -> None:
        edited, self._edited = self._edited, set()
        for linked in (one for pane in self._panes for one in pane.linked if one.source in edited):
            linked.refresh()
