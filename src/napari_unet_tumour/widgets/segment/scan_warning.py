"""Says in the Segment widget that the chosen image looks unlike what the chosen model was trained on."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.widgets.common.main_thread import single_shot_timer
from napari_unet_tumour.widgets.layers import image_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue
    from napari_unet_tumour.widgets.layers.image_source import ImageSource
    from napari_unet_tumour.widgets.segment.inputs import SegmentInputs

WAIT_MS = 300


class ScanWarning:
    """Compares the chosen image with the chosen model's training slices, on a thread, whenever either changes.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Its displayed axes say which slices are compared.
    choice : SegmentInputs
        What is chosen.
    inbox : MainThreadQueue
        Hands results to the GUI thread.
    show : callable
        Shows a text; "" where there is nothing to say.
    """

    def __init__(
        self, viewer: ViewerModel, choice: SegmentInputs, inbox: MainThreadQueue, show: Callable[[str], None]
    ) -> None:
        self._viewer, self._choice, self._inbox, self._show = viewer, choice, inbox, show
        self._key: tuple[Any, ...] = ()
        self._timer = single_shot_timer(inbox, WAIT_MS, self._compare)

    def ask(self, event: Any = None) -> None:
        """Compare again soon, if image or model are others than last time."""
        with suppress(RuntimeError):  # the window was closed: Qt has deleted the timer
            self._timer.start()

    def _compare(self) -> None:
        image, entry = self._choice.image, self._choice.entry
        key = () if image is None or entry is None else (id(image.data), image.name, entry.hash)
        if key == self._key:
            return
        self._key = key
        self._show("")
        if image is None or entry is None:
            return
        with suppress(UNetTumourError):  # Run says what is wrong with the layer
            source = image_source.source_of(self._viewer, image, entry.spec)
            given = (key, _scan_of(image, source), source, entry.spec)
            threading.Thread(target=self._match, args=given, name="napari-unet-tumour match", daemon=True).start()

    def _match(self, key: tuple[Any, ...], scan: Scan, source: ImageSource, spec: ModelSpec) -> None:
        # Imported here, on the thread: scipy takes a while to load.
        from napari_unet_tumour.scans.training_match import match_scan

        try:
            match = match_scan(scan, source.layout, spec)
        except Exception:  # noqa: BLE001 - a lazy layer may raise anything when it is read; Run says it
            return
        if match.is_doubtful:
            self._inbox.put(lambda: self._hear(key, match.message))

    def _hear(self, key: tuple[Any, ...], message: str) -> None:
        if key == self._key:
            self._show(f"{message[:1].upper()}{message[1:]}.")


def _scan_of(image: Image, source: ImageSource) -> Scan:
    """Return a layer as a scan: with the header that its file had, where our reader has opened it."""
    grid = image.metadata.get(image_source.KEY, {}).get("grid")
    if isinstance(grid, Scan):
        return Scan(source.array, grid.axes, None, "pixel", grid.name, grid.source, grid.modality, grid.extra)
    return Scan(source.array, "", None, "pixel", image.name, source=image.name)
