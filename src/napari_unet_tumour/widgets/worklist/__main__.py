"""The window with a work-list: what `napari-unet-tumour worklist DIR` starts in a process of its own."""

from __future__ import annotations

import sys

from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.worklist import Worklist

SIZE = (1500, 950)


def main(folder: str) -> int:
    """Open the window on a folder; the exit codes are those of the command line."""
    try:
        Worklist(folder)  # a bad folder gets its line before a window opens
        _open(folder)
    except UNetTumourError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _open(folder: str) -> None:
    import napari

    from napari_unet_tumour.widgets.common import panels
    from napari_unet_tumour.widgets.common.canvas import check_opengl

    check_opengl()
    viewer = napari.Viewer(title="napari-unet-tumour")
    viewer.window.resize(*SIZE)
    for name in (panels.VIEW, panels.CORRECT):
        panels.open_panel(viewer, name)
    panels.open_panel(viewer, panels.WORKLIST).open_folder(folder)
    napari.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
