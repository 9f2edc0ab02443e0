"""demo [SCAN]: open napari with the Segment widget on a scan; without a screen, on a virtual one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_unet_tumour.errors import UNetTumourError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from napari_unet_tumour.cli._options import Commands

WINDOW = "napari_unet_tumour.widgets.demo"
SCREEN = "1600x1000x24"


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "demo",
        help="open a scan in napari and segment it",
        description="Open napari on SCAN, or on a synthetic head, and segment it. Without a screen, or with "
        "--headless, the same runs on a virtual screen, and a screenshot and the mask are written.",
    )
    command.add_argument("scan", nargs="?", metavar="SCAN", help="a scan (default: the sample)")
    command.add_argument("--headless", action="store_true", help="use a virtual screen, write files and quit")
    command.add_argument("--out", default="demo-out", metavar="DIR", help="where the files go (default: demo-out)")
    command.add_argument("--model", default="default", metavar="NAME|FILE", help="name in 'models list', or a file")
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from napari_unet_tumour.cli import _paths
    from napari_unet_tumour.models import registry

    registry.find(args.model)
    words = ["--model", str(args.model), *([args.scan] if args.scan else [])]
    if not args.headless and has_screen():
        return _open(words)
    folder = _paths.ready_folder(args.out)
    with virtual_screen() as display:
        return _open(["--headless", str(folder), *words], display)


def has_screen() -> bool:
    """Tell whether a window can be opened on this machine."""
    return sys.platform in ("win32", "darwin") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


@contextmanager
def virtual_screen() -> Iterator[str | None]:
    """Start a virtual screen, yield its name, and end it; yields None on systems without X11.

    Raises
    ------
    UNetTumourError
        Xvfb is not installed, or does not start.
    """
    if sys.platform in ("win32", "darwin"):
        yield None
        return
    program = shutil.which("Xvfb")
    if program is None:
        raise UNetTumourError("there is no screen and no Xvfb: install one with 'sudo apt-get install xvfb'")
    words = [program, "-displayfd", "1", "-screen", "0", SCREEN, "-nolisten", "tcp"]
    # In a session of its own: Ctrl-C must end the window first, then the screen.
    server = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        number = server.stdout.readline().strip() if server.stdout else ""
        if not number:
            raise UNetTumourError("Xvfb did not start: run 'Xvfb :99' to see why")
        yield f":{number}"
    finally:
        server.terminate()
        server.communicate()


def _open(words: list[str], display: str | None = None) -> int:
    """Run the window in a separate process: the command line itself never loads napari."""
    screen = {"DISPLAY": display, "QT_QPA_PLATFORM": "xcb"} if display else {}
    window = subprocess.Popen([sys.executable, "-m", WINDOW, *words], env={**os.environ, **screen})
    try:
        return window.wait()
    except KeyboardInterrupt:
        window.wait()
        raise
