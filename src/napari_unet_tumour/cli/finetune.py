"""finetune: let a model learn from corrected slices, and print its scores before and after."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.cli._options import add_fields, given_settings
from napari_unet_tumour.cli._output import print_line, table, warn
from napari_unet_tumour.cli.evaluate import pairs_of
from napari_unet_tumour.models import registry
from napari_unet_tumour.settings import FinetuneSettings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from napari_unet_tumour.cli._options import Commands
    from napari_unet_tumour.corrections import FineTuneOutcome
    from napari_unet_tumour.settings import Progress


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "finetune",
        help="let a model learn from corrected slices",
        description="PAIRS.csv has the columns scan, mask and optionally group (patient) and slices (the reviewed "
        "ones, e.g. 3;4;9). Every third reviewed slice with foreground is held out: it is only scored. If no better "
        "model is found, no file is written and the exit code is 1.",
    )
    command.add_argument("--pairs", required=True, metavar="PAIRS.csv", help="table of scans and corrected masks")
    command.add_argument("--model", default="default", metavar="NAME|FILE", help="the model to start from")
    command.add_argument("--out", required=True, metavar="FILE", help="the new model file, .safetensors")
    command.add_argument("--axis", type=int, metavar="N", help="array axis to slice along (default: as in 'segment')")
    command.add_argument(
        "--add-class", action="append", default=[], metavar="NAME", help="name of a label that the masks have and the "
        "model does not, for the value after the model's last one; repeat for further values",
    )  # fmt: skip
    command.add_argument("--json", metavar="OUT", help="write the scores before and after as JSON")
    add_fields(command, FinetuneSettings)
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from napari_unet_tumour.api.finetune import finetune
    from napari_unet_tumour.cli._paths import ready_file, write_bytes, write_text
    from napari_unet_tumour.errors import OutputError, TrainingError

    out, as_json = ready_file(args.out), ready_file(args.json)
    if out is None or out.suffix != ".safetensors":
        raise OutputError(f"{args.out} must end in .safetensors: choose such a name")
    entry = registry.find(args.model)
    settings = FinetuneSettings(**given_settings(args, FinetuneSettings))
    pairs = pairs_of(args.pairs)
    tuned = finetune(pairs, entry.path, settings, axis=args.axis, add_classes=args.add_class, on_tick=_Messages())
    _print(entry, tuned)
    if as_json:
        write_text(as_json, json.dumps(_facts(entry, tuned, out), indent=1, allow_nan=False))
    if not tuned.data:
        raise TrainingError(tuned.note)
    write_bytes(out, tuned.data)
    print_line(f"{out}: {tuned.blend:.0%} of the change kept, {tuned.seconds:.1f} s, {tuned.steps} steps")
    return 0


class _Messages:
    """Prints the message of progress whenever it changes."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, progress: Progress) -> None:
        if progress.message != self._last:
            self._last = progress.message
            warn(progress.message)


def _print(entry: registry.ModelEntry, tuned: FineTuneOutcome) -> None:
    print_line(f"model {entry.name} ({entry.hash})")
    for name, rows in (("held out", tuned.held_out), ("reference", tuned.reference)):
        if rows:
            print_line(name)
            table(("scan", "slice", "Dice before", "Dice after"), [line for row in rows for line in _lines(row)])
    if tuned.note and tuned.data:
        warn(f"note: {tuned.note}")


def _lines(row: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the scores of a slice, and of each of its labels where the model has several."""
    before, after = row["before"], row["after"]
    yield str(row["scan"])[:12], str(row["slice"]), f"{before['dice']:.3f}", f"{after['dice']:.3f}"
    for name, old in before.get("by_label", {}).items():
        yield f"  {name}", "", f"{old['dice']:.3f}", f"{after['by_label'][name]['dice']:.3f}"


def _facts(entry: registry.ModelEntry, tuned: FineTuneOutcome, out: Path) -> dict[str, Any]:
    facts = {name: value for name, value in asdict(tuned).items() if name != "data"}
    return {"parent": {"name": entry.name, "hash": entry.hash}, "out": str(out) if tuned.data else None, **facts}
