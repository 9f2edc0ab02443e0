"""Notices strokes, tools, undo and redo on the masks of a session, and has them written within two seconds."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue, single_shot_timer
from napari_unet_tumour.widgets.layers import label_values
from napari_unet_tumour.widgets.layers.edits import LayerEvents

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections

LOOK_MS = 700
RETRY_MS = 4000
DRAWN = ("paint", "labels_update")


class ChangeWatcher:
    """Looks at a session's masks after every change, on a thread of its own.

    Parameters
    ----------
    viewer : napari viewer
        The slice that it shows is written first.
    seen : callable
        Called on the GUI thread after every look.
    """

    def __init__(self, viewer: ViewerModel, inbox: MainThreadQueue, seen: Callable[[], None]) -> None:
        self._viewer, self._inbox, self._seen = viewer, inbox, seen
        self._session: CaseCorrections | None = None
        self._masks = LayerEvents(self.poke)
        self._looking = self._due = self._drawn = False
        self._timer = single_shot_timer(inbox, LOOK_MS, self._look)

    def follow(self, session: CaseCorrections | None) -> None:
        """Watch the masks of this session and of no other; what the last one has not yet written is written."""
        self.flush()
        self._session = session
        self._masks.follow([] if session is None else session.case.masks())
        self.poke()

    def poke(self, event: Any = None) -> None:
        """Look soon: not put off by further changes, so that a long stroke is written while it is drawn."""
        what = getattr(event, "type", "")
        self._drawn = self._drawn or what in DRAWN
        if what == "data":  # whatever the layer said of its values was about the pixels before
            label_values.forget(event.source)
        if self._session is not None and not self._timer.isActive():
            self._timer.start(LOOK_MS)

    def flush(self) -> None:
        """Write what is not written yet, now; touches nothing of Qt."""
        if self._session is not None:
            self._settle_values()
            self._session.journal.look()

    def _look(self) -> None:
        session = self._session
        if session is None:
            return
        self._settle_values()
        if self._looking:
            self._due = True
            return
        self._looking = True
        number = session.case.on_screen(self._viewer)
        threading.Thread(target=self._work, args=(session, number), name="napari-unet-tumour journal").start()

    def _settle_values(self) -> None:
        """Once a person draws on a mask of 0 and 255 their strokes and what was there are to mean the same."""
        for mask in self._masks.layers if self._drawn else []:
            label_values.settle(mask)
        self._drawn = False

    def _work(self, session: CaseCorrections, number: int | None) -> None:
        try:
            session.journal.look(number)
        finally:
            self._inbox.put(partial(self._looked, session))

    def _looked(self, session: CaseCorrections) -> None:
        self._looking = False
        if session is not self._session:
            return
        if session.journal.trouble:
            self._timer.start(RETRY_MS)
        elif self._due or session.journal.again:
            self._due = False
            self.poke()
        with suppress(RuntimeError):  # the window is on its way out
            self._seen()
