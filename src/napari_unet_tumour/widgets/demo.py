"""The real window on a real scan, or on the sample: what `napari-unet-tumour demo` starts in a process of its own."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour import scans
from napari_unet_tumour.api import slice_axis
from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.widgets.common.canvas import check_opengl
from napari_unet_tumour.widgets.layers import image_source, labels
from napari_unet_tumour.widgets.layers.image_source import KEY
from napari_unet_tumour.widgets.readers_writers import read_layers
from napari_unet_tumour.widgets.segment.view import HERE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import napari
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.widgets.segment.widget import SegmentWidget

PLUGIN = "napari-unet-tumour"
SIZE = (1400, 900)
LONGEST_S = 600.0


@dataclass(eq=False)
class Show:
    """A window with a scan and the Segment widget, and what happens in it.

    Parameters
    ----------
    viewer, image, widget
        The window, the layer that is segmented, the docked widget.
    truth : numpy.ndarray, optional
        The true mask, where it is known.
    begun, first, ended : float
        Clock at the press of Run, at the first slice's mask and at the end, in s; 0 when not yet.
    """

    viewer: napari.Viewer
    image: Image
    widget: SegmentWidget
    truth: NDArray[np.uint8] | None
    begun: float = field(default_factory=time.perf_counter)
    first: float = 0.0
    ended: float = 0.0

    @property
    def mask(self) -> Labels | None:
        """The mask layer; None before the first slice is done."""
        return labels.own_mask(self.viewer, self.image)

    def watch(self) -> bool:
        """Note the time of the first mask and of the end; True when the run has ended."""
        now = time.perf_counter()
        if not self.first and self.mask is not None:
            self.first = now
        if not self.ended and self.widget.settled:
            self.ended = now
        return bool(self.ended)

    def made(self) -> Labels:
        """Return the mask of the run that has ended; raises UNetTumourError when there is none."""
        mask = self.mask
        if mask is None:
            raise UNetTumourError(str(self.widget._panel.status.value) or "nothing was segmented")
        return mask


def main(argv: Sequence[str] | None = None) -> int:
    """Open the window and run; the exit codes are those of the command line."""
    words = argparse.ArgumentParser(prog="python -m napari_unet_tumour.widgets.demo")
    words.add_argument("scan", nargs="?")
    words.add_argument("--headless", metavar="DIR", type=Path)
    words.add_argument("--model", default="default")
    args = words.parse_args(argv)
    try:
        show = begin(args.scan, args.model)
        if args.headless is None:
            stay(show)
        else:
            wait(show.watch)
            tell(show)
            leave(show, args.headless)
    except UNetTumourError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def begin(scan: str | None, model: str = "default") -> Show:
    """Open a window on a scan (None: the sample), dock the Segment widget and press Run."""
    import napari

    # Read before the window opens: a bad file gets its line at once, and no dialog waits for an answer.
    layers = [] if scan is None else read_layers(scan)
    check_opengl()
    viewer = napari.Viewer(title="napari-unet-tumour")
    viewer.window.resize(*SIZE)
    truth = _open_sample(viewer) if scan is None else None
    for data, about, kind in layers:  # type: ignore[misc]
        getattr(viewer, f"add_{kind}")(data, **about)
    found = image_source.images(viewer)
    if not found:
        raise UNetTumourError(f"{scan} is a mask, not a scan: choose a file with an image")
    _turn(viewer, found[0])
    _show_fullest(viewer, truth)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Segment")
    _choose(widget, model)
    show = Show(viewer, found[0], widget, truth)
    widget.segment()
    return show


def stay(show: Show) -> None:
    """Leave the window to the person; tell how the run went when it has ended."""
    import napari
    from qtpy.QtCore import QTimer

    timer = QTimer()

    def look() -> None:
        if show.watch():
            timer.stop()
            if show.mask is not None:
                tell(show)

    timer.timeout.connect(look)
    timer.start(20)
    napari.run()


def tell(show: Show) -> None:
    """Print what was done, how quickly, and how well where the truth is known."""
    mask, facts = show.made(), show.made().metadata[KEY]
    slices, seconds = len(facts["slices"]), show.ended - show.begun
    rate = (slices - 1) / max(show.ended - show.first, 1e-9) if slices > 1 else 1 / seconds
    _say(f"opened {show.image.name}: {' x '.join(map(str, show.image.data.shape))} pixels")
    _say(f"segmented {slices} slices in {seconds:.1f} s with {facts['model']} ({facts['hash']}): first mask after "
         f"{show.first - show.begun:.1f} s, then {rate:.1f} slices/s")  # fmt: skip
    planes = tuple(show.viewer.dims.order[-2:])
    on = int(np.any(mask.data, axis=planes).sum())
    _say(f"found {int(np.count_nonzero(mask.data))} tumour pixels on {on} slices")
    if show.truth is not None:
        from napari_unet_tumour.engine.metrics.overlap import dice

        _say(f"Dice against the truth: {dice(mask.data, show.truth):.3f} over all slices")


def leave(show: Show, folder: Path) -> None:
    """Write the screenshot and the mask, and close the window."""
    from PIL import Image as Picture

    mask = show.made()
    _show_fullest(show.viewer, np.asarray(mask.data) if show.truth is None else show.truth)
    wait(_after(1.0))
    grid = show.image.metadata[KEY]["grid"]
    source = Path(grid.source or "sample.nii.gz")
    shot, written = folder / "screenshot.png", folder / f"{_stem(source)}_mask{scans.suffix_of_mask(source)}"
    Picture.fromarray(show.viewer.screenshot(canvas_only=False, flash=False)).save(shot)
    scans.write_mask(written, np.asarray(mask.data), grid, mask.metadata[KEY]["labels"])
    show.viewer.close()
    _say(f"written: {shot}, {written}")


def wait(until: Callable[[], bool]) -> None:
    """Let the window live until something is true; raises KeyboardInterrupt on Ctrl-C, UNetTumourError after 600 s."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop, timer, over = QEventLoop(), QTimer(), _after(LONGEST_S)
    # An exception must not leave a slot of Qt: the handler only notes it.
    stopped: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: stopped.append(number))
    timer.timeout.connect(lambda: loop.quit() if until() or stopped or over() else None)
    timer.start(20)
    try:
        loop.exec()
    finally:
        signal.signal(signal.SIGINT, before)
    if stopped:
        raise KeyboardInterrupt
    if over():
        raise UNetTumourError(f"the window was not ready after {LONGEST_S:.0f} s: see whether the machine is busy")


def _open_sample(viewer: napari.Viewer) -> NDArray[np.uint8]:
    from napari_unet_tumour.phantom import phantom

    viewer.open_sample(PLUGIN, "head")
    return phantom()[1]


def _choose(widget: SegmentWidget, model: str) -> None:
    """Choose what a demo shows, whatever the person's last session left."""
    panel = widget._panel
    panel.scope.value, panel.place.value = "all", HERE
    widget.choose_model(model)


def _turn(viewer: napari.Viewer, image: Image) -> None:
    """Show the slices as they were taken."""
    along = slice_axis(image.metadata[KEY]["grid"])
    if along is not None and viewer.dims.ndim == image.ndim:
        others = [axis for axis in range(image.ndim) if axis != along]
        viewer.dims.order = (*others[:-2], along, *others[-2:])


def _show_fullest(viewer: napari.Viewer, mask: NDArray[Any] | None) -> None:
    """Go to the slice with the most tumour; to the middle one where none is known."""
    if viewer.dims.ndim < 3:
        return
    slider = viewer.dims.order[-3]
    sizes = np.zeros(1) if mask is None else np.count_nonzero(mask, axis=tuple({*range(mask.ndim)} - {slider}))
    middle = int(viewer.dims.nsteps[slider]) // 2
    viewer.dims.set_current_step(slider, int(np.argmax(sizes)) if sizes.any() else middle)


def _after(seconds: float) -> Callable[[], bool]:
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() > end


def _stem(path: Path) -> str:
    return path.name[: len(path.name) - len(scans.suffix_of(path))] if path.suffix else path.name


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
