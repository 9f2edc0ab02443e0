"""The enhancing part against masks that show it: with the rule and without, by patient.

    python benchmarks/enhancing_part.py [--data BTP] [--pairs PAIRS.csv] [--model default] [--json OUT]

BTP is a folder with a folder per patient: {Pre,Post}_Scan_T1.nii.gz, {Pre,Post}_Mask.nii.gz. A PAIRS.csv (scan, mask,
group = patient) takes its place for other scans. Both masks are made by the same function as those of `segment`. The
rule's two numbers are fixed in postprocess/enhancing_part.py; that leaving out any of the four patients leads to the
same two was measured in docs/lab/model.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from _machine import command, machine, show
from napari_unet_tumour.api.evaluate import evaluate
from napari_unet_tumour.api.pairs import Pair, read_pairs
from napari_unet_tumour.engine.metrics.summary import summarise

DATA = Path(__file__).parents[2] / "shared/data/btp"
PARTS = ("whole", "enhancing")
ALL = "all"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, default=DATA, help="folder with a folder per patient")
    ask.add_argument("--pairs", help="table with the columns scan, mask and group, in place of --data")
    ask.add_argument("--model", default="default")
    ask.add_argument("--json", metavar="OUT")
    given = ask.parse_args()
    about = {"command": command(), "machine": machine()}
    show(about)
    pairs = read_pairs(given.pairs) if given.pairs else pairs_of(given.data)
    cases = {part: evaluate(pairs, given.model, part=part)["cases"] for part in PARTS}
    patients = [*dict.fromkeys(str(row["group"]) for row in cases["whole"]), ALL]
    rows = [row_of(name, part, cases[part]) for name in patients for part in PARTS]
    print(table(rows))
    if given.json:
        Path(given.json).write_text(json.dumps({**about, "rows": rows}, indent=1))


def pairs_of(folder: Path) -> list[Pair]:
    """Return the pairs of a folder of patients."""
    scans = sorted(folder.glob("*/*_Scan_T1.nii.gz"))
    return [Pair(one, one.with_name(one.name.replace("Scan_T1", "Mask")), one.parent.name) for one in scans]


def row_of(patient: str, part: str, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the scores of a patient, or of all, with one part."""
    own = [row for row in cases if patient in (ALL, row["group"])]
    found = summarise(own)
    scans = {row["scan"] for row in own}
    volumes = [summarise([row for row in own if row["scan"] == scan])["volume_dice_mean"] for scan in scans]
    marked = round((found["false_mask_rate"] or 0) * found["empty_slices"])
    return {
        "patient": patient,
        "part": part,
        "tumour_slices": found["tumour_slices"],
        "slice_dice": found["dice_mean"],
        "volumes": len(scans),
        "volume_dice": found["volume_dice_mean"],
        "worst_volume": min((one for one in volumes if one is not None), default=None),
        "tumour_free_slices": found["empty_slices"],
        "false_masks": marked,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as text."""
    head = f"{'patient':8} {'part':10} {'slice Dice':>18} {'volume Dice':>17} {'worst':>6} {'false masks':>12}"
    return "\n".join([head, *map(line, rows)])


def line(row: dict[str, Any]) -> str:
    slices, volumes = f"({row['tumour_slices']} slices)", f"({row['volumes']} volumes)"
    dice = f"{number(row['slice_dice'])} {slices:>12} {number(row['volume_dice'])} {volumes:>11}"
    false = f"{row['false_masks']} of {row['tumour_free_slices']}"
    return f"{row['patient']:8} {row['part']:10} {dice} {number(row['worst_volume'])} {false:>12}"


def number(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.3f'):>6}"


if __name__ == "__main__":
    main()
