"""models list|show|import|export|remove: manage the installed models."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.cli._output import print_line, table
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.tuned_scores import in_words

if TYPE_CHECKING:
    import argparse

    from napari_unet_tumour.cli._options import Commands


def add(commands: Commands) -> None:
    """Add the command and its five verbs to the parser."""
    command = commands.add_parser("models", help="list, show, import, export or remove models")
    verbs = command.add_subparsers(title="verbs", required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="list the installed models")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_list)
    show = verbs.add_parser("show", help="show the description of a model")
    show.add_argument("model", nargs="?", default="default", metavar="MODEL", help="name, hash or file")
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=_show)
    importing = verbs.add_parser("import", help="copy a model file, or weights of another program, to your models")
    importing.add_argument("file", metavar="FILE", help="a .safetensors model file; with --like also a .pt state_dict")
    importing.add_argument("--name", default="", help="its name among your models (default: the one in the file)")
    importing.add_argument(
        "--like", default="", metavar="MODEL", help="the file holds weights only: they fit this model's network"
    )
    importing.set_defaults(run=_import)
    export = verbs.add_parser("export", help="copy a model into a file")
    export.add_argument("model", metavar="MODEL", help="name, hash or file")
    export.add_argument("file", metavar="FILE", help="the new .safetensors file, or a folder")
    export.set_defaults(run=_export)
    remove = verbs.add_parser("remove", help="delete one of your own models")
    remove.add_argument("model", metavar="NAME", help="its name in 'models list'")
    remove.set_defaults(run=_remove)


def _list(args: argparse.Namespace) -> int:
    found, bad = registry.entries(), registry.invalid_models()
    if args.json:
        print_line(json.dumps({"models": [_row(one) for one in found], "broken": [_bad(one) for one in bad]}, indent=2))
        return 0
    if not found:
        print_line("no models: import one with 'napari-unet-tumour models import FILE'")
    else:
        table(("name", "from", "dice", "channels", "labels", "description"), [_cells(one) for one in found])
    for one in bad:
        print_line(f"unusable: {one.name}: {one.reason}")
    return 0


def _show(args: argparse.Namespace) -> int:
    entry = registry.find(args.model)
    facts: dict[str, Any] = {**_row(entry), "size_bytes": entry.path.stat().st_size, **_facts(entry)}
    if args.json:
        print_line(json.dumps(facts, indent=2))
        return 0
    if in_words(entry.spec):
        facts["scores"] = in_words(entry.spec)
    for name, value in facts.items():
        if value not in ("", {}, []):
            print_line(f"{name.replace('_', ' '):14} {_text(value)}")
    return 0


def _import(args: argparse.Namespace) -> int:
    from napari_unet_tumour.api import load_model
    from napari_unet_tumour.engine.import_weights import import_weights

    entry = registry.import_(args.file, args.name, args.like, prove=load_model, convert=import_weights)
    print_line(f"imported as {entry.name} ({entry.path})")
    return 0


def _export(args: argparse.Namespace) -> int:
    print_line(f"written: {registry.export(args.model, args.file)}")
    return 0


def _remove(args: argparse.Namespace) -> int:
    print_line(f"removed: {registry.remove(args.model)}")
    return 0


def _row(entry: registry.ModelEntry) -> dict[str, Any]:
    return {"name": entry.name, "hash": entry.hash, "shipped": entry.shipped, "path": str(entry.path)}


def _bad(one: registry.InvalidModel) -> dict[str, str]:
    return {"name": one.name, "path": str(one.path), "reason": one.reason}


def _facts(entry: registry.ModelEntry) -> dict[str, Any]:
    return {name: value for name, value in asdict(entry.spec).items() if name != "name"}


def _cells(entry: registry.ModelEntry) -> tuple[str, ...]:
    spec, line = entry.spec, registry.lineage(entry)
    origin = line[1].name if len(line) > 1 else "package" if entry.shipped else "you"
    dice = f"{spec.scores['dice_mean']:.3f}" if "dice_mean" in spec.scores else "-"
    return (entry.name, origin, dice, ", ".join(spec.channels), ", ".join(spec.labels[1:]), spec.description)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
