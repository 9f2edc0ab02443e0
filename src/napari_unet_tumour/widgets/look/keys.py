"""The keys of the View panel."""

from napari_unet_tumour.widgets.common.keys import CONTOUR_KEY, HELP_KEY, KEYS, MOUSE, RESET_KEY, keys_text

__all__ = ["CONTOUR_KEY", "HELP_KEY", "KEYS", "MOUSE", "RESET_KEY", "keys_text"]
