"""The finished cases of a list as the table that `finetune` and `evaluate` read."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from napari_unet_tumour.api.pairs import NONE
from napari_unet_tumour.base.atomic_write import atomic
from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.worklist.store import ACCEPTED

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet_tumour.worklist.store import Worklist


def write_pairs(path: Path, worklist: Worklist) -> int:
    """Write a PAIRS.csv of the accepted cases; one that was accepted without a mask shows no tumour ("none").

    Returns
    -------
    int
        How many there are.

    Raises
    ------
    OutputError
        No case is accepted, or the file cannot be written.
    """
    rows = [
        {"scan": str(case.path), "mask": str(worklist.best_mask(case.key) or NONE)}
        for case in worklist.cases
        if case.state == ACCEPTED
    ]
    if not rows:
        raise OutputError(
            f"no case of {worklist.folder} is accepted yet: press 'Accept and next' for the finished ones"
        )
    with atomic(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["scan", "mask"])
        table.writeheader()
        table.writerows(rows)
    return len(rows)
