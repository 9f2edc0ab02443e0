"""A comparison of two masks as CSV and as JSON, and its difference as a mask file."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.base.atomic_write import atomic
from napari_unet_tumour.measure.agreement import BOTH, ONLY_FIRST, ONLY_SECOND, OTHER_LABEL
from napari_unet_tumour.measure.export import DISCLAIMER, frame_text, write_rows
from napari_unet_tumour.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet_tumour.measure.agreement import MaskComparison


def agreement_rows(comparison: MaskComparison) -> list[dict[str, Any]]:
    """Return a flat row per frame and label; unknown values are None."""
    about = {"first": comparison.first, "second": comparison.second, "version": __version__}
    units = {"length_units": comparison.units, "volume_units": comparison.volume_units}
    return [asdict(one) | {"frame": frame_text(one.frame)} | units | about for one in comparison.rows]


def agreement_json(comparison: MaskComparison) -> dict[str, Any]:
    """Return the figures as plain data for JSON."""
    return {
        "first": comparison.first,
        "second": comparison.second,
        "version": __version__,
        "units": {"length": comparison.units, "volume": comparison.volume_units},
        "labels": [asdict(one) for one in comparison.rows],
        "notes": comparison.notes,
        "disclaimer": DISCLAIMER,
    }


def write_agreement(path: Path, comparison: MaskComparison, kind: str) -> None:
    """Write the figures whole or not at all; raises OutputError and leaves an old file as it was.

    Parameters
    ----------
    kind : str
        ".csv" or ".json", whatever the file's name ends in.
    """
    if kind == ".json":
        with atomic(path) as beside:
            text = json.dumps(agreement_json(comparison), indent=2, ensure_ascii=False, allow_nan=False)
            beside.write_text(text + "\n", encoding="utf-8")
    else:
        write_rows(path, agreement_rows(comparison), ["label", "first", "second", "version"])


def difference_names(comparison: MaskComparison) -> list[str]:
    """Return what the values of the difference mean, background first."""
    names = {BOTH: "both", ONLY_FIRST: f"only {comparison.first}", ONLY_SECOND: f"only {comparison.second}"}
    return ["background", *(names | {OTHER_LABEL: "both, as different labels"}).values()]
