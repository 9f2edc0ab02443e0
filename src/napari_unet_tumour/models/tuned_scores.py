"""What a fine-tuned version was tuned on, and how it scored against its parent: kept in its file, and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet_tumour.base.text import plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_unet_tumour.models.spec import ModelSpec

LEARNT, SCANS, SCORED = "learnt_slices", "learnt_scans", "scored_slices"
MEASURES = (("dice", "Dice", "{:.2f}"), ("hd95_mm", "HD95", "{:.1f} mm"), ("hd95_px", "HD95", "{:.1f} px"))
NOWHERE: Mapping[str, float] = {}


def mean(rows: Sequence[Mapping[str, Any]], when: str, key: str) -> float | None:
    """Return the mean of a measure over the rows of a `FineTuneOutcome` where it is defined; `when`: before, after."""
    values = [row[when][key] for row in rows if row[when].get(key) is not None]
    return sum(values) / len(values) if values else None


def in_mm(rows: Sequence[Mapping[str, Any]], pixel_mm: Mapping[str, float]) -> tuple[list[dict[str, Any]], str]:
    """Return rows with distances in mm, and "mm"; as they are and "px" where the pixel size of one is not known."""
    if not all(row.get("scan") in pixel_mm for row in rows):
        return [dict(row) for row in rows], "px"

    def placed(scores: Mapping[str, Any], side: float) -> dict[str, Any]:
        far = scores.get("hd95")
        return {**scores, "hd95": None if far is None else far * side}

    return [
        {**row, **{when: placed(row[when], pixel_mm[row["scan"]]) for when in ("before", "after")}} for row in rows
    ], "mm"


def tuned_scores(
    rows: Sequence[Mapping[str, Any]], learnt: int, scans: int, pixel_mm: Mapping[str, float] = NOWHERE
) -> dict[str, float]:
    """Return what a version's file says of its fine-tuning, by name (`ModelSpec.scores`).

    Parameters
    ----------
    rows : sequence of mapping
        `FineTuneOutcome.held_out`.
    learnt, scans : int
        How many slices were learnt from, of how many scans.
    pixel_mm : mapping of str to float
        By scan: side of its square pixels in mm; where one of them is missing, distances are in pixels.

    Returns
    -------
    dict of str to float
        "learnt_slices", "learnt_scans", "scored_slices"; and, where defined, the means over the scored slices "dice"
        and "hd95_mm" or "hd95_px", of the parent with "_before" after the name.
    """
    found: dict[str, float] = {LEARNT: learnt, SCANS: scans, SCORED: len(rows)}
    placed, unit = in_mm(rows, pixel_mm)
    for key, name in (("dice", "dice"), ("hd95", f"hd95_{unit}")):
        for when, end in (("before", "_before"), ("after", "")):
            value = mean(placed, when, key)
            if value is not None:
                found[name + end] = round(value, 4)
    return found


def in_words(spec: ModelSpec) -> str:
    """Return what a version was fine-tuned on and its scores before and after, "" for a model that is no version."""
    scores = spec.scores
    if LEARNT not in scores:
        return ""
    scans = f" of {scores[SCANS]:.0f} scans" if scores[SCANS] > 1 else ""
    told = f"Fine-tuned on {plural(round(scores[LEARNT]), 'slice')}{scans} that you corrected"
    measured = ", ".join(
        f"{name} {how.format(scores[f'{key}_before']).split()[0]} → {how.format(scores[key])}"
        for key, name, how in MEASURES
        if key in scores and f"{key}_before" in scores
    )
    if not measured:
        return f"{told}; no slice was kept for scoring"
    return f"{told}. On {plural(round(scores[SCORED]), 'slice')} kept for scoring: {measured}"
