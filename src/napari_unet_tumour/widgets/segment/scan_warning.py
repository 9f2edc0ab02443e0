"""Says in the Segment widget that the chosen image looks unlike what the chosen model was trained on."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.widgets.common.background import Background
from napari_unet_tumour.widgets.common.main_thread import single_shot_timer
from napari_unet_tumour.widgets.layers import image_source
from napari_unet_tumour.widgets.layers.scan_match import doubt

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue
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
        self._viewer, self._choice, self._show = viewer, choice, show
        self._background = Background(inbox.put)
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
        self._background.cancel()
        self._show("")
        if image is None or entry is None:
            return
        with suppress(UNetTumourError):  # Run says what is wrong with the layer
            source, spec = image_source.source_of(self._viewer, image, entry.spec), entry.spec
            self._background.start(
                lambda task: doubt(image, source.array, source.layout, spec), self._show, lambda why: None
            )
