"""The command line.

Exit codes: 0 success, 1 an error in one line, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from typing import TYPE_CHECKING

from napari_unet_tumour.cli import (
    compare,
    demo,
    dicomweb,
    evaluate,
    finetune,
    info,
    measure,
    models,
    segment,
    train,
    worklist,
)
from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "napari-unet-tumour"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; imports neither torch nor napari."""
    top = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Outline tumours with a U-Net. Research use only: this is not a medical device.",
    )
    top.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (segment, evaluate, train, finetune, measure, compare, worklist, dicomweb, models, demo, info):
        command.add(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of this process when None.

    Returns
    -------
    int
        The exit code.

    Raises
    ------
    SystemExit
        With code 2 on wrong usage, with 0 after --help and --version.
    """
    args = parser().parse_args(argv)
    # Torch reads it when it is loaded: spinning threads slow everything down on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            return int(args.run(args))
    except UNetTumourError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt as stopped:
        return _fail(str(stopped) or "interrupted", 130)
    except BrokenPipeError:  # the reader of the output has ended, e.g. 'models list | head -1'
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        return _fail("the memory is full: close other programs, or work on smaller scans", 1)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"error: {' '.join(message.split())}\n" if code == 1 else f"{message}\n")
    return code
