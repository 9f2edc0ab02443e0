"""A model beside two readers: how well it agrees with each, and how well they agree with each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.engine.metrics.intervals import mean_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_unet_tumour.engine.metrics.summary import Row

# Key of a row's score -> what is compared.
COMPARED = {
    "dice": "model, first reader",
    "dice_second": "model, second reader",
    "dice_readers": "model, mean of both",
    "agreement": "first reader, second reader",
}


def compare_readers(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Summarise the scores of slices that two readers have read, of all and by type of tumour.

    Parameters
    ----------
    rows : sequence of dict
        Of `summary.score_scan`, with "tumour" (the type of tumour) where it is known. Slices without a second reading,
        and those that both readers left empty, are not counted.

    Returns
    -------
    list of dict
        Keys tumour ("all", then the types if there are several), compared (see `COMPARED`), slices, groups, mean
        (Dice; soft Dice against the mean of both), low and high (95 % interval of the mean by a bootstrap over groups,
        None with few groups) and no_overlap_rate (fraction of the slices where the two have no common pixel).
    """
    read = [row for row in rows if row.get("agreement") is not None]
    types = {str(row.get("tumour") or "") for row in read} - {""}
    parts = {"all": read} if read else {}
    if len(types) > 1:
        parts |= {name: [row for row in read if row.get("tumour") == name] for name in sorted(types)}
    return [_compared(name, part, key) for name, part in parts.items() for key in COMPARED]


def _compared(name: str, rows: Sequence[Row], key: str) -> dict[str, Any]:
    values, groups = [float(row[key]) for row in rows], [str(row["group"]) for row in rows]
    low, high = mean_interval(values, groups)
    return {
        "tumour": name,
        "compared": COMPARED[key],
        "slices": len(rows),
        "groups": len(set(groups)),
        "mean": float(np.mean(values)),
        "low": low,
        "high": high,
        "no_overlap_rate": float(np.mean([value == 0 for value in values])),
    }
