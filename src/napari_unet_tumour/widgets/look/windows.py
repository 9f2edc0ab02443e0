"""Windows of image layers: what a scan opens with, what a person last chose for its sequence, what is offered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.look import grey_window
from napari_unet_tumour.look.grey_window import Window
from napari_unet_tumour.scans.mr_sequences import sequence_of
from napari_unet_tumour.widgets.common.settings_form import remember, remembered

if TYPE_CHECKING:
    from napari.layers import Image
    from numpy.typing import NDArray

PART = "look"


class ImageWindows:
    """Reads and sets the windows of a viewer's images."""

    def __init__(self) -> None:
        self._opened_with: dict[str, Window] = {}

    def take(self, image: Image) -> None:
        """Note what a scan opens with, and show the window that the person last chose for its sequence."""
        if image.rgb:
            return
        self._opened_with[str(image.unique_id)] = window_of(image)
        kept, key = remembered(PART), sequence_key(image)
        numbers = kept.get(key)
        if key and isinstance(numbers, list) and len(numbers) == 2:
            window = Window(*numbers) if is_ct(image) else automatic(image).part((numbers[0], numbers[1]))
            if np.isfinite([window.low, window.high]).all() and window.width > 0:
                show(image, window)

    def reset(self, image: Image) -> None:
        """Show a scan as it opened, and forget what was chosen for its sequence."""
        show(image, self._opened_with.get(str(image.unique_id)) or automatic(image))
        kept = remembered(PART)
        if kept.pop(sequence_key(image), None) is not None:
            remember(PART, kept)

    def keep(self, image: Image) -> None:
        """Remember a scan's window for its sequence: in Hounsfield units, else as shares of its automatic window."""
        key, window = sequence_key(image), window_of(image)
        if key:
            numbers = (window.low, window.high) if is_ct(image) else window.relative_to(automatic(image))
            remember(PART, {**remembered(PART), key: [round(float(one), 6) for one in numbers]})


def window_of(image: Image) -> Window:
    """Return what an image shows now."""
    low, high = (float(one) for one in image.contrast_limits)
    return Window(low, high)


def show(image: Image, window: Window) -> None:
    """Show an image with a window."""
    image.contrast_limits = (window.low, window.high)


def presets_of(image: Image) -> dict[str, Window]:
    """Return the windows that are offered for an image, by name."""
    return grey_window.presets(_sample(image), _modality(image))


def automatic(image: Image) -> Window:
    """Return the window by percentiles of an image."""
    return grey_window.automatic(_sample(image))


def is_ct(image: Image) -> bool:
    """Tell whether an image holds Hounsfield units."""
    return grey_window.is_hounsfield(_sample(image), _modality(image))


def sequence_key(image: Image) -> str:
    """Return under which name a window is remembered: modality and sequence, "" where neither is known."""
    modality = "CT" if is_ct(image) else _modality(image)
    return " ".join(filter(None, [modality, sequence_of(image.name)]))


def _sample(image: Any) -> NDArray[np.float64]:
    return grey_window.sample(image.data[-1] if image.multiscale else image.data)


def _modality(image: Image) -> str:
    return str(image.metadata.get("modality", ""))
