"""Take pictures of the three panels on a small, a usual and a 4K screen, in both themes, to look at.

Usage: python scripts/screens.py FOLDER
It needs xvfb-run. The 4K screen shows everything twice as large, as desktops do there.
"""

import os
import subprocess
import sys
from pathlib import Path

import napari

from napari_unet_tumour import jobs
from napari_unet_tumour.phantom import phantom
from napari_unet_tumour.widgets.common import panels
from screenshots import forget_the_person, picture, review_four, wait

SCREENS = ((1024, 768, 1), (1600, 1000, 1), (3840, 2160, 2))
THEMES = ("dark", "light")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for width, height, scale in SCREENS:
        screen = f"-screen 0 {width}x{height}x24"
        words = ["xvfb-run", "-a", "-s", screen, sys.executable, __file__, folder, str(width), str(height), str(scale)]
        subprocess.run(words, env={**os.environ, "QT_SCALE_FACTOR": str(scale)}, check=True)


def on_screen(folder: Path, width: int, height: int, scale: int) -> None:
    """Segment, correct, fine-tune and measure the sample in a window as large as the screen."""
    forget_the_person()
    viewer = napari.Viewer()
    viewer.window.resize(width // scale, height // scale)

    def take(name: str) -> None:
        for theme in THEMES:
            viewer.theme = theme
            picture(viewer, folder / f"{width}x{height} {theme} {name}.png")

    segment = panels.open_panel(viewer, panels.SEGMENT)
    take("1 nothing open")
    panels.open_sample(viewer)
    wait(lambda: "core" in str(segment._panel.found.value) or "GPU" in str(segment._panel.found.value))
    segment.segment()
    wait(lambda: segment.settled)
    take("2 segmented")
    correct = panels.open_panel(viewer, panels.CORRECT)
    wait(lambda: correct.session is not None and correct.session.unsure.complete)
    review_four(viewer, correct, phantom()[1])
    take("3 corrected")
    correct._panel.run.native.click()
    wait(lambda: correct.state.result is not None)
    take("4 fine-tuned")
    correct._panel.accept.native.click()
    wait(lambda: not correct.running)
    correct.open_report()
    report = panels.open_panel(viewer, panels.REPORT)
    wait(lambda: not report.running)
    take("5 measured")
    jobs.shutdown()
    os._exit(0)  # the window is open, and Qt sometimes crashes when the interpreter closes it


if __name__ == "__main__":
    where, *size = sys.argv[1:]
    if size:
        on_screen(Path(where), *(int(one) for one in size))
    else:
        main(Path(where))
