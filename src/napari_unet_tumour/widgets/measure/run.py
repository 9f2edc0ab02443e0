"""Measuring on the thread of a task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.measure import Comparison, Report, compare, iter_measure

if TYPE_CHECKING:
    from napari_unet_tumour.scans.scan import Scan
    from napari_unet_tumour.widgets.common.background import Task
    from napari_unet_tumour.widgets.measure.layers import MeasureInput

TICK_S = 0.05


@dataclass(frozen=True)
class MeasureResult:
    """A finished report, what changed since the earlier mask where one was chosen, the measured mask and image.

    `source` is the scan as it was read from DICOM, where it was.
    """

    report: Report
    comparison: Comparison | None
    mask: Scan
    image: Any = None
    source: Scan | None = None


def measure_masks(now: MeasureInput, earlier: MeasureInput | None, task: Task) -> MeasureResult:
    """Measure one mask, and perhaps an earlier one, on the thread of a task; it reports every Progress.

    Parameters
    ----------
    now, earlier : MeasureInput
        What to measure; no comparison without `earlier`.
    """
    report = _measure(now, task)
    change = None if earlier is None else compare(report, _measure(earlier, task))
    return MeasureResult(report, change, *now.pictured(), now.source)


def _measure(what: MeasureInput, task: Task) -> Report:
    labels, note = what.on_grid()
    report = task.follow(iter_measure(labels, what.scan, **what.options), TICK_S)
    return replace(report, notes=(*report.notes, note)) if note else report
