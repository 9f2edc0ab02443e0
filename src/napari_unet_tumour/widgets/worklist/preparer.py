"""What goes on while a person works on a case: a new one is segmented, and the next one is read and segmented."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_unet_tumour import jobs
from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.models import registry
from napari_unet_tumour.widgets.common.settings_form import remembered_part
from napari_unet_tumour.widgets.worklist.loading import LoadedCase, load_in_background
from napari_unet_tumour.worklist import NEW
from napari_unet_tumour.worklist.segmenting import TASK, note_segmented, task_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue
    from napari_unet_tumour.worklist import Case, Worklist


class Preparer:
    """Reads cases on threads and lets the worker segment them, one at a time.

    Parameters
    ----------
    worklist : Worklist
        The list.
    inbox : MainThreadQueue
        Answers are taken up on the GUI thread.
    on_loaded : callable
        Gets every LoadedCase.
    on_case : callable
        Gets every Case that has changed.
    on_trouble : callable
        Gets a line where the list could not be written.
    """

    def __init__(
        self,
        worklist: Worklist,
        inbox: MainThreadQueue,
        on_loaded: Callable[[LoadedCase], None],
        on_case: Callable[[Case], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._worklist, self._inbox = worklist, inbox
        self._on_loaded, self._on_case, self._on_trouble = on_loaded, on_case, on_trouble
        self._loaded: dict[str, LoadedCase] = {}
        self._reading: set[str] = set()
        self._waiting: list[str] = []
        self._job: tuple[str, jobs.Job] | None = None
        self._closed = False

    def prepared(self, key: str) -> LoadedCase | None:
        """Return a case that was read before."""
        return self._loaded.get(key)

    def take(self, key: str) -> LoadedCase | None:
        """Return a case that was read before, and forget it."""
        return self._loaded.pop(key, None)

    def load(self, key: str) -> None:
        """Begin to read a case; `on_loaded` gets it."""
        if key in self._loaded or key in self._reading:
            return
        self._reading.add(key)
        case = self._worklist[key]
        on_loaded = partial(self._hand_over, self._inbox)
        load_in_background(key, case.path, self._worklist.best_mask(key), on_loaded)

    def load_mask(self, loaded: LoadedCase) -> None:
        """Begin to read the mask of a case that is in memory; `on_loaded` gets the case with it."""
        case = self._worklist[loaded.key]
        on_loaded = partial(self._hand_over, self._inbox)
        load_in_background(case.key, case.path, self._worklist.best_mask(case.key), on_loaded, loaded.images)

    def keep(self, loaded: LoadedCase) -> None:
        """Keep a case that was read ahead; any other one is dropped, since scans are large."""
        self._loaded = {loaded.key: loaded}

    def segment(self, keys: list[str]) -> None:
        """Let the worker segment these cases in their order, as far as they are new; others that wait are dropped."""
        self._waiting = [key for key in keys if self._worklist[key].state == NEW and not self._worklist[key].problem]
        if self._job is not None and self._job[0] in self._waiting:
            self._waiting.remove(self._job[0])
        self._start_next()

    @property
    def segmenting(self) -> str | None:
        """Key of the case that the worker has now."""
        return None if self._job is None else self._job[0]

    def close(self) -> None:
        """Drop everything; a mask that is not whole leaves no file."""
        self._closed = True
        self._waiting, self._loaded = [], {}
        if self._job is not None:
            self._job[1].cancel()

    def _hand_over(self, inbox: MainThreadQueue, loaded: LoadedCase) -> None:
        inbox.put(partial(self._on_read, loaded))

    def _on_read(self, loaded: LoadedCase) -> None:
        self._reading.discard(loaded.key)
        if not self._closed:
            self._on_loaded(loaded)

    def _start_next(self) -> None:
        while self._job is None and self._waiting and not self._closed:
            key = self._waiting.pop(0)
            try:
                entry = registry.find("default")
                given = task_for(self._worklist, key, entry, remembered_part(entry))
            except UNetTumourError as error:
                self._on_trouble(str(error))
                return
            on_event = partial(self._on_event, self._inbox, key)
            self._job = (key, jobs.submit(TASK, *given, on_event=on_event))

    def _on_event(self, inbox: MainThreadQueue, key: str, event: Any) -> None:
        if isinstance(event, jobs.Done | jobs.Failed | jobs.Cancelled):
            inbox.put(partial(self._on_end, key, event))

    def _on_end(self, key: str, event: Any) -> None:
        self._job = None
        if self._closed:
            return
        try:
            if isinstance(event, jobs.Done):
                self._on_case(note_segmented(self._worklist, key, event.result))
            elif isinstance(event, jobs.Failed):
                self._on_case(self._worklist.update(key, problem=f"not segmented: {event.error}"))
        except UNetTumourError as error:
            self._on_case(self._worklist[key])
            self._on_trouble(str(error))
        self._start_next()
