"""worklist DIR: a folder of scans, worked through case by case."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from napari_unet_tumour.base.text import plural
from napari_unet_tumour.cli._output import print_line, table, warn
from napari_unet_tumour.errors import ModelError, OutputError, ScanError, UNetTumourError

if TYPE_CHECKING:
    import argparse

    from napari_unet_tumour.cli._options import Commands
    from napari_unet_tumour.worklist import Worklist

WINDOW = "napari_unet_tumour.widgets.worklist"


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "worklist",
        help="work through a folder of scans, case by case",
        description="Open napari with the scans of DIR as a work-list. The list remembers how far each scan is (new, "
        "segmented, corrected, accepted) and goes on there on another day. States and masks are kept in your data "
        "folder; nothing is written into DIR. With one of the flags no window opens.",
    )
    command.add_argument("folder", metavar="DIR", help="a folder of scans, in folders or not")
    command.add_argument("--list", action="store_true", help="print the list")
    command.add_argument("--segment", action="store_true", help="segment all scans that are new")
    command.add_argument(
        "--pairs", metavar="PAIRS.csv", help="write the accepted scans and masks as a table for 'finetune'"
    )
    command.add_argument("--model", default="default", metavar="NAME|FILE", help="name in 'models list', or a file")
    command.add_argument(
        "--part", choices=("whole", "enhancing"), help="with --segment: as in 'segment' (default: as the model says)"
    )
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from napari_unet_tumour.cli._paths import ready_file
    from napari_unet_tumour.worklist import Worklist
    from napari_unet_tumour.worklist.pairs import write_pairs

    pairs = ready_file(args.pairs)
    worklist = Worklist(args.folder)
    failed = _segment(worklist, args.model, args.part) if args.segment else 0
    if pairs is not None:
        print_line(f"{plural(write_pairs(pairs, worklist), 'accepted scan')} in {pairs}")
    if args.list or args.segment:
        _print(worklist)
    if args.list or args.segment or pairs is not None:
        return int(failed > 0)
    return _open(args.folder)


def _open(folder: str) -> int:
    """Open the window in a process of its own: the command line itself never loads napari."""
    from napari_unet_tumour.cli.demo import has_screen

    if not has_screen():
        raise UNetTumourError("there is no screen to open a window on: add --list, --segment or --pairs")
    window = subprocess.Popen([sys.executable, "-m", WINDOW, str(Path(folder))])
    try:
        return window.wait()
    except KeyboardInterrupt:
        window.wait()
        raise


def _segment(worklist: Worklist, model: str, part: str | None) -> int:
    """Segment the new cases one by one; returns how many failed."""
    from napari_unet_tumour import jobs
    from napari_unet_tumour.models import registry
    from napari_unet_tumour.postprocess.enhancing_part import check_part
    from napari_unet_tumour.worklist import NEW
    from napari_unet_tumour.worklist.segmenting import TASK, note_segmented, task_for

    entry, failed = registry.find(model), 0
    check_part(entry.spec, part or entry.spec.part)
    for case in worklist.cases:
        if case.state != NEW:
            continue
        try:
            found = jobs.run(TASK, *task_for(worklist, case.key, entry, part))
            note_segmented(worklist, case.key, found)
        except (ScanError, ModelError, OutputError) as error:
            failed += 1
            worklist.update(case.key, problem=str(error))
            warn(f"{case.name}: {error}")
    return failed


def _print(worklist: Worklist) -> None:
    head = ("scan", "state", "lesions", "volume", "date", "problem")
    rows = [
        (
            case.name,
            case.state,
            "-" if case.lesions is None else str(case.lesions),
            "-" if case.volume is None else f"{case.volume:.4g} {case.volume_units}",
            case.date or "-",
            case.problem,
        )
        for case in worklist.cases
    ]
    table(head, rows)
