"""Writing the open case's mask and state."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.widgets.worklist.counting import count_in_background
from napari_unet_tumour.worklist import ACCEPTED, CORRECTED, SEGMENTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue
    from napari_unet_tumour.widgets.worklist.case_layers import OpenCase
    from napari_unet_tumour.worklist import Case, Worklist


class CaseSaver:
    """Writes masks and states of one list.

    Parameters
    ----------
    worklist : Worklist
        The list.
    inbox : MainThreadQueue
        Figures that a thread has counted are taken up on the GUI thread.
    on_case : callable
        Gets every Case that has changed.
    on_trouble : callable
        Gets a line where something could not be written.
    """

    def __init__(
        self,
        worklist: Worklist,
        inbox: MainThreadQueue,
        on_case: Callable[[Case], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._worklist, self._inbox = worklist, inbox
        self._on_case, self._on_trouble = on_case, on_trouble
        self._closed = False

    def save(self, opened: OpenCase, accept: bool = False) -> bool:
        """Write the mask where it has changed, and the state; False where that was not possible."""
        changes: dict[str, Any] = {}
        try:
            if opened.changed:
                mask = opened.save(self._worklist.mask_path(opened.key))
                changes["state"] = CORRECTED if opened.is_drawn else SEGMENTED
                if mask is not None:
                    count_in_background(mask, partial(_put, self._inbox, partial(self._on_count, opened.key)))
            if accept:
                changes["state"] = ACCEPTED
                changes |= {} if opened.mask is not None else {"lesions": 0, "volume": 0.0}
            if changes:
                self._on_case(self._worklist.update(opened.key, problem="", **changes))
        except UNetTumourError as error:
            self._on_trouble(str(error))
            return False
        return True

    def update(self, key: str, **changes: Any) -> None:
        """Change a case; where the list cannot be written that is said, and the change holds in this window."""
        try:
            self._worklist.update(key, **changes)
        except UNetTumourError as error:
            self._on_trouble(str(error))
        self._on_case(self._worklist[key])

    def close(self) -> None:
        """Take up nothing more."""
        self._closed = True

    def _on_count(self, key: str, figures: dict[str, Any]) -> None:
        if not self._closed:
            self.update(key, **figures)


def _put(inbox: MainThreadQueue, call: Callable[..., None], *given: Any) -> None:
    """Let the GUI thread make a call."""
    inbox.put(partial(call, *given))
