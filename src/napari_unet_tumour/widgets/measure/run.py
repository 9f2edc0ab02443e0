"""Measuring beside the window: a thread that can be stopped, and news for the GUI thread."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.measure import Comparison, Report, compare, iter_measure, write_dicom_sr
from napari_unet_tumour.widgets.common.words import failure_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_unet_tumour.scans.scan import Scan
    from napari_unet_tumour.settings import Progress
    from napari_unet_tumour.widgets.measure.layers import MeasureInput

TICK_S = 0.05


@dataclass(frozen=True)
class MeasureResult:
    """A finished report, what changed since the earlier mask where one was chosen, the measured mask and image.

    `source` is the scan in whose grid was measured, as it was read.
    """

    report: Report
    comparison: Comparison | None
    mask: Scan
    image: Any = None
    source: Scan | None = None


def write_sr_in_background(path: Path, found: MeasureResult, on_end: Callable[[str, bool], None]) -> None:
    """Write a DICOM structured report on a thread; `on_end` gets a line there, and whether something went wrong."""

    def work() -> None:
        try:
            written = write_dicom_sr(path, found.report, found.mask, found.source, found.comparison)
            end = (f"Saved {' and '.join(one.name for one in written)}.", False)
        except Exception as error:  # noqa: BLE001 - else the window would say "saving" for ever
            end = (failure_text(error, "The report could not be saved", "save again"), True)
        on_end(*end)

    threading.Thread(target=work, name="save a report", daemon=True).start()


class MeasureRun:
    """Measures one mask, and perhaps an earlier one, on a thread of its own.

    Parameters
    ----------
    now, earlier : Measured
        What to measure; no comparison without `earlier`.
    tell : callable
        Called on that thread with the run and a Progress, at last with a Found or an error in words
        (str); never after `cancel`.
    """

    def __init__(
        self, now: MeasureInput, earlier: MeasureInput | None, tell: Callable[[MeasureRun, Any], None]
    ) -> None:
        self._now, self._earlier, self._tell = now, earlier, tell
        self._stop = threading.Event()
        self._told = 0.0
        self._thread = threading.Thread(target=self._work, name="lesion report", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """Stop at the next tick and say nothing more."""
        self._stop.set()

    def _work(self) -> None:
        try:
            report = self._measure(self._now)
            earlier = None if self._earlier is None or report is None else self._measure(self._earlier)
            if report is None or self._stop.is_set():
                return
            change = None if earlier is None else compare(report, earlier)
            news: Any = MeasureResult(report, change, *self._now.pictured(), self._now.source)
        except Exception as error:  # noqa: BLE001 - else the window would say "measuring" for ever
            news = failure_text(error, "The mask could not be measured", "measure again")
        if not self._stop.is_set():
            self._tell(self, news)

    def _measure(self, what: MeasureInput) -> Report | None:
        labels, note = what.on_grid()
        steps = iter_measure(labels, what.scan, **what.options)
        while not self._stop.is_set():
            try:
                self._pass_on(next(steps))
            except StopIteration as end:
                report: Report = end.value
                return replace(report, notes=(*report.notes, note)) if note else report
        return None

    def _pass_on(self, progress: Progress) -> None:
        if time.monotonic() - self._told >= TICK_S:
            self._told = time.monotonic()
            self._tell(self, progress)
