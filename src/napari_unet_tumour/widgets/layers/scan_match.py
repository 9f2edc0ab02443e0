"""Whether a layer looks like what a model was made for, said before the network runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.widgets.layers.image_source import KEY

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.models.spec import ModelSpec


def doubt(image: Image, array: Any, layout: SliceLayout, spec: ModelSpec) -> str:
    """Return a line where a scan is not what a model was made for, else ""; reads some slices, so call it on a thread.

    `array` is what the model reads of the image. The header counts where our reader has opened the file, and the
    statistics of the training slices in the model file.
    """
    # Imported here, on the thread: scipy takes a while to load.
    from napari_unet_tumour.scans.training_match import match_scan

    known = image.metadata.get(KEY, {}).get("grid")
    scan = known if isinstance(known, Scan) else Scan(None, "", name=image.name, source=image.name)
    match = match_scan(replace(scan, array=array), layout, spec)
    return f"{match.message[:1].upper()}{match.message[1:]}." if match.is_doubtful else ""
