"""Lesions and volume of a mask that was saved, counted on a thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.measure import measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_unet_tumour.scans.scan import Scan


def count_in_background(mask: Scan, on_counted: Callable[[dict[str, Any]], None]) -> None:
    """Count, and hand over the fields of a `Case` on that thread; nothing where the mask cannot be measured."""

    def work() -> None:
        try:
            report = measure(mask)
        except UNetTumourError:
            return
        volume = round(sum(total.volume for total in report.totals), 4)
        on_counted({"lesions": len(report.lesions), "volume": volume, "volume_units": report.volume_units})

    threading.Thread(target=work, name="count lesions", daemon=True).start()
