"""Comparing beside the window: a thread whose answer nobody waits for any more is dropped."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.measure import compare_masks
from napari_unet_tumour.widgets.common.words import failure_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_unet_tumour.scans.scan import Scan


class CompareRun:
    """Compares two masks on a thread of its own.

    Parameters
    ----------
    first, second : Scan
        The masks.
    names : mapping of int to str
        Names of the labels.
    on_result : callable
        Called on that thread with the run and a MaskComparison, or an error in words (str); never after `cancel`.

    Attributes
    ----------
    thread : threading.Thread
        Where it compares.
    """

    def __init__(
        self, first: Scan, second: Scan, names: Mapping[int, str], on_result: Callable[[CompareRun, Any], None]
    ) -> None:
        self._given = (first, second, names)
        self._on_result = on_result
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._work, name="compare masks", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.thread.start()

    def cancel(self) -> None:
        """Give no answer."""
        self._stop.set()

    def _work(self) -> None:
        try:
            answer: Any = compare_masks(*self._given)
        except Exception as error:  # noqa: BLE001 - else the window would say "comparing" for ever
            answer = failure_text(error, "The masks could not be compared", "compare again")
        if not self._stop.is_set():
            self._on_result(self, answer)
