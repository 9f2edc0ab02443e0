"""evaluate: score a model on scans with true masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.base.tables import csv_text
from napari_unet_tumour.base.text import plural
from napari_unet_tumour.cli._options import add_model, add_settings, settings_of
from napari_unet_tumour.cli._output import meter, print_line, table, warn
from napari_unet_tumour.models import registry

if TYPE_CHECKING:
    import argparse

    from napari_unet_tumour.api.pairs import Pair
    from napari_unet_tumour.cli._options import Commands

MOST_GROUPS = 12


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "evaluate",
        help="score a model on scans with true masks",
        description="Give --pairs PAIRS.csv (columns scan, mask and, optionally, group = patient, second = a second "
        "reader's mask and tumour = type of tumour; paths relative to that file; mask 'none' for a scan without a "
        "tumour), or two folders with the same file names.",
    )
    command.add_argument("folders", nargs="*", metavar="IMAGES_DIR MASKS_DIR", help="folders of scans and of masks")
    command.add_argument("--pairs", metavar="PAIRS.csv", help="table of scans and masks")
    command.add_argument("--second-masks", metavar="DIR", help="a second reader's masks, for two folders")
    command.add_argument("--axis", type=int, metavar="N", help="array axis to slice along (default: as in 'segment')")
    command.add_argument("--json", metavar="OUT", help="write summary and every slice as JSON")
    command.add_argument("--csv", metavar="OUT", help="write every slice as CSV")
    add_model(command)
    add_settings(command)
    command.set_defaults(run=_run, misuse=command.error)


def _run(args: argparse.Namespace) -> int:
    from napari_unet_tumour.api.evaluate import score
    from napari_unet_tumour.cli._paths import ready_file, write_text
    from napari_unet_tumour.cli.segment import choose_network

    pairs = _pairs(args)
    entry = registry.find(args.model)
    settings = settings_of(args, entry.spec)
    as_json, as_csv = ready_file(args.json), ready_file(args.csv)
    with meter(len(pairs), "pair") as shown:
        network = choose_network(entry, settings, args)
        shown.start()
        found = score(pairs, network, entry, settings, axis=args.axis, on_tick=shown.update, on_pair=shown.finish)
    if as_json:
        write_text(as_json, json.dumps(found, indent=1, allow_nan=False))
    if as_csv:
        write_text(as_csv, _csv(found["cases"]))
    for note in found["notes"]:
        warn(f"note: {note}")
    for one in found["matches"]:
        if one["doubtful"]:
            warn(f"note: {one['scan']}: {one['message']}")
    for one in found["failed"]:
        warn(f"error: {one['error']}")
    _print(found)
    warn(f"{plural(shown.slices, 'slice')} in {shown.seconds:.1f} s ({shown.speed:.1f} slices/s)")
    return 1 if found["failed"] else 0


def _pairs(args: argparse.Namespace) -> list[Pair]:
    from napari_unet_tumour.api.pairs import pair_folders

    if args.pairs and not args.folders and not args.second_masks:
        return pairs_of(args.pairs)
    if not args.pairs and len(args.folders) == 2:
        images, masks = args.folders
        return pair_folders(images, masks, args.second_masks)
    args.misuse("give --pairs PAIRS.csv, or IMAGES_DIR and MASKS_DIR (then --second-masks DIR, too)")
    raise AssertionError  # misuse has ended the program


def pairs_of(path: str) -> list[Pair]:
    """Read a PAIRS.csv, and name the columns that are not used."""
    from napari_unet_tumour.api.pairs import read_pairs_table

    pairs, unused = read_pairs_table(Path(path).expanduser())
    if unused:
        warn(f"note: {unused}")
    return pairs


def _print(found: dict[str, Any]) -> None:
    print_line(f"model {found['model']['name']} ({found['model']['hash']}), part: {found['part']}")
    table(("score", "value"), _rows(found["summary"]))
    for title, rows in (("by type of tumour", found["types"]), ("beside two readers", found["readers"])):
        if rows:
            print_line(f"\n{title}")
            table(tuple(rows[0]), [tuple(map(_number, row.values())) for row in rows])
    groups = found["groups"]
    if 1 < len(groups) < len(found["cases"]):
        shown = sorted(groups, key=lambda one: one["dice_mean"] if one["dice_mean"] is not None else 2)[:MOST_GROUPS]
        print_line(f"\nby group ({'the lowest ' if len(shown) < len(groups) else ''}{len(shown)} of {len(groups)})")
        head = tuple(groups[0])
        table(head, [tuple(_number(one[name]) for name in head) for one in shown])


def _rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    shown = {**summary, "undefined": {name: n for name, n in summary["undefined"].items() if n}}
    return [(name, _number(value)) for name, value in _flat(shown)]


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _flat(facts: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the items of a dict, with those of inner dicts under joined names, e.g. "undefined hd95"."""
    flat: list[tuple[str, Any]] = []
    for name, value in facts.items():
        flat += [(f"{name} {k}", v) for k, v in value.items()] if isinstance(value, dict) else [(name, value)]
    return flat


def _csv(cases: list[dict[str, Any]]) -> str:
    rows = [dict(_flat(case)) for case in cases]
    names = dict.fromkeys(name for row in rows for name in row)
    return csv_text(list(names) or ["scan"], rows)
