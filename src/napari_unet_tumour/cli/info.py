"""info: print versions, device, folders, models and plugins of this installation, for a bug report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from napari_unet_tumour.cli._output import print_line

if TYPE_CHECKING:
    import argparse

    from napari_unet_tumour.cli._options import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "info",
        help="versions, device, folders and plugins, to paste into a report",
        description="Print versions, device, folders, models and plugins. Paste all of it into a bug report.",
    )
    command.add_argument("--quick", action="store_true", help="skip the device: torch is not loaded")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from napari_unet_tumour.information import as_text, information

    found = information(device=not args.quick)
    print_line(json.dumps(found, indent=2) if args.json else as_text(found))
    return 0
